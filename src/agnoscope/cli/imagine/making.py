"""What the commands that make images share: the run, its pictures on the way, being stopped, and going on later."""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import current_thread, main_thread
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, final

import click

from agnoscope.cli.imagine.options import configured
from agnoscope.cli.options import load
from agnoscope.cli.output import progress_of_run
from agnoscope.errors import NonFiniteError, OptionError

if TYPE_CHECKING:
    from agnoscope.optimisation.run import Run
    from agnoscope.synthesis import Synthesis

INTERVAL: Final = 30.0
"""Seconds after which a run is written down again, so that one that is killed has lost no more."""

LISTED: Final = 9
"""So many images are told one by one."""

WIDTH: Final = 80
"""The longest name of a target that is written out."""


@final
@dataclass(frozen=True)
class Places:
    """Where the files of a run go.

    Attributes:
        picture: the images, or their numbers.
        animation: of the run.
        folder: of single pictures on the way.
        stopped: what is needed to go on with a run that was stopped or killed.
    """

    picture: Path | None
    animation: Path | None
    folder: Path | None
    stopped: Path

    @property
    def told(self) -> str:
        """The files that a user looks for."""
        return ", ".join(str(path) for path in (self.picture, self.animation, self.folder) if path is not None)


def make(
    model: str,
    asked: Sequence[Any],
    stem: str,
    *,
    method: str,
    steps: int | None,
    size: Any,
    seed: int | None,
    options: Sequence[str],
    out: Path | None,
    draw: bool,
    animation: Path | None,
    save_every: int | None,
    resume: bool,
    batch_size: int | None,
    chosen: dict[str, Any] | None = None,
    **network: Any,
) -> None:
    """Make images, and write and tell what came of it.

    Args:
        model: what the command line calls the network.
        asked: what the method is called with, after the network.
        stem: what the files are named after, where the user gives no name.
        method: name of the method.
        steps: how many; as all that follows, None where the user did not say.
        size: height and width of the picture in pixels.
        seed: of noise and of random views.
        options: texts NAME=VALUE.
        out: the main file; its ending says whether it is the picture, the animation or the numbers.
        draw: whether a picture gets titles, also where it is a single one.
        animation: a file for the run beside it.
        save_every: after how many steps a picture is kept in a folder.
        resume: whether to go on with a run that was stopped.
        batch_size: images or views at once.
        chosen: further options of the method that have a flag of their own.
        **network: what the network expects of an image.

    Raises:
        AgnoscopeError: as the method raises it; before any step is made where the question is at fault.
    """
    given = {"iterations": steps, "size": size, "seed": seed, **(chosen or {})}
    synthesizer = configured(method, given, options)
    places = _places(out, animation, f"{stem}_{synthesizer.name}", save_every is not None)
    if resume and not places.stopped.exists():
        raise OptionError(f"There is no stopped run {str(places.stopped)!r} to resume: leave out --resume to begin.")
    if draw and (places.picture is None or places.picture.suffix.lower() == ".npz"):
        raise OptionError("--draw is for a picture: give an --out that ends in .png, .jpg or .webp.")
    run = synthesizer.begin(
        load(model, network), *asked, batch_size=batch_size, resume=places.stopped if resume else None
    )
    if not resume and places.stopped.exists():
        click.echo(
            f"note: {places.stopped} holds a stopped run, with which --resume goes on; this one begins anew, and may "
            "write over it."
        )
    _go(run, synthesizer.name, places, draw, save_every, resume)


def stem_of(text: str) -> str:
    """What files are named after that come of a photo."""
    return file_name(text if text.startswith("demo:") else Path(text).stem)


def file_name(text: str) -> str:
    """Letters, digits, dots and dashes only, and not too many."""
    return "".join(c if c.isalnum() or c in ".-_" else "-" for c in text)[:60]


