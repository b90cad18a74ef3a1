"""`agnoscope scan`: a whole collection passes through a network once, for every view of it."""

import csv
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from agnoscope.cli.options import NUMBERS, load, network_options
from agnoscope.errors import FileError, ImageError, OptionError

if TYPE_CHECKING:
    from agnoscope.scan.scan import Scan
    from agnoscope.targets.units import Neuron

SHOWN: Final = 10
"""Images left out that are listed by name."""


@click.command()
@click.argument("model")
@click.argument("folder", metavar="FOLDER")
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, metavar="RUN", help="Folder of the scan.")
@click.option(
    "-l",
    "--layer",
    "layers",
    multiple=True,
    metavar="LAYER",
    help="What is kept of each image; several times.  [default: last convolutional stage]",
)
@click.option("--maps", multiple=True, metavar="LAYER", help="Layer whose whole maps are kept; several times.")
@click.option(
    "--neuron",
    "neurons",
    multiple=True,
    metavar="LAYER:CHANNEL[:ROW,COLUMN]",
    help="Unit whose values are kept; several times.",
)
@click.option(
    "--labels-from", metavar="folders|FILE", help="Classes: the photos' folders, or a file of name,label or of labels."
)
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="How many images are remembered for each channel.",
)
@click.option(
    "--shard", type=click.IntRange(min=1), default=256, show_default=True, help="How many images make a file."
)
@click.option(
    "--size", type=NUMBERS, help="Height and width at which MODEL sees them: 224 or 224x320.  [default: its own]"
)
@click.option("--batch-size", type=click.IntRange(min=1), help="Images at once: fewer need less memory.")
@click.option("--workers", type=click.IntRange(min=1), help="How many processes.  [default: this one alone]")
@click.option(
    "--engine", default="local", show_default=True, metavar="NAME", help="Where to compute: local, ray, or a plugin's."
)
@click.option("--resume", is_flag=True, help="Go on with the scan that RUN holds.")
@partial(network_options, size=("--input-size",))
def scan(
    model: str,
    folder: str,
    out: Path,
    layers: tuple[str, ...],
    maps: tuple[str, ...],
    neurons: tuple[str, ...],
    labels_from: str | None,
    keep: int,
    shard: int,
    size: int | tuple[int, int] | None,
    batch_size: int | None,
    workers: int | None,
    engine: str,
    resume: bool,
    **network: Any,
) -> None:
    """Let all photos of FOLDER pass through MODEL, once for all.

    What its layers make of each photo is kept in the folder --out. FOLDER is a folder of photos, or a .npy file of
    pixels (images, height, width, channels). What cannot be read is left out and listed. A scan that was stopped goes
    on with --resume, and ends with the same bytes.
    """
    from agnoscope.scan.run import Loader, scan_all

    units = tuple(map(_neuron, neurons))
    labels = _labels(labels_from, folder)
    loader = Loader(load, (model, network))
    try:
        with progress_of_scan("scan") as report:
            done = scan_all(
                loader,
                folder,
                out,
                layers=layers,
                neurons=units,
                maps=maps,
                labels=labels,
                keep=keep,
                shard=shard,
                size=size,
                resume=resume,
                batch_size=batch_size,
                workers=workers,
                engine=engine,
                progress=report,
            )
    except KeyboardInterrupt:
        click.echo(f"Stopped. What is done is kept: the same command with --resume goes on with {out}", err=True)
        raise
    _tell(done, out)


def _tell(done: "Scan", out: Path) -> None:
    click.echo(f"{len(done)} of {len(done) + len(done.failures)} images done → {out}")
    for name, reason in done.failures[:SHOWN]:
        click.echo(f"  left out: {name}: {reason}")
    if len(done.failures) > SHOWN:
        click.echo(f"  and {len(done.failures) - SHOWN} more, which Scan.open({str(out)!r}).failures lists")
    if not len(done):
        raise ImageError(f"Not one of {len(done.failures)} images could be used.")
    click.echo(f"  kept: {', '.join(done.layers)}")
    views = ["patches MODEL", "neighbours MODEL", "map", *(["classes MODEL"] if done.labels else [])]
    click.echo(f"  look at it: {' · '.join(f'agnoscope {view} {out}' for view in views)}")


def _neuron(text: str) -> "Neuron":
    """LAYER:CHANNEL, or LAYER:CHANNEL:ROW,COLUMN."""
    from agnoscope.targets.units import Neuron

    found = re.fullmatch(r"(.+?):(\d+)(?::(\d+(?:,\d+)*))?", text)
    if found is None:
        raise OptionError(f"--neuron {text!r} must be LAYER:CHANNEL or LAYER:CHANNEL:ROW,COLUMN.")
    layer, channel, position = found.groups()
    return Neuron(layer, int(channel), tuple(map(int, position.split(","))) if position else None)  # type: ignore[arg-type]


def _labels(given: str | None, folder: str) -> str | list[str] | None:
    """What --labels-from says: "folders", or a label for each image of the folder."""
    from agnoscope.scan.collection import FOLDERS, Listed, collection

    if given is None or given == FOLDERS:
        return given
    try:
        rows = [row for row in csv.reader(Path(given).read_text(encoding="utf-8-sig").splitlines()) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FileError(f"The labels {given!r} cannot be read: {error}.") from None
    if not any(len(row) > 1 for row in rows):
        return [row[0] for row in rows]
    found = collection(folder)
    names = found.names if isinstance(found, Listed) else None
    told = {row[0].strip(): row[1].strip() for row in rows if len(row) > 1}
    if names is None:
        raise OptionError(f"{given!r} names photos, and {folder!r} has none: give one label per line.")
    if not told.keys() & set(names):
        raise OptionError(f"{given!r} names no photo of {folder!r}: names are paths in it, such as {names[0]!r}.")
    return [told.get(name, "") for name in names]


@contextmanager
def progress_of_scan(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar with the time left on a terminal; in a pipe a line at every tenth, on stderr."""
    if not sys.stderr.isatty():
        yield _Lines(title)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns: Sequence[Any] = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)


class _Lines:
    """Progress for a pipe: it counts from the first call, so that what a resumed scan has done takes no time."""

    def __init__(self, title: str) -> None:
        self.title, self.start, self.first, self.tenth = title, time.monotonic(), -1, -1

    def __call__(self, done: int, total: int) -> None:
        if self.first < 0:
            self.first, self.start = done, time.monotonic()
        tenth = done * 10 // total if total else -1
        if tenth > self.tenth and done > self.first:
            each = (time.monotonic() - self.start) / (done - self.first)
            left = f", {in_words(each * (total - done))} left" if done < total else ""
            click.echo(f"{self.title}: {done * 100 // total} %, {done} of {total} images{left}", err=True)
        self.tenth = max(tenth, self.tenth)


def in_words(seconds: float) -> str:
    """A duration: "12 s", "3 min 20 s", "5 h 7 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
