"""`agnoscope dream`: a photo in which the network strengthens whatever it sees there."""

from typing import Any

import click

from agnoscope.cli.imagine.making import make, stem_of
from agnoscope.cli.imagine.options import asked_layers, making_options
from agnoscope.cli.imagine.zoom import fly
from agnoscope.cli.options import load_image
from agnoscope.errors import OptionError


@click.command()
@click.argument("model")
@click.argument("image")
@click.option("-t", "--target", metavar="CLASS", help="Dream of this class, a number or label.")
@click.option(
    "-l",
    "--layer",
    "layers",
    multiple=True,
    metavar="LAYER[=WEIGHT]",
    help="Dream of what this layer sees; several times.  [default: one two thirds of the way through]",
)
@click.option("--channel", "unit", type=click.IntRange(min=0), help="Dream only of what this channel of --layer sees.")
@click.option("--guide", metavar="IMAGE", help="Dream of what the network sees in this image.")
@click.option(
    "--zoom",
    "frames",
    type=click.IntRange(min=2),
    metavar="FRAMES",
    help="Fly into the dream; --out is a .gif or .webp.",
)
@making_options("deep-dream")
def dream(
    model: str,
    image: str,
    target: str | None,
    layers: tuple[str, ...],
    unit: int | None,
    guide: str | None,
    frames: int | None,
    **shared: Any,
) -> None:
    """Let MODEL dream: whatever it sees in IMAGE grows stronger.

    IMAGE is a photo, or demo:NUMBER. Early layers dream of lines and textures, late ones of things.

    Ctrl-C keeps the best picture so far; the same command with --resume goes on.
    """
    if target is not None and layers:
        raise OptionError("Say what to dream of: a class (-t dog) or layers (-l conv4), and not both.")
    if unit is not None and len(layers) != 1:
        raise OptionError("--channel belongs to one layer: say which with --layer.")
    asked = target if not layers else asked_layers(layers, unit)
    chosen = {"guide": None if guide is None else load_image(guide)}
    if frames is not None:
        fly(model, load_image(image), asked, frames, stem_of(image), chosen=chosen, **shared)
        return
    make(model, (load_image(image), *(() if asked is None else (asked,))), stem_of(image), chosen=chosen, **shared)
