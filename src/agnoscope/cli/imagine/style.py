"""`agnoscope style`: the content of one photo in the style of others."""

from typing import Any

import click

from agnoscope.cli.imagine.making import make, stem_of
from agnoscope.cli.imagine.options import making_options
from agnoscope.cli.options import load_image


@click.command()
@click.argument("model")
@click.argument("content")
@click.argument("styles", nargs=-1, required=True, metavar="STYLE...")
@making_options("style-transfer")
def style(model: str, content: str, styles: tuple[str, ...], **shared: Any) -> None:
    """Paint CONTENT in the style of other pictures.

    CONTENT and each STYLE are photos, or demo:NUMBER. More or less style: -O style_weight=10; shares of several styles:
    -O blend=0.7,0.3; the colours of CONTENT: -O keep_colours=yes. VGG paints best.

    Ctrl-C keeps the best picture so far; the same command with --resume goes on.
    """
    stem = "-in-".join(map(stem_of, (content, styles[0])))
    make(model, (load_image(content), [load_image(each) for each in styles]), stem, **shared)
