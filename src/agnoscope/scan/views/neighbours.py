"""The images of a scan that are nearest to others: as the network sees them, and by their pixels.

Where the two differ, the network has learned what makes images alike; pixels only know where it is bright.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import OptionError
from agnoscope.explainers.base import Progress, silent
from agnoscope.feature_space.neighbours import MISSING, Metric, Neighbours, nearest
from agnoscope.images import ImageLike, load_one, name_of
from agnoscope.model import Layer, Model
from agnoscope.scan.features import feature_program
from agnoscope.scan.scan import Scan
from agnoscope.scan.views.drawn import Drawn
from agnoscope.scan.views.rereading import Reader, thumbnail

if TYPE_CHECKING:
    from PIL import Image

PIECE: Final = 32
"""Images whose pixels are held at once."""

SIDE: Final = 256
"""Longer side in pixels of the pictures that are kept."""


@final
@dataclass(frozen=True, eq=False)
class NearImages(Drawn):
    """Images with their nearest neighbours in a scan.

    Attributes:
        queries: the images' names.
        photos: their pictures, uint8, shape (height, width, 3), longer side at most 256 pixels.
        layer: whose features were compared.
        features: neighbours by these, as rows of the scan.
        pixels: neighbours by the pixels, each value of which counts alike; None where not asked for.
        names: row of the scan to name, for all neighbours.
        pictures: row of the scan to picture, likewise; gray where a photo cannot be read any more.
        notes: sentences for the user.
    """

    queries: tuple[str, ...]
    photos: tuple[NDArray[np.uint8], ...]
    layer: str
    features: Neighbours
    pixels: Neighbours | None
    names: dict[int, str]
    pictures: dict[int, NDArray[np.uint8]]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.queries)

    @property
    def caption(self) -> str:
        """What the picture shows, in one line."""
        return f"Nearest neighbours of {', '.join(self.queries[:3])}{' …' if len(self) > 3 else ''}"

    def draw(self, *, side: int = 112) -> "Image.Image":
        """The images with their neighbours beside them, those in pixel space below those in feature space.

        Args:
            side: longer side of a picture.
        """
        from agnoscope.feature_space.drawing import draw_neighbours
        from agnoscope.scan.views.drawing import short

        named = [self.names.get(row, "") for row in range(max(self.names, default=-1) + 1)]
        return draw_neighbours(
            [(photo, short(name)) for photo, name in zip(self.photos, self.queries, strict=True)],
            self.features,
            self.pictures.__getitem__,
            [short(name) for name in named],
            pixels=self.pixels,
            side=side,
            subtitle=" ".join((f"Features: layer {self.layer}, the mean of each channel.", *self.notes)),
        )


def neighbours(
    model: Model,
    scan: Scan,
    images: ImageLike,
    k: int = 5,
    metric: Metric = "euclidean",
    *,
    layer: str | None = None,
    pixel_space: bool = True,
    progress: Progress | None = None,
) -> NearImages:
    """Find the images of a scan that are nearest to each of some images, exactly.

    Args:
        model: the network that was scanned.
        scan: the scan.
        images: one or several: names of images in the scan, or whatever else is an image. One that is in the scan, by
            its name or the path of its photo, is not its own neighbour.
        k: neighbours of each.
        metric: "euclidean", or "cosine" for 1 − cosine; in both spaces.
        layer: one that the scan kept; by default its first one.
        pixel_space: whether to look for neighbours by the pixels, too, at the size at which the network saw the images:
            all of them are read again.
        progress: called with the images that were read and their number.

    Raises:
        OptionError: the scan is of another network, or `k` or the metric is none.
        LayerError: the scan did not keep this layer.
        ImageError: an image cannot be read, or does not fit.
        FileError: the scan's images cannot be read any more.
    """
    reader = Reader.of(model, scan)
    chosen = model.layer(scan.layer(layer), scan.size)
    given = list(images) if isinstance(images, list | tuple) else [images]
    if not given:
        raise OptionError("There is no image to find neighbours of: give at least one.")
    queries = [_query(reader, image, number) for number, image in enumerate(given, start=1)]
    arrays, itself = np.stack([query.array for query in queries]), np.array([query.row for query in queries])
    features = _features(model, scan, chosen, arrays, itself)
    by_features = nearest(features, scan.chunks(chosen.name), k, metric, itself=itself)
    by_pixels = None
    if pixel_space:
        flat = arrays.reshape(len(arrays), -1)
        by_pixels = nearest(flat, _pixels(reader, progress or silent), k, metric, itself=itself)
    rows = np.unique(np.concatenate([found.rows.ravel() for found in (by_features, by_pixels) if found]))
    shown = [int(row) for row in rows if row != MISSING]
    notes = reader.reasons()  # of the stream; pictures below repeat them
    pictures = {row: thumbnail(scan, row, SIDE) for row in shown}
    return NearImages(
        tuple(query.name for query in queries),
        tuple(query.photo for query in queries),
        chosen.name,
        by_features,
        by_pixels,
        {row: scan.names[row] for row in shown},
        pictures,
        tuple(notes),
    )


@dataclass(frozen=True, eq=False)
class _Query:
    """An image, and its row of the scan, or -1 for one that is not in it."""

    name: str
    array: NDArray[Any]
    photo: NDArray[np.uint8]
    row: int


def _query(reader: Reader, image: Any, number: int) -> _Query:
    row = _row(reader.scan, image)
    name = reader.scan.names[row] if row >= 0 else name_of(image) or f"image {number}"
    source = reader.scan.image(row) if row >= 0 else image
    array, photo = load_one(source, reader.spec, reader.model.dtype, name)
    return _Query(name, array, _small(photo), row)


def _row(scan: Scan, image: Any) -> int:
    """The row of an image that is in the scan, by its name or the path of its photo; else -1."""
    if not isinstance(image, str | Path):
        return -1
    names = list(scan.names)
    if str(image) in names:
        return names.index(str(image))
    about = scan.manifest["images"]
    folder = Path(about.get("path", "")).resolve()
    path = Path(image).resolve()
    if about["kind"] == "folder" and path.is_relative_to(folder):
        inside = path.relative_to(folder).as_posix()
        return names.index(inside) if inside in names else -1
    return names.index(str(path)) if str(path) in names else -1


def _features(
    model: Model, scan: Scan, layer: Layer, arrays: NDArray[Any], itself: NDArray[np.int64]
) -> NDArray[np.float32]:
    """The features of the queries: the scan's own for those that are in it, so that copies lie at 0."""
    program = model.compile(feature_program, layer)
    place = {int(row): number for number, row in enumerate(itself) if row >= 0}
    means = [program(array[None])["mean"][0].astype(np.float32) for array in arrays]
    for rows, features in scan.chunks(layer.name) if place else ():
        for row, feature in zip(rows.tolist(), features, strict=True):
            if row in place:
                means[place[row]] = feature
    return np.stack([means[place[int(row)]] if row >= 0 else mean for row, mean in zip(itself, means, strict=True)])


def _pixels(reader: Reader, progress: Progress) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
    """All images of the scan as the network takes them, flat, a few at a time."""
    count = len(reader.scan)
    progress(0, count)
    for start in range(0, count, PIECE):
        some = range(start, min(count, start + PIECE))
        found = [image for image in map(reader.read, some) if image is not None]
        if found:
            yield np.array([image.row for image in found]), np.stack([image.array.ravel() for image in found])
        progress(some.stop, count)


def _small(photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    from agnoscope.render.blend import fitted

    return fitted(photo, SIDE) if max(photo.shape[:2]) > SIDE else np.array(photo)
