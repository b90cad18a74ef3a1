"""The map as a page: one file that a browser shows without a network.

Thumbnails lie beside one another in a few large pictures; where each image lies, what it is called and who its
neighbours are stands beside them as JSON. Nothing is computed in the browser but what is seen.
"""

from collections.abc import Iterator, Sequence
from math import ceil
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import OptionError
from agnoscope.explainers.base import Progress
from agnoscope.feature_space.drawing import Picture, Pictures, draw_thumbnails, positions
from agnoscope.feature_space.embedding import Embedding
from agnoscope.feature_space.grid import arrange
from agnoscope.feature_space.labels import Marks, colour, shape
from agnoscope.feature_space.neighbours import MISSING, Neighbours
from agnoscope.feature_space.projections import METHODS
from agnoscope.render.blend import fitted
from agnoscope.render.panels import readable

SIDE: Final = 64
"""Longer side of a thumbnail in pixels."""

ACROSS: Final = 32
"""Thumbnails in a row, and rows in a sheet: 2048 pixels, which every browser holds."""

EXTENT: Final = 10_000
"""Places on the map are whole numbers up to this."""

QUALITY: Final = 60
"""Of the sheets in WebP, 0 to 100."""


def map_page(
    embeddings: Sequence[Embedding],
    names: Sequence[str],
    pictures: Pictures,
    labels: Sequence[str] | None = None,
    neighbours: Neighbours | None = None,
    *,
    title: str = "Map of feature space",
    subtitle: str = "",
    progress: Progress | None = None,
) -> str:
    """The map as one HTML file, with thumbnails, search, and neighbours on click.

    5000 images take about 10 MB. Without JavaScript the page shows a picture of the map.

    Args:
        embeddings: maps of the same images, between which the reader may change; a grid of the first is added.
        names: one per image.
        pictures: by number of the image on the map.
        labels: one per image, "" where it has none.
        neighbours: of every image on the map, by numbers of images on the map; found in feature space, not on the map.
        title: of the page.
        subtitle: below it, such as the names of network and layer.
        progress: called with the thumbnails that are done and their total.

    Raises:
        OptionError: there is no map, or there are not as many names, labels or neighbours as images.
    """
    from agnoscope.report.html import data_uri, page

    count = _count(embeddings, names, neighbours)
    marks = Marks.of(labels, count)
    sheets, sizes = [], []
    for sheet, some in _sheets(count, pictures, progress):
        sheets.append(data_uri(sheet, quality=QUALITY))
        sizes += some
    data = {
        "extent": EXTENT,
        "views": [*map(_view, embeddings), _grid(embeddings[0])],
        "names": list(names),
        "labels": list(labels) if labels is not None else [],
        "marks": marks.which.tolist(),
        "legend": [{"place": place, "words": words} for place, words in marks.legend()],
        "looks": [{"colour": f"rgb{colour(i)}", "shape": shape(i)} for i in range(-1, len(marks.names))],
        "neighbours": _listed(neighbours),
        "metric": neighbours.metric if neighbours else "",
        "sheets": sheets,
        "sizes": sizes,
        "side": SIDE,
        "across": ACROSS,
    }
    static = draw_thumbnails(embeddings[0], pictures, labels, title="")
    return page(
        "feature_space/page.html",
        css=("report/base.css", "feature_space/page.css"),
        js=("feature_space/map.js", "feature_space/controls.js"),
        data=data,
        title=title,
        subtitle=subtitle,
        count=count,
        views=[view["name"] for view in data["views"]],
        labelled=bool(marks.legend()),
        static=data_uri(static, quality=80),
        said=str(embeddings[0]),
    )


def _count(embeddings: Sequence[Embedding], names: Sequence[str], neighbours: Neighbours | None) -> int:
    """How many images all parts agree on."""
    if not embeddings:
        raise OptionError("There is no map to show: give at least one embedding.")
    count = len(embeddings[0])
    given = {f"the {METHODS[e.method].title} map": len(e) for e in embeddings[1:]} | {"names": len(names)}
    given |= {"neighbours": len(neighbours)} if neighbours else {}
    for what, found in given.items():
        if found != count:
            raise OptionError(f"The first map has {count} images, and {what} were given for {found}.")
    if neighbours is not None and not ((neighbours.rows >= MISSING) & (neighbours.rows < count)).all():
        raise OptionError(f"Neighbours must be numbers of images on the map, below {count}: search within its images.")
    return count


def _sheets(
    count: int, pictures: Pictures, progress: Progress | None
) -> Iterator[tuple[Picture, list[tuple[int, int]]]]:
    """Sheets of thumbnails, and width and height of each of these."""
    for start in range(0, count, ACROSS**2):
        some = range(start, min(count, start + ACROSS**2))
        sheet: Picture = np.full((ceil(len(some) / ACROSS) * SIDE, ACROSS * SIDE, 3), 255, np.uint8)
        sizes = []
        for place, i in enumerate(some):
            thumbnail = fitted(pictures(i), SIDE)
            top, left = (n * SIDE for n in divmod(place, ACROSS))
            sheet[top : top + thumbnail.shape[0], left : left + thumbnail.shape[1]] = thumbnail
            sizes.append((thumbnail.shape[1], thumbnail.shape[0]))
            if progress:
                progress(i + 1, count)
        yield sheet, sizes


def _view(embedding: Embedding) -> dict[str, Any]:
    places = positions(embedding, (EXTENT, EXTENT), 0)
    return {"name": METHODS[embedding.method].title, "said": str(embedding), "places": _whole(places), "cell": 0}


def _grid(embedding: Embedding) -> dict[str, Any]:
    grid = arrange(embedding.points)
    shape = np.array(grid.shape[::-1])
    cell = EXTENT / shape.max()
    places = (grid.cells[:, ::-1] + 0.5 - shape / 2) * cell + EXTENT / 2
    said = f"{METHODS[embedding.method].title} on a grid: beside means alike, how far apart means nothing. {embedding}"
    return {"name": "Grid", "said": said, "places": _whole(places), "cell": float(cell)}


def _whole(places: NDArray[np.floating[Any]]) -> list[int]:
    """From the left and from the top in turn, as whole numbers, which take few letters."""
    return places.round().astype(int).ravel().tolist()


def _listed(neighbours: Neighbours | None) -> list[list[Any]]:
    """For each image its neighbours and the distances, as they are read."""
    if neighbours is None:
        return []
    listed = []
    for rows, distances in zip(neighbours.rows.tolist(), neighbours.distances.tolist(), strict=True):
        there = [(row, readable(distance)) for row, distance in zip(rows, distances, strict=True) if row != MISSING]
        listed.append([[row for row, _ in there], [distance for _, distance in there]])
    return listed
