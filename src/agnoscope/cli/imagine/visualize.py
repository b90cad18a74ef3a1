"""`agnoscope visualize`: what excites a class, a channel, a neuron or a layer the most."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agnoscope.cli.imagine.making import file_name, make
from agnoscope.cli.imagine.options import making_options
from agnoscope.cli.options import NUMBERS
from agnoscope.errors import OptionError

if TYPE_CHECKING:
    from agnoscope.target import Target


@click.command()
@click.argument("model")
@click.option("-t", "--target", "classes", multiple=True, metavar="CLASS", help="Class number or label; several times.")
@click.option("-l", "--layer", metavar="LAYER", help="Layer, or an ending of its path. See: agnoscope layers.")
@click.option(
    "--channel", "units", type=click.IntRange(min=0), multiple=True, help="Channel of --layer; several times."
)
@click.option("--grid", type=click.IntRange(min=1), metavar="N", help="The first N channels of --layer.")
@click.option("--at", type=NUMBERS, metavar="ROW,COLUMN", help="Only the neuron of --channel at this place of its map.")
@click.option(
    "--photos",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Photos of the class: a picture of each kind among them, by the method multifaceted.",
)
@making_options("feature-visualization")
def visualize(
    model: str,
    classes: tuple[str, ...],
    layer: str | None,
    units: tuple[int, ...],
    grid: int | None,
    at: Any,
    photos: Path | None,
    **shared: Any,
) -> None:
    """Imagine what excites a part of MODEL the most.

    The part is a class (-t dog), a channel of a layer (-l conv4 --channel 7), the first channels of it side by side
    (-l conv4 --grid 16), one neuron (-l conv4 --channel 7 --at 3,5), or a whole layer (-l conv4).

    Ctrl-C keeps the best picture so far; the same command with --resume goes on.
    """
    from agnoscope.runs import photos_in

    targets = _targets(classes, layer, units, grid, at)
    what = [*classes, *([layer] if layer else []), *map(str, units), *([f"grid-{grid}"] if grid else [])]
    what += ["at", *map(str, at)] if at else []
    if photos is None:
        make(model, (targets,), file_name("-".join(what)), **shared)
        return
    shared["method"] = "multifaceted"
    make(model, (photos_in(photos), targets), file_name("-".join(what)), **shared)


def _targets(
    classes: tuple[str, ...], layer: str | None, units: tuple[int, ...], grid: int | None, at: Any
) -> "list[Target]":
    """What each image is to excite."""
    from agnoscope.explainers.synthesis.series import channels
    from agnoscope.target import as_target
    from agnoscope.targets.features import Activity
    from agnoscope.targets.units import Channel, Neuron

    if bool(classes) == (layer is not None):
        raise OptionError("Say what to visualise: a class (-t dog) or a layer (-l conv4), and not both.")
    if layer is None and (units or grid or at):
        raise OptionError("--channel, --grid and --at belong to a layer: say which with --layer.")
    if units and grid:
        raise OptionError("--grid takes the first channels, --channel single ones: give one of them.")
    if at is not None and not units:
        raise OptionError("--at is a place in the map of a channel: say which with --channel.")
    if at is not None and not (isinstance(at, tuple) and len(at) == 2):
        raise OptionError(f"--at {at!r} must be ROW,COLUMN, for example 3,5.")
    if layer is None:
        return [as_target(name) for name in classes]
    if grid is not None:
        return channels(layer, grid)
    if not units:
        return [Activity(layer)]
    return [Channel(layer, unit) if at is None else Neuron(layer, unit, at) for unit in units]
