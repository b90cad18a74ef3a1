"""Pictures of feature space: neighbours in rows, and the map with dots or with thumbnails.

Each says below its title how the map was made and what it is worth.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import OptionError
from agnoscope.explainers.options import whole
from agnoscope.feature_space.embedding import Embedding
from agnoscope.feature_space.grid import arrange
from agnoscope.feature_space.labels import COLOURS, Colour, Marks, colour, shape
from agnoscope.feature_space.neighbours import MISSING, Neighbours
from agnoscope.render.blend import fitted
from agnoscope.render.panels import SMALL, Panel, beside, compose, readable, stacked
from agnoscope.render.text import FAINT, WHITE, Face

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

Picture: TypeAlias = NDArray[np.uint8]
Pictures: TypeAlias = Callable[[int], Picture]
"""From the number of an image to its picture: uint8, shape (height, width, 3), of any size."""

MOST: Final = 1500
"""Thumbnails in one picture."""

FINE: Final = 3
"""Dots are drawn so many times larger and made smaller, which smooths their edges."""

GROUND: Final = (246, 245, 243)
BORDER: Final = (214, 212, 208)
RADIUS: Final = (2.2, 5.0)
"""Of a dot, in units: for many images, and for few."""


def draw_neighbours(
    queries: Sequence[tuple[Picture, str]],
    features: Neighbours,
    pictures: Pictures,
    names: Sequence[str],
    *,
    pixels: Neighbours | None = None,
    side: int = 112,
    title: str = "Nearest neighbours",
    subtitle: str = "",
    face: Face | None = None,
) -> "Image.Image":
    """Queries with their neighbours beside them, and below these the neighbours in pixel space.

    Args:
        queries: picture and name of each.
        features: their neighbours in feature space.
        pictures: the collection's pictures by row.
        names: the collection's names by row.
        pixels: their neighbours in pixel space, if they are to be shown.
        side: longer side of a picture, in units.
        title: above all.
        subtitle: below it, such as the names of network and layer.
        face: font and density.

    Raises:
        OptionError: there are no queries, or not as many as neighbours were found for.
    """
    face = face or Face()
    spaces = [("in feature space", features)] + ([("in pixel space", pixels)] if pixels else [])
    for _, found in spaces:
        if not queries or len(found) != len(queries):
            raise OptionError(f"Neighbours of {len(found)} images were given for {len(queries)} queries.")
    pixel = face.px(side)
    rows, labels = [], []
    for number, (picture, name) in enumerate(queries):
        first = Panel(fitted(picture, pixel), name, "query")
        for label, found in spaces:
            others = zip(found.rows[number].tolist(), found.distances[number].tolist(), strict=True)
            rows.append(
                [first]
                + [
                    Panel(fitted(pictures(row), pixel), names[row], readable(distance))
                    for row, distance in others
                    if row != MISSING
                ]
            )
            labels.append(label)
            first = Panel(np.full_like(first.picture, 255))
    told = f"Below each name its {' and its '.join(dict.fromkeys(_distance(found) for _, found in spaces))}."
    return compose(rows, title=title, subtitle="\n".join(filter(None, [subtitle, told])), labels=labels, face=face)


def draw_scatter(
    embedding: Embedding,
    labels: Sequence[str] | None = None,
    *,
    size: tuple[int, int] = (640, 800),
    title: str = "Map of feature space",
    subtitle: str = "",
    face: Face | None = None,
) -> "Image.Image":
    """The map with a dot for each image, in the colour and shape of its label.

    Args:
        embedding: the map.
        labels: one per image, "" where it has none.
        size: height and width of the map, in units.
        title: above all.
        subtitle: below it, such as the names of network and layer.
        face: font and density.

    Raises:
        OptionError: there are more or fewer labels than images.
    """
    face = face or Face()
    marks, area = Marks.of(labels, len(embedding)), (face.px(size[0]), face.px(size[1]))
    places = positions(embedding, area, face.px(14))
    radius = face.px(np.clip(120 / np.sqrt(len(embedding)), *RADIUS) * FINE)
    canvas = _dots(places, marks, area, radius, face.px(1))
    return _figure(canvas, embedding, marks, title, subtitle, (), face)


def draw_thumbnails(
    embedding: Embedding,
    pictures: Pictures,
    labels: Sequence[str] | None = None,
    *,
    side: int = 48,
    size: tuple[int, int] = (800, 1000),
    title: str = "Map of feature space",
    subtitle: str = "",
    face: Face | None = None,
) -> "Image.Image":
    """The map with thumbnails in their places, as many as do not overlap; the other images are dots.

    Args:
        embedding: the map.
        pictures: by number of the image on the map.
        labels: one per image, "" where it has none; thumbnails are framed in their colours.
        side: longer side of a thumbnail, in units.
        size: height and width of the map, in units.
        title: above all.
        subtitle: below it, such as the names of network and layer.
        face: font and density.

    Raises:
        OptionError: there are more or fewer labels than images.
    """
    from PIL import Image

    face = face or Face()
    marks, area = Marks.of(labels, len(embedding), len(COLOURS)), (face.px(size[0]), face.px(size[1]))
    pixel = face.px(whole("side", side, least=8))
    places = positions(embedding, area, pixel // 2 + face.px(4))
    canvas = _dots(places, marks, area, face.px(1.5 * FINE), 0)
    shown = apart(places, pixel + face.px(2))
    for i in shown:
        tile = Image.fromarray(framed(pictures(i), pixel, _frame(marks, i), face.px(2)))
        x, y = places[i]
        canvas.paste(tile, (round(x - tile.width / 2), round(y - tile.height / 2)))
    notes = [
        f"{len(shown)} of {len(embedding)} images are shown; the others are dots, some of them below the pictures."
    ]
    return _figure(canvas, embedding, marks, title, subtitle, notes if len(shown) < len(embedding) else (), face)


def draw_grid(
    embedding: Embedding,
    pictures: Pictures,
    labels: Sequence[str] | None = None,
    *,
    side: int = 48,
    most: int = MOST,
    title: str = "Map of feature space",
    subtitle: str = "",
    face: Face | None = None,
) -> "Image.Image":
    """The map as a grid of thumbnails, which keeps what lies beside what and gives up how far apart.

    Args:
        embedding: the map.
        pictures: by number of the image on the map.
        labels: one per image, "" where it has none; thumbnails are framed in their colours.
        side: of a cell, in units.
        most: thumbnails at the most; of more images so many are drawn at random, by the map's seed.
        title: above all.
        subtitle: below it, such as the names of network and layer.
        face: font and density.

    Raises:
        OptionError: there are more or fewer labels than images.
    """
    face = face or Face()
    marks = Marks.of(labels, len(embedding), len(COLOURS))
    pixel = face.px(whole("side", side, least=8))
    drawn = np.random.default_rng(embedding.seed).permutation(len(embedding))[: whole("most", most)]
    chosen = np.sort(drawn)
    grid = arrange(embedding.points[chosen])
    sheet: Picture = np.full((grid.shape[0] * pixel, grid.shape[1] * pixel, 3), GROUND, np.uint8)
    for i, (row, column) in zip(chosen.tolist(), grid.cells.tolist(), strict=True):
        tile = framed(pictures(i), pixel - face.px(2), _frame(marks, i), face.px(2))
        top = row * pixel + (pixel - tile.shape[0]) // 2
        left = column * pixel + (pixel - tile.shape[1]) // 2
        sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    notes = ["Beside means alike; how far apart means nothing on the grid."]
    if len(chosen) < len(embedding):
        notes.append(f"{len(chosen)} of {len(embedding)} images are shown, drawn at random (seed {embedding.seed}).")
    return _figure(_picture(sheet), embedding, marks, title, subtitle, notes, face)


def positions(embedding: Embedding, size: tuple[int, int], margin: int) -> NDArray[np.float64]:
    """Where the points lie in a picture, at one scale for both axes.

    Args:
        embedding: the map.
        size: height and width in pixels.
        margin: pixels that stay free at each side.

    Returns:
        Shape (images, 2): pixels from the left and from the top.
    """
    points = embedding.points.astype(np.float64)
    centre, span = (points.max(axis=0) + points.min(axis=0)) / 2, np.ptp(points, axis=0)
    room = np.array([size[1], size[0]]) - 2 * margin
    scale = min(room[span > 0] / span[span > 0], default=0.0)
    return (points - centre) * [scale, -scale] + [size[1] / 2, size[0] / 2]


def apart(places: NDArray[np.float64], side: float) -> list[int]:
    """Numbers of places on which squares of this side do not overlap: each is taken that those before leave free."""
    taken: list[int] = []
    for i, place in enumerate(places):
        if (np.abs(places[taken] - place).max(axis=1) >= side).all():
            taken.append(i)
    return taken


def framed(picture: Picture, side: int, frame: Colour | None, line: int) -> Picture:
    """A thumbnail with this longer side, and a line of its label's colour around it, if it has one."""
    if frame is None:
        return fitted(picture, side)
    inner = fitted(picture, max(1, side - 2 * line))
    tile = np.full((inner.shape[0] + 2 * line, inner.shape[1] + 2 * line, 3), frame, np.uint8)
    tile[line:-line, line:-line] = inner
    return tile


