"""`agnoscope invert`: what a layer still knows of a photo."""

from typing import Any

import click

from agnoscope.cli.imagine.making import make, stem_of
from agnoscope.cli.imagine.options import making_options
from agnoscope.cli.options import load_image


@click.command()
@click.argument("model")
@click.argument("image")
@click.option(
    "-l",
    "--layer",
    "layers",
    multiple=True,
    metavar="LAYER",
    help="Several times for a row of them.  [default: one late in the network]",
)
@making_options("feature-inversion")
def invert(model: str, image: str, layers: tuple[str, ...], **shared: Any) -> None:
    """Make a picture of what a layer of MODEL still knows of IMAGE.

    IMAGE is a photo, or demo:NUMBER. The picture begins as noise and comes to give the layer what IMAGE gives it. Early
    layers know every detail; what late ones have forgotten is left to chance.

    Ctrl-C keeps the best picture so far; the same command with --resume goes on.
    """
    chosen = {"layer": None if not layers else layers[0] if len(layers) == 1 else layers}
    make(model, (load_image(image),), stem_of(image), chosen=chosen, **shared)
