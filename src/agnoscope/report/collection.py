"""An image among those of a scan: its nearest neighbours, and what else excites the channels that it excites most."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import ImageError
from agnoscope.feature_space.neighbours import Neighbours, nearest, pixels
from agnoscope.images import load
from agnoscope.inspection.receptive_fields import Box, receptive_fields
from agnoscope.model import Layer, Model
from agnoscope.render.blend import fitted
from agnoscope.scan.features import feature_program
from agnoscope.scan.scan import Scan
from agnoscope.scan.views.moments import Moments
from agnoscope.scan.views.places import cut, enlarged

SIDE: Final = 96
"""Longer side in pixels of a neighbour or a patch."""
NEIGHBOURS: Final = 6
PATCHES: Final = 6
CHANNELS: Final = 4
SAME: Final = 1e-3
"""Images whose features differ by less than this share of their length are the same one, read twice."""
PIXEL_MOST: Final = 5000
"""Images of a scan up to which neighbours in pixel space are looked for: every one of them must be read again."""


@final
@dataclass(frozen=True, eq=False)
class Relative:
    """A picture of the scan, or a part of one.

    Attributes:
        name: of the image.
        label: its class, "" where unknown.
        value: its distance, or how strongly it excites the channel.
        picture: uint8, shape (height, width, 3); None where it cannot be read any more.
    """

    name: str
    label: str
    value: float
    picture: NDArray[np.uint8] | None


@final
@dataclass(frozen=True, eq=False)
class Excited:
    """A channel that the image excites more than the images of the scan do.

    Attributes:
        channel: its number.
        above: how many of the scan's standard deviations its mean over the image lies above the scan's mean.
        value: its largest activation in the image.
        patch: what the unit sees there, in the image.
        others: the patches of the scan that excite it most, best first.
    """

    channel: int
    above: float
    value: float
    patch: NDArray[np.uint8]
    others: tuple[Relative, ...]


@final
@dataclass(frozen=True, eq=False)
class Surroundings:
    """What a scan tells of an image. Where the image is in the scan itself, it is left out.

    Attributes:
        layer: whose features were compared.
        images: how many images the scan has.
        by_features: the nearest ones by the layer's features, nearest first.
        by_pixels: the nearest ones by their pixels; empty where the scan is too large to read all of it again.
        channels: those that the image excites unusually, the most unusual one first.
    """

    layer: str
    images: int
    by_features: tuple[Relative, ...]
    by_pixels: tuple[Relative, ...]
    channels: tuple[Excited, ...]


@final
@dataclass(frozen=True, eq=False)
class Beside:
    """A scan, ready to be compared with images.

    Attributes:
        model: the network that was scanned.
        scan: the scan.
        layer: of the scan.
        moments: of each feature over the images.
        pixels: rows and their images as points in pixel space, shape (rows, numbers), in chunks: one of all that can be
            read, or none for a large scan.
    """

    model: Model
    scan: Scan
    layer: Layer
    moments: Moments
    pixels: list[tuple[NDArray[np.int64], NDArray[np.float32]]]

    @classmethod
    def of(cls, model: Model, scan: Scan) -> "Beside":
        """Make sure that the scan is of this network, and read what every image is compared with.

        Raises:
            OptionError: it is of another network.
        """
        scan.check(model)
        layer = model.layer(scan.layers[0], scan.size)
        moments = Moments.of(scan.chunks(), np.zeros(len(scan), np.intp), 1)
        return cls(model, scan, layer, moments, _in_pixel_space(scan) if len(scan) <= PIXEL_MOST else [])

    def surroundings(self, image: Any) -> Surroundings:
        """What the scan tells of one image.

        Raises:
            ImageError: it cannot be read, or does not fit.
        """
        batch = load(image, replace(self.model.spec, size=self.scan.size), self.model.dtype)
        run = self.model.compile(feature_program, self.layer)(batch.images)
        features, photo = run["mean"], batch.photos[0]
        first = nearest(features, self.scan.chunks(), 1)
        same = first.distances[0, 0] <= SAME * np.linalg.norm(features)
        itself = np.array([first.rows[0, 0] if same else -1])
        near = nearest(features, self.scan.chunks(), NEIGHBOURS, itself=itself)
        alike = nearest(pixels([photo]), self.pixels, NEIGHBOURS, itself=itself)
        channels = (
            tuple(self._channels(run["map"][0], features[0], photo, int(itself[0]))) if self.layer.spatial else ()
        )
        neighbours = self._neighbours(near), self._neighbours(alike)
        return Surroundings(self.layer.name, len(self.scan), *neighbours, channels)

    def _neighbours(self, found: Neighbours) -> tuple[Relative, ...]:
        pairs = zip(found.rows[0].tolist(), found.distances[0].tolist(), strict=True)
        return tuple(self._relative(row, distance, None) for row, distance in pairs if row >= 0)

    def _channels(
        self, activation: NDArray[Any], features: NDArray[Any], photo: NDArray[np.uint8], itself: int
    ) -> Iterator[Excited]:
        """The channels whose mean lies furthest above that of the scan, each with its patches."""
        top = self.scan.top(k=min(PATCHES + 1, self.scan.manifest["plan"]["keep"]))
        seen = receptive_fields(self.model, self.scan.size, [self.layer.name], local=True)[self.layer.name]
        above = self.moments.above(features)
        for channel in np.argsort(-above, kind="stable")[:CHANNELS].tolist():
            if above[channel] <= 0:
                return
            one = activation[..., channel]
            y, x = np.unravel_index(int(one.argmax()), one.shape)
            places = zip(top.rows[channel], top.values[channel], top.y[channel], top.x[channel], strict=True)
            others = [
                self._relative(int(row), float(value), seen.box(int(i), int(j)))
                for row, value, i, j in places
                if row not in (-1, itself) and value > 0  # what does not excite it is no example
            ]
            patch = _patch(photo, seen.box(int(y), int(x)), self.scan.size)
            yield Excited(channel, float(above[channel]), float(one.max()), patch, tuple(others[:PATCHES]))

    def _relative(self, row: int, value: float, box: Box | None) -> Relative:
        label = self.scan.labels[row] if self.scan.labels is not None else ""
        picture = _picture(self.scan, row)
        if picture is not None:
            picture = fitted(picture, SIDE) if box is None else _patch(picture, box, self.scan.size)
        return Relative(self.scan.names[row], label, value, picture)


def _patch(photo: NDArray[np.uint8], box: Box, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A part of a photo, given in pixels of the image that the network saw; its longer side 96 pixels."""
    return fitted(cut(photo, enlarged(box, size, (photo.shape[0], photo.shape[1]))), SIDE)


def _picture(scan: Scan, row: int, side: int | None = None) -> NDArray[np.uint8] | None:
    """A picture of the scan; None where it cannot be read any more."""
    try:
        return scan.picture(row, side)
    except (ImageError, OSError):
        return None


def _in_pixel_space(scan: Scan) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """The images that can be read as points in pixel space, in one chunk."""
    pictures = ((row, _picture(scan, row, SIDE)) for row in range(len(scan)))
    found = [(row, pixels([picture])[0]) for row, picture in pictures if picture is not None]
    return [(np.array([row for row, _ in found]), np.stack([point for _, point in found]))] if found else []
