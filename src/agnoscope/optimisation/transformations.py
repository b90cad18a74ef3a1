"""How the network looks at an image: random views, fused into one resampling.

Each transformation draws an affine map from what is seen to where that lies in the image; a view multiplies them, and
the image is sampled once. The draws and the places are made on the host, so that every framework sees the same; the
sampling is array-API code, and no draw makes it compile anew.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, final, get_args

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import OptionError
from agnoscope.explainers.options import positive, whole
from agnoscope.optimisation.canvas import Canvas
from agnoscope.patches import Array

Border: TypeAlias = Literal["gray", "edge", "mirror", "wrap"]
Sampling: TypeAlias = Literal["linear", "nearest"]


class Transformation(ABC):
    """A random affine map. Subclasses are final, frozen dataclasses."""

    @abstractmethod
    def draw(self, random: np.random.Generator, size: tuple[int, int]) -> NDArray[np.float64]:
        """A map from what is seen to where it lies, shape (3, 3), of (row, column, 1) in pixels from the centre.

        Args:
            random: the run's generator; every draw takes equally many numbers from it.
            size: height and width of the image in pixels.
        """


@final
@dataclass(frozen=True)
class Jitter(Transformation):
    """A shift by whole pixels, as if the image were cut to a place within so many pixels.

    Attributes:
        pixels: the width of the range of shifts: 8 shifts by -4 to 4.
    """

    pixels: int = 8

    def __post_init__(self) -> None:
        whole("pixels", self.pixels, least=0)

    def draw(self, random: np.random.Generator, size: tuple[int, int]) -> NDArray[np.float64]:  # noqa: ARG002
        return shift(*(random.integers(0, self.pixels, 2, endpoint=True) - self.pixels // 2))


@final
@dataclass(frozen=True)
class Scale(Transformation):
    """A magnification, drawn uniformly.

    Attributes:
        low: the smallest one.
        high: the largest one.
    """

    low: float = 0.9
    high: float = 1.1

    def __post_init__(self) -> None:
        if positive("low", self.low) > positive("high", self.high):
            raise OptionError(f"Scale({self.low}, {self.high}) must have its lower number first.")

    def draw(self, random: np.random.Generator, size: tuple[int, int]) -> NDArray[np.float64]:  # noqa: ARG002
        factor = 1 / random.uniform(self.low, self.high)
        return np.diag([factor, factor, 1.0])


@final
@dataclass(frozen=True)
class Rotate(Transformation):
    """A turn about the centre, drawn uniformly.

    Attributes:
        degrees: the largest turn, to either side.
        still: the share of views that are not turned.
    """

    degrees: float = 10.0
    still: float = 0.2

    def __post_init__(self) -> None:
        positive("degrees", self.degrees, or_zero=True)
        if not 0 <= positive("still", self.still, or_zero=True) <= 1:
            raise OptionError(f"still={self.still!r} must be a share, from 0 to 1.")

    def draw(self, random: np.random.Generator, size: tuple[int, int]) -> NDArray[np.float64]:  # noqa: ARG002
        chance, angle = random.uniform(), np.deg2rad(random.uniform(-self.degrees, self.degrees))
        if chance < self.still:
            return np.eye(3)
        cosine, sine = np.cos(angle), np.sin(angle)
        return np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1.0]])


@final
@dataclass(frozen=True)
class Crop(Transformation):
    """A part of the image at a random place, seen at full size.

    Attributes:
        low: its smallest side, as a share of the image's.
        high: its largest side.
    """

    low: float = 0.05
    high: float = 0.5

    def __post_init__(self) -> None:
        if not positive("low", self.low) <= positive("high", self.high) <= 1:
            raise OptionError(f"Crop({self.low}, {self.high}) must hold two shares of the side, the lower one first.")

    def draw(self, random: np.random.Generator, size: tuple[int, int]) -> NDArray[np.float64]:
        share = random.uniform(self.low, self.high)
        room = random.uniform(-0.5, 0.5, 2) * (1 - share) * np.array(size)
        return shift(*room) @ np.diag([share, share, 1.0])


LUCID: Final = (Jitter(8), Scale(0.9, 1.1), Rotate(10), Jitter(4))
"""What Lucid shows the network by default."""


@final
@dataclass(frozen=True)
class Views:
    """Random views of an image, equal ones for all images of a run.

    Attributes:
        transformations: multiplied in this order. None at all shows the whole image.
        count: views of each image per step; the objective is their mean.
        border: what is seen beyond the image: "gray", its "edge" drawn out, the image as in a "mirror", or again
            ("wrap").
        sampling: "linear" between pixels, or the "nearest" pixel.
    """

    transformations: tuple[Transformation, ...] = LUCID
    count: int = 1
    border: Border = "gray"
    sampling: Sampling = "linear"

    def __post_init__(self) -> None:
        whole("count", self.count)
        for name, known in (("border", Border), ("sampling", Sampling)):
            if getattr(self, name) not in get_args(known):
                raise OptionError(
                    f"{name}={getattr(self, name)!r} is unknown: use {', '.join(map(repr, get_args(known)))}."
                )

    def places(self, random: np.random.Generator, canvas: Canvas, seen: tuple[int, int]) -> dict[str, NDArray[Any]]:
        """Where each seen pixel lies in the image, for one step.

        Args:
            random: the run's generator.
            canvas: what the images are painted on.
            seen: height and width of what the network gets.

        Returns:
            "index" of pixels in the image, int32, and their "weight", both of shape (views, taps, pixels seen).
        """
        found = [self._place(self._map(random, canvas.size, seen), canvas.size, seen) for _ in range(self.count)]
        index, weight = (np.stack(each) for each in zip(*found, strict=True))
        return {"index": index, "weight": weight.astype(canvas.dtype)}

    def _map(self, random: np.random.Generator, size: tuple[int, int], seen: tuple[int, int]) -> NDArray[np.float64]:
        """From a pixel of the view, counted from the first one, to one of the image."""
        drawn = np.eye(3)
        for transformation in self.transformations:
            drawn = drawn @ transformation.draw(random, size)
        whole_image = np.diag([size[0] / seen[0], size[1] / seen[1], 1.0])
        return (
            shift((size[0] - 1) / 2, (size[1] - 1) / 2)
            @ drawn
            @ whole_image
            @ shift((1 - seen[0]) / 2, (1 - seen[1]) / 2)
        )

    def _place(
        self, drawn: NDArray[np.float64], size: tuple[int, int], seen: tuple[int, int]
    ) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        rows, columns = np.arange(seen[0])[:, None], np.arange(seen[1])[None, :]
        y, x = (drawn[i, 0] * rows + (drawn[i, 1] * columns + drawn[i, 2]) for i in (0, 1))
        if self.sampling == "nearest":
            taps = [(_tap(np.rint(y), size[0], self.border), _tap(np.rint(x), size[1], self.border))]
            shares: list[Any] = [1.0]
        else:
            # A pixel that is met exactly must not depend on rounding.
            y, x = np.round(y, 9), np.round(x, 9)
            top, left = np.floor(y), np.floor(x)
            below, right = y - top, x - left
            vertical = [_tap(top, size[0], self.border), _tap(top + 1, size[0], self.border)]
            horizontal = [_tap(left, size[1], self.border), _tap(left + 1, size[1], self.border)]
            taps = [(v, h) for v in vertical for h in horizontal]
            shares = [v * h for v in (1 - below, below) for h in (1 - right, right)]
        index = np.stack([(v[0] * size[1] + h[0]).reshape(-1) for v, h in taps])
        weight = np.stack([(share * (v[1] & h[1])).reshape(-1) for share, (v, h) in zip(shares, taps, strict=True)])
        return index, weight


def _tap(place: NDArray[np.float64], length: int, border: Border) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """The number of a pixel along an axis, and whether it is there to be seen."""
    number = place.astype(np.int32)
    match border:
        case "wrap":
            found = number % length
        case "mirror":
            found = (length - 1) - np.abs((length - 1) - number % max(2 * length - 2, 1))
        case _:
            found = np.clip(number, 0, length - 1)
    there: NDArray[np.bool_] = found == number if border == "gray" else np.ones_like(number, dtype=np.bool_)
    return found, there


def shift(rows: float, columns: float) -> NDArray[np.float64]:
    """The map that adds so many rows and columns."""
    return np.array([[1.0, 0, rows], [0, 1, columns], [0, 0, 1]])


def looked_at(xp: Any, canvas: Canvas, seen: tuple[int, int], images: Array, places: Mapping[str, Array]) -> Array:
    """What the network gets of the images; compiled.

    Args:
        xp: the array namespace of `images`.
        canvas: what the images are painted on.
        seen: height and width of a view.
        images: shape (images, height, width, channels).
        places: as `Views.places` gives them.

    Returns:
        Shape (images · views, *seen, channels), the views of an image side by side.
    """
    index, weight = places["index"], places["weight"]
    views, taps, pixels = index.shape
    count, depth = images.shape[0], images.shape[3]
    first = xp.arange(count, dtype=index.dtype) * (canvas.size[0] * canvas.size[1])
    whole_index = (first[:, None, None, None] + index[None, ...])[..., None] * depth + xp.arange(
        depth, dtype=index.dtype
    )
    # Flat: frameworks send gradients back to single numbers the fastest.
    values = xp.take(xp.reshape(images, (-1,)), xp.reshape(whole_index, (-1,)), axis=0)
    values = xp.reshape(values, (count, views, taps, pixels, depth)) * weight[None, :, :, :, None]
    beyond = canvas.middle * (1 - xp.sum(weight, axis=1))
    found = xp.sum(values, axis=2) + beyond[None, :, :, None]
    return xp.reshape(found, (count * views, *seen, depth))