def _frame(marks: Marks, i: int) -> Colour | None:
    """A frame tells labels apart by colour alone, so that there are no more of them than colours."""
    return colour(int(marks.which[i])) if marks.which[i] >= 0 else None


def _distance(found: Neighbours) -> str:
    return "Euclidean distance" if found.metric == "euclidean" else "1 − cosine"


def _dots(places: NDArray[np.float64], marks: Marks, size: tuple[int, int], radius: int, line: int) -> "Image.Image":
    """All dots, those without a label below the others; radius and line are in the fine pixels."""
    from PIL import Image, ImageDraw

    canvas = Image.new("RGB", (size[1] * FINE, size[0] * FINE), GROUND)
    pen = ImageDraw.Draw(canvas)
    shuffled = np.random.default_rng(0).permutation(len(places))  # so that no label lies on top of all others
    for i in sorted(shuffled.tolist(), key=lambda i: marks.which[i] >= 0):
        _dot(pen, places[i] * FINE, radius, int(marks.which[i]), line)
    return canvas.resize((size[1], size[0]), Image.Resampling.LANCZOS)


def _dot(pen: "ImageDraw.ImageDraw", place: Any, radius: int, which: int, line: int) -> None:
    """A dot in the colour and shape of its label, with a thin light edge."""
    x, y = (float(v) for v in place)
    fill, edge = colour(which), WHITE if line else None
    if shape(which) == "circle":
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill, edge, line)
        return
    corners = {
        "square": [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
        "triangle": [(0, -1.2), (1.15, 0.85), (-1.15, 0.85)],
        "diamond": [(0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)],
    }[shape(which)]
    pen.polygon([(x + radius * right, y + radius * down) for right, down in corners], fill, edge, line)


def _figure(
    canvas: "Image.Image",
    embedding: Embedding,
    marks: Marks,
    title: str,
    subtitle: str,
    notes: Sequence[str],
    face: Face,
) -> "Image.Image":
    """The map with its border, the legend and all that is said of it."""
    from PIL import ImageDraw

    ImageDraw.Draw(canvas).rectangle((0, 0, canvas.width - 1, canvas.height - 1), None, BORDER, face.px(1))
    rows = [[Panel(np.asarray(canvas))]]
    if marks.legend():
        rows.append([Panel(np.asarray(_legend(marks, canvas.width, face)))])
    said = "\n".join(filter(None, [subtitle, str(embedding)]))
    return compose(rows, title=title, subtitle=said, notes=notes, face=face)


def _legend(marks: Marks, width: int, face: Face) -> "Image.Image":
    """Marks with their labels, in as many lines as it takes."""
    from PIL import Image, ImageDraw

    side, used = face.px(14), 0
    lines: list[list[Image.Image]] = [[]]
    for place, words in marks.legend():
        swatch = Image.new("RGB", (side * FINE, side * FINE), WHITE)
        _dot(ImageDraw.Draw(swatch), (side * FINE / 2,) * 2, round(side * FINE * 0.3), place, 0)
        text = face.block(words, SMALL, min(width // 2, face.px(260)), FAINT)
        entry = beside([swatch.resize((side, side), Image.Resampling.LANCZOS), text], face.px(3))
        if lines[-1] and used + entry.width > width:
            lines.append([])
            used = 0
        lines[-1].append(entry)
        used += entry.width + face.px(14)
    return stacked([beside(entries, face.px(14)) for entries in lines], face.px(4))


def _picture(pixels: Picture) -> "Image.Image":
    from PIL import Image

    return Image.fromarray(pixels)
