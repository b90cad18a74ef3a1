"""Sheets: many small numbered pictures in a grid, and figures of one or several sheets below one another."""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Final, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import OptionError
from agnoscope.render.panels import Bar, Panel, beside, compose, stacked
from agnoscope.render.text import FAINT, WHITE, Face

if TYPE_CHECKING:
    from PIL import Image

BETWEEN: Final = 6
"""Units between two tiles, and two between a tile and its number."""
NUMBER: Final = 11
COLUMNS: Final = 8
EMPTY: Final = (226, 226, 230)
"""Of a tile that has nothing to show."""


@final
@dataclass(frozen=True, eq=False)
class Tile:
    """A small picture.

    Attributes:
        picture: uint8, shape (height, width, 3), as many pixels as there are values.
        label: written above it.
        dead: whether it has nothing to show, for which a gray tile with a line across stands.
    """

    picture: NDArray[np.uint8]
    label: str
    dead: bool = False


@final
@dataclass(frozen=True, eq=False)
class Sheet:
    """Tiles with what is to be said of them.

    Attributes:
        tiles: row by row, from the left.
        title: above them.
        subtitle: below the title, smaller.
        bar: the colour bar of all of them.
        columns: tiles in a row.
        side: longer side of a tile in units.
    """

    tiles: Sequence[Tile]
    title: str
    subtitle: str
    bar: Bar | None = None
    columns: int = COLUMNS
    side: int = 96

    def draw(self, face: Face) -> "Image.Image":
        """The sheet as one figure on white."""
        rows = [self.tiles[start : start + self.columns] for start in range(0, len(self.tiles), self.columns)]
        cells = [beside([self._cell(tile, face) for tile in row], face.px(BETWEEN)) for row in rows]
        grid = np.asarray(stacked(cells, face.px(BETWEEN)))
        return compose([[Panel(grid)]], title=self.title, subtitle=self.subtitle, bar=self.bar, face=face)

    def _cell(self, tile: Tile, face: Face) -> "Image.Image":
        """A tile below its label."""
        from PIL import Image

        size = _fitted(tile.picture.shape[:2], face.px(self.side))
        picture = _crossed_out(size, face) if tile.dead else _at_size(tile.picture, size)
        if not tile.label:
            return picture
        cell = Image.new("RGB", (size[1], face.px(1.3 * NUMBER)), WHITE)
        cell.paste(face.block(tile.label, NUMBER, 10 * size[1], FAINT))
        return stacked([cell, picture], face.px(2))


def draw_sheets(sheets: Sequence[Sheet], face: Face, head: "Image.Image | None" = None) -> "Image.Image":
    """Figures below one another, the head above them."""
    return stacked([*([head] if head else []), *(sheet.draw(face) for sheet in sheets)])


def strongest(sizes: NDArray[np.floating], most: int) -> NDArray[np.intp]:
    """The numbers of the largest, from the largest on and at ties by number; all of them in order if there are few.

    Args:
        sizes: one number each.
        most: how many.
    """
    if len(sizes) <= most:
        return np.arange(len(sizes))
    return np.argsort(-sizes, kind="stable")[:most]


def as_png(picture: "Image.Image") -> bytes:
    """A picture as the bytes of a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def as_html(png: bytes, caption: str) -> str:
    """A picture with its caption, for a notebook; nothing in it is a script."""
    caption = html.escape(caption)
    return (
        f"<figure style='margin:0'><img alt='{caption}' style='max-width:100%' "
        f"src='data:image/png;base64,{base64.b64encode(png).decode()}'><figcaption>{caption}</figcaption></figure>"
    )


def one_of(option: str, given: object, known: Sequence[str]) -> None:
    """Refuse what is none of these words.

    Raises:
        OptionError: it is none.
    """
    if given not in known:
        raise OptionError(f"{option}={given!r} is unknown: use {' or '.join(map(repr, known))}.")


def _fitted(size: tuple[int, ...], side: int) -> tuple[int, int]:
    """Height and width of which the longer one is `side`."""
    height, width = (max(1, round(length * side / max(size))) for length in size)
    return height, width


def _at_size(picture: NDArray[np.uint8], size: tuple[int, int]) -> "Image.Image":
    """A picture at another size: made of even rectangles where it grows, of means where it shrinks."""
    from PIL import Image

    height, width = (max(1, ceil(new / old)) for new, old in zip(size, picture.shape, strict=False))
    large = np.repeat(np.repeat(picture, height, axis=0), width, axis=1)
    return Image.fromarray(large).resize(size[::-1], Image.Resampling.BOX)


def _crossed_out(size: tuple[int, int], face: Face) -> "Image.Image":
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", size[::-1], EMPTY)
    ImageDraw.Draw(picture).line((0, size[0] - 1, size[1] - 1, 0), fill=FAINT, width=face.px(1))
    return picture
