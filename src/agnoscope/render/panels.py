"""The compositor: panels with titles in rows, colour bars and notes, put together as one figure.

Every piece is a picture, and pictures are only ever put below or beside one another. So nothing overlaps,
nothing is cut off, and the same pieces always give the same figure.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.render.colour import Scale
from agnoscope.render.text import FAINT, WHITE, Face

if TYPE_CHECKING:
    from PIL import Image

# Lengths in units, letters included; `Face` makes pixels of them.
MARGIN: Final = 12
GAP: Final = 12
NEAR: Final = 4
NARROWEST: Final = 120
BAR: Final = (360, 12)
LARGE: Final = 17
MEDIUM: Final = 14
SMALL: Final = 11.5
NOTE: Final = (160, 70, 0)


@final
@dataclass(frozen=True, eq=False)
class Bar:
    """A colour bar: the colours of a scale from its low to its high end, with numbers.

    Attributes:
        colours: uint8, shape (steps, 3), from low to high.
        scale: whose ends and middle are written below.
        label: a line below the numbers.
    """

    colours: NDArray[np.uint8]
    scale: Scale
    label: str = ""


@final
@dataclass(frozen=True, eq=False)
class Panel:
    """A picture with what is written above it, and the colour bar below it if it has its own.

    Attributes:
        picture: uint8, shape (height, width, 3); drawn pixel by pixel.
        title: in black.
        subtitle: smaller and gray.
        bar: of this panel alone.
    """

    picture: NDArray[np.uint8]
    title: str = ""
    subtitle: str = ""
    bar: Bar | None = None


def compose(
    rows: Sequence[Sequence[Panel]],
    *,
    title: str = "",
    subtitle: str = "",
    labels: Sequence[str] = (),
    bar: Bar | None = None,
    notes: Sequence[str] = (),
    face: Face | None = None,
) -> "Image.Image":
    """Put panels together as one figure on white.

    Args:
        rows: the panels, row by row; a row may be shorter than others.
        title: above all.
        subtitle: below the title, smaller and gray.
        labels: one for each row, written upward at its left; may be empty.
        bar: the colour bar of all panels, below them.
        notes: sentences at the bottom, each on lines of its own.
        face: font and density; by default Pillow's font at one pixel per unit.
    """
    face = face or Face()
    if any(labels):
        rows = [[_upright(label, row, face), *row] for label, row in zip(labels, rows, strict=True)]
    columns = [[row[c] for row in rows if c < len(row)] for c in range(max(map(len, rows)))]
    widths = [max(_least(panel, face) for panel in column) for column in columns]
    grid = stacked([beside(list(_cells(row, widths, face)), face.px(GAP)) for row in rows], face.px(GAP))
    width = max(grid.width, face.px(2 * NARROWEST))
    heading = face.block(title, LARGE, width), face.block(subtitle, SMALL, width, FAINT)
    foot = stacked([face.block(note, SMALL, width, NOTE) for note in notes], face.px(NEAR))
    indent = widths[0] + face.px(GAP) if any(labels) else 0
    legend = _drawn(bar, min(width - indent, face.px(BAR[0])), width - indent, face) if bar else _blank(0, 0)
    legend = beside([_blank(indent, 0), legend])
    figure = stacked([stacked(heading, face.px(NEAR)), grid, legend, foot], face.px(GAP))
    margin = face.px(MARGIN)
    canvas = _blank(max(width, figure.width) + 2 * margin, figure.height + 2 * margin)
    canvas.paste(figure, (margin, margin))
    return canvas


def stacked(pictures: Sequence["Image.Image"], gap: int = 0) -> "Image.Image":
    """Pictures below one another, flush left, with a gap between; what is empty takes no place."""
    there = [p for p in pictures if p.height]
    canvas = _blank(max((p.width for p in there), default=0), sum(p.height + gap for p in there) - gap)
    top = 0
    for picture in there:
        canvas.paste(picture, (0, top))
        top += picture.height + gap
    return canvas


def beside(pictures: Sequence["Image.Image"], gap: int = 0) -> "Image.Image":
    """Pictures beside one another, flush at the top, with a gap between."""
    canvas = _blank(sum(p.width + gap for p in pictures) - gap, max(p.height for p in pictures))
    left = 0
    for picture in pictures:
        canvas.paste(picture, (left, 0))
        left += picture.width + gap
    return canvas


def _blank(width: int, height: int) -> "Image.Image":
    from PIL import Image

    return Image.new("RGB", (max(0, width), max(0, height)), WHITE)


def _grounded(pictures: Sequence["Image.Image"]) -> list["Image.Image"]:
    """The same pictures, all as high as the highest by white above them."""
    height = max(picture.height for picture in pictures)
    canvases = [_blank(picture.width, height) for picture in pictures]
    for canvas, picture in zip(canvases, pictures, strict=True):
        canvas.paste(picture, (0, height - picture.height))
    return canvases


def _least(panel: Panel, face: Face) -> int:
    """The width that a panel needs: words want more than a small picture has."""
    wordy = panel.title or panel.subtitle or panel.bar
    return max(int(panel.picture.shape[1]), face.px(NARROWEST) if wordy else 0)


def _cells(row: Sequence[Panel], widths: Sequence[int], face: Face) -> Iterator["Image.Image"]:
    """The panels of a row, each as wide as its column, their pictures all at the same height."""
    from PIL import Image

    places = list(zip(row, widths, strict=False))
    titles = _grounded([face.block(panel.title, MEDIUM, width) for panel, width in places])
    subtitles = _grounded([face.block(panel.subtitle, SMALL, width, FAINT) for panel, width in places])
    for (panel, width), title, subtitle in zip(places, titles, subtitles, strict=True):
        picture = Image.fromarray(np.ascontiguousarray(panel.picture))
        below = _drawn(panel.bar, max(picture.width, face.px(NARROWEST)), width, face) if panel.bar else _blank(0, 0)
        cell = stacked([title, subtitle, picture, below], face.px(NEAR))
        yield beside([cell, _blank(width - cell.width, 0)])


def _upright(label: str, row: Sequence[Panel], face: Face) -> Panel:
    """A panel that shows only the label, written upward along the row's pictures."""
    height = max(panel.picture.shape[0] for panel in row)
    text = face.block(label, MEDIUM, height)
    canvas = _blank(height, max(1, text.height))
    canvas.paste(text, ((height - text.width) // 2, 0))
    return Panel(np.rot90(np.asarray(canvas)))


def _drawn(bar: Bar, width: int, room: int, face: Face) -> "Image.Image":
    """A colour bar with its numbers, and its label, which may be as wide as there is room."""
    from PIL import Image, ImageDraw

    height, tick, line = face.px(BAR[1]), face.px(3), face.px(1)
    nearest = np.linspace(0, len(bar.colours) - 1, width).round().astype(np.intp)
    strip = np.broadcast_to(bar.colours[nearest], (height, width, 3))
    numbers = [face.block(readable(value), SMALL, width) for value in bar.scale.ticks()]
    if sum(number.width for number in numbers) > 0.8 * width:
        numbers = numbers[:: len(numbers) - 1]
    canvas = _blank(width, height + tick + max(number.height for number in numbers) + face.px(2))
    canvas.paste(Image.fromarray(np.ascontiguousarray(strip)), (0, 0))
    pen = ImageDraw.Draw(canvas)
    pen.rectangle((0, 0, width - 1, height - 1), outline=FAINT, width=line)
    for number, text in enumerate(numbers):
        share = number / max(1, len(numbers) - 1)
        at = round(share * (width - 1))
        pen.line((at, height, at, height + tick), fill=FAINT, width=line)
        canvas.paste(text, (round(share * (width - text.width)), height + tick + face.px(2)))
    return stacked([canvas, face.block(bar.label, SMALL, room, FAINT)], face.px(2))


def readable(value: float) -> str:
    """A number with its three first digits, or all before the point: "0.31", "-12.3", "12346", "1.2e-5"."""
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 999.5:
        return f"{value:.3g}"
    if 1 < abs(value) < 1e5:
        return f"{value:.0f}"
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa
