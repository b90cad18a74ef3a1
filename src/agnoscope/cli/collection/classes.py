"""`agnoscope classes`: the channels by which a network knows a class, where they fire, and which are spurious."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from agnoscope.cli.options import load, masks_option, network_options
from agnoscope.cli.output import new_table, progress, show
from agnoscope.errors import OptionError

if TYPE_CHECKING:
    from agnoscope.scan.views.classes import ClassView

MOST: Final = 10
"""Classes that are shown unless they are named: the most frequent ones."""


@click.command()
@click.argument("model")
@click.argument("scan", metavar="RUN")
@click.option(
    "--class",
    "names",
    multiple=True,
    metavar="CLASS",
    help="Class number or label; several times.  [default: the ten most frequent]",
)
@click.option("-l", "--layer", metavar="LAYER", help="One with maps that the scan kept.  [default: its first one]")
@masks_option
@click.option(
    "--count", type=click.IntRange(min=1), default=4, show_default=True, help="How many channels of each class."
)
@click.option(
    "-k", "k", type=click.IntRange(min=1), default=6, show_default=True, help="How many images for each channel."
)
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), default=Path("classes.png"), show_default=True, help="Picture."
)
@network_options
def classes(
    model: str,
    scan: str,
    names: tuple[str, ...],
    layer: str | None,
    masks: str | None,
    count: int,
    k: int,
    out: Path,
    **network: Any,
) -> None:
    """Show the channels that fire for a class, and where.

    RUN is the folder of a scan of MODEL (agnoscope scan) with labels. With masks of the objects, channels that fire off
    them are marked: the network may know the class by its background.
    """
    from agnoscope.explanation import PICTURES, save_picture
    from agnoscope.render.panels import stacked
    from agnoscope.scan.scan import Scan
    from agnoscope.scan.views.class_features import class_features, labels_of
    from agnoscope.scan.views.classes import class_view

    if out.suffix.lower() not in PICTURES:
        raise OptionError(f"--out {str(out)!r} must end in {', '.join(PICTURES)}.")
    opened, loaded = Scan.open(scan), load(model, network)
    counted = Counter(label for label in labels_of(opened) if label)
    chosen = names or tuple(sorted(name for name, _ in counted.most_common(MOST)))
    opened.check(loaded)
    features = class_features(opened, layer)
    views = []
    for name in chosen:
        with progress(name) as report:
            view = class_view(
                loaded, opened, name, layer, masks=masks, count=count, k=k, features=features, progress=report
            )
        views.append(view)
    _tell(views)
    if len(chosen) < len(counted) and not names:
        click.echo(f"Of {len(counted)} classes the {len(chosen)} most frequent are shown: name others by --class.")
    for note in dict.fromkeys(note for view in views for note in view.notes):
        click.echo(f"  note: {note}")
    click.echo(f"The picture: {save_picture(stacked([view.draw() for view in views]), out)}")


def _tell(views: "list[ClassView]") -> None:
    table = new_table("class", "images", "channel", "to the score", "Cohen's d", "AUROC", "off object", "area", "")
    for view in views:
        for one in view.channels:
            score = "" if one.contribution != one.contribution else f"{one.contribution:+.3g}"
            off, area = ("", "") if one.evidence is None else (f"{one.evidence.off:.0%}", f"{one.evidence.area:.0%}")
            mark = "spurious?" if one.spurious else ""
            numbers = f"{one.effect:.2f}", f"{one.separation:.2f}"
            table.add_row(view.label, str(view.images), str(one.channel), score, *numbers, off, area, mark)
    show(table)
    suspects = [f"{view.label} (channel {one.channel})" for view in views for one in view.spurious]
    if any(view.masked for view in views):
        click.echo(f"Fire off the object: {', '.join(suspects)}." if suspects else "No channel fires off the object.")