def _go(run: "Run[Synthesis]", title: str, places: Places, draw: bool, save_every: int | None, resumed: bool) -> None:
    """Run to the end, or as far as it goes, and write what is there."""
    from PIL import Image

    from agnoscope.cli.imagine.film import Film, sheet
    from agnoscope.explanation import save_picture

    film = None if places.animation is None else Film(places.animation, run, resumed)
    if places.folder is not None:
        places.folder.mkdir(exist_ok=True)
    written, kept = monotonic(), resumed
    with stop_between_steps() as stopped_by, progress_of_run(title) as report:
        for state in run:
            bounds = run.stages[state.stage].canvas.bounds
            report(state.step, state.total, float(state.objective.mean()))
            if film is not None:
                film.take(state.step, state.images, bounds)
            if places.folder is not None and save_every is not None and state.step % save_every == 0:
                save_picture(Image.fromarray(sheet(state.images, bounds)), places.folder / f"{state.step:05d}.png")
            stop = stopped_by() is not None and state.step < state.total
            if stop or monotonic() - written >= INTERVAL:
                if film is not None:
                    film.write(state.images, bounds)
                run.save(places.stopped)
                written, kept = monotonic(), True
            if stop:
                break
    made = run.result()
    if places.picture is not None:
        # An option of drawing, even if it is the default, has a single image drawn, too.
        made.save(places.picture, **({"titles": True} if draw else {}))
    if film is not None:
        film.write(made.images, made.bounds)
    _tell(made, places)
    if not run.finished and (number := stopped_by()) is not None:
        click.echo(f"Stopped. To go on, give the same command with --resume; it reads {places.stopped}.")
        sys.exit(128 + number)
    if kept:
        places.stopped.unlink(missing_ok=True)
    if not run.finished:
        raise NonFiniteError(run.notes[-1])


def _tell(made: "Synthesis", places: Places) -> None:
    from agnoscope.render.panels import readable

    making = made.making
    if len(made) <= LISTED:
        for i, target in enumerate(making.targets):
            answer = f", answered {making.answers[i][0][0]} ({making.answers[i][0][1]:.1%})" if making.answers else ""
            name = target if len(target) <= WIDTH else f"{target[: WIDTH - 1]}…"
            click.echo(f"  {name}: {readable(making.scores[i])}{answer}")
            for extra, row in made.extras.items():
                if _number(row):
                    click.echo(f"    {extra} {readable(float(row[i]))}")
    for warning in making.warnings:
        click.echo(f"  note: {warning}")
    images = "1 image" if len(made) == 1 else f"{len(made)} images"
    click.echo(f"{making.method}: {images}, {making.steps} steps → {places.told}")


def _number(row: Any) -> bool:
    """Whether an extra has one number for each image."""
    return row.ndim == 1 and row.dtype.kind in "iuf"


def _places(out: Path | None, animation: Path | None, stem: str, folder: bool) -> Places:
    """Where everything goes; refused before any work is done, if it cannot."""
    from agnoscope.explanation import PICTURES
    from agnoscope.synthesis import ANIMATIONS

    if out is None or out.is_dir():
        out = (out or Path()) / f"{stem}.png"
    film = out.suffix.lower() == ".gif"
    if not film and out.suffix.lower() not in (*PICTURES, ".npz"):
        raise OptionError(
            f"--out {str(out)!r} must be an existing folder or end in {', '.join(PICTURES)} (a picture), .gif (the "
            "run) or .npz (the numbers)."
        )
    if film and animation is not None:
        raise OptionError(f"--out {str(out)!r} is an animation already: leave out --animation, or give a picture.")
    if animation is not None and animation.suffix.lower() not in ANIMATIONS:
        raise OptionError(f"--animation {str(animation)!r} must end in {' or '.join(ANIMATIONS)}.")
    if animation == out:
        raise OptionError(f"--out and --animation are the same file {str(out)!r}: give two.")
    for flag, path in (("--out", out), ("--animation", animation)):
        if path is not None and not (path.parent.is_dir() and os.access(path.parent, os.W_OK)):
            raise OptionError(f"{flag} {str(path)!r} lies in a folder that does not exist or cannot be written to.")
    steps = out.with_name(f"{out.stem}_steps")
    if folder and steps.exists() and not steps.is_dir():
        raise OptionError(f"--save-every keeps its pictures in {str(steps)!r}, and that is a file.")
    stopped = out.with_name(f"{out.stem}.stopped.npz")
    return Places(None if film else out, out if film else animation, steps if folder else None, stopped)


@contextmanager
def stop_between_steps() -> Iterator[Callable[[], int | None]]:
    """Makes of Ctrl-C and SIGTERM a wish to be asked for: a run can go on later only from where a step has ended.

    Yields:
        A function that tells the number of the signal that has come, or None.
    """
    came: list[int] = []

    def press(number: int, _: Any) -> None:
        # Whoever presses twice will not wait; but what ends processes may ask twice by itself.
        if came and number == signal.SIGINT:
            raise KeyboardInterrupt
        came.append(number)
        # Not echo: what is being written right now cannot be written to. A terminal that is gone hears nothing.
        with suppress(OSError):
            os.write(2, b"\nStopping after this step; Ctrl-C once more stops at once.\n")

    # What ignores a signal, as a job in the background does, goes on ignoring it; only the main thread hears any.
    numbers = (signal.SIGINT, signal.SIGTERM) if current_thread() is main_thread() else ()
    heard = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, press) for number in heard}
    try:
        yield lambda: came[0] if came else None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
