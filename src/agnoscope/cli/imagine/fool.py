"""`agnoscope fool`: a photo, changed a little, that the network takes for something else."""

from typing import Any

import click

from agnoscope.cli.imagine.making import make, stem_of
from agnoscope.cli.imagine.options import making_options
from agnoscope.cli.options import load_image

NOISE = "noise"


@click.command()
@click.argument("model")
@click.argument("image")
@click.option(
    "-t", "--target", metavar="CLASS", help="Class to answer, a number or label.  [default: the second answer]"
)
@making_options("fooling")
def fool(model: str, image: str, target: str | None, **shared: Any) -> None:
    """Change IMAGE until MODEL takes it for another class.

    IMAGE is a photo, demo:NUMBER, or the word noise. How large the change may be, and how sure the network must get,
    say -O bound=0.05 and -O confidence=0.99. The picture is the changed IMAGE alone; --draw shows before, change and
    after.

    Ctrl-C keeps the best picture so far; the same command with --resume goes on.
    """
    begin = None if image == NOISE else load_image(image)
    make(model, (begin, target), stem_of(image), **shared)
