"""`agnoscope texture`: more of the same stuff as in a photo."""

from typing import Any

import click

from agnoscope.cli.imagine.making import make, stem_of
from agnoscope.cli.imagine.options import making_options
from agnoscope.cli.options import load_image


@click.command()
@click.argument("model")
@click.argument("image")
@making_options("texture")
def texture(model: str, image: str, **shared: Any) -> None:
    """Paint more of the texture of IMAGE, in any size.

    IMAGE is a photo, or demo:NUMBER. What MODEL's layers see in it is met, and not where they see it. Copies that fit
    together on all sides: -O tileable=yes. VGG paints best.

    Ctrl-C keeps the best picture so far; the same command with --resume goes on.
    """
    make(model, (load_image(image),), stem_of(image), **shared)
