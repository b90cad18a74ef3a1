"""How the network looks at an image: random views, fused into one resampling.

Each transformation draws an affine map from what is seen to where that lies in the image; a view multiplies them, and
the image is sampled once. The draws and the places are made on the host, so that every framework sees the same; the
sampling is array-API code, and no draw makes it compile anew.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, TypeAlias, final, get_args

import numpy as np
from numpy.typing import NDArray

from agnoscope.arrays import affine_samples, weighted_samples
from agnoscope.errors import OptionError
from agnoscope.explainers.options import positive, whole
from agnoscope.optimisation.canvas import Canvas
from agnoscope.patches import Array

Resample: TypeAlias = Callable[[Array, Array, tuple[int, int], float], Array]
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


@final
@dataclass(frozen=True)
class Flip(Transformation):
    """Left and right changed places, now and then.

    Attributes:
        share: of the views that are flipped, from 0 to 1.
    """

    share: float = 0.5

    def __post_init__(self) -> None:
        if not positive("share", self.share, or_zero=True) <= 1:
            raise OptionError(f"share={self.share!r} must lie between 0 and 1; it may be either.")

    def draw(self, random: np.random.Generator, size: tuple[int, int]) -> NDArray[np.float64]:  # noqa: ARG002
        return np.diag([1.0, -1.0 if random.uniform() < self.share else 1.0, 1.0])


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
        sampling: "linear" between pixels, or the "nearest" pixel, which costs a quarter, but makes rough pictures of
            smooth things.
        noise: deviation of the normal noise that is added to each view, as a share of the span between the bounds.

    Raises:
        OptionError: an option is out of range, or a transformation is none.
    """

    transformations: tuple[Transformation, ...] = LUCID
    count: int = 1
    border: Border = "gray"
    sampling: Sampling = "linear"
    noise: float = 0.0

    def __post_init__(self) -> None:
        given = self.transformations
        if not isinstance(given, tuple | list) or not all(isinstance(each, Transformation) for each in given):
            raise OptionError(f"transformations={given!r} must be a tuple of such as ag.Jitter(8), or () for none.")
        whole("count", self.count)
        positive("noise", self.noise, or_zero=True)
        for name, known in (("border", Border), ("sampling", Sampling)):
            if getattr(self, name) not in get_args(known):
                raise OptionError(
                    f"{name}={getattr(self, name)!r} is unknown: use {', '.join(map(repr, get_args(known)))}."
                )

    @property
    def still(self) -> bool:
        """Whether nothing in them is random."""
        return not self.transformations and not self.noise

    def places(self, random: np.random.Generator, canvas: Canvas, seen: tuple[int, int]) -> dict[str, NDArray[Any]]:
        """Where each seen pixel lies in the image, for one step.

        Args:
            random: the run's generator.
            canvas: what the images are painted on.
            seen: height and width of what the network gets.

        Returns:
            The "map" of each view, shape (views, 2, 3), for samples between pixels and a gray border; else "index" of
            pixels in the image, int32, and their "weight", both of shape (views, taps, pixels seen). Where there is
            "noise", also that, shape (views, *seen, channels).
        """
        drawn = [self._map(random, canvas.size, seen).astype(canvas.dtype) for _ in range(self.count)]
        noise = self._noise(random, canvas, seen) if self.noise else {}
        if self.sampling == "linear" and self.border == "gray":
            return {"map": np.stack(drawn)[:, :2], **noise}
        index, weight = zip(*(self._place(each, canvas.size, seen) for each in drawn), strict=True)
        return {"index": np.stack(index), "weight": np.stack(weight), **noise}

    def _noise(self, random: np.random.Generator, canvas: Canvas, seen: tuple[int, int]) -> dict[str, NDArray[Any]]:
        drawn = random.standard_normal((self.count, *seen, canvas.depth))
        return {"noise": (self.noise * canvas.span * drawn).astype(canvas.dtype)}

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
        self, drawn: NDArray[Any], size: tuple[int, int], seen: tuple[int, int]
    ) -> tuple[NDArray[np.int32], NDArray[Any]]:
        """Index and weight of each tap, shape (taps, pixels seen)."""
        rows, columns = np.arange(seen[0], dtype=drawn.dtype)[:, None], np.arange(seen[1], dtype=drawn.dtype)[None, :]
        y, x = (drawn[i, 0] * rows + (drawn[i, 1] * columns + drawn[i, 2]) for i in (0, 1))
        vertical, horizontal = (self._along(place, length) for place, length in zip((y, x), size, strict=True))
        taps = [(v, h) for v in vertical for h in horizontal]
        index = np.stack([v[0] * size[1] + h[0] for v, h in taps])
        weight = np.stack([v[1] * h[1] for v, h in taps])
        return index.reshape(len(taps), -1), weight.reshape(len(taps), -1)

    def _along(self, place: NDArray[Any], length: int) -> list[tuple[NDArray[np.int32], NDArray[Any]]]:
        """The pixels along an axis that are seen at each place, with their weights."""
        if self.sampling == "nearest":
            return [self._tap(np.rint(place), np.ones_like(place), length)]
        first = np.floor(place)
        share = place - first
        return [self._tap(first, 1 - share, length), self._tap(first + 1, share, length)]

    def _tap(self, place: NDArray[Any], share: NDArray[Any], length: int) -> tuple[NDArray[np.int32], NDArray[Any]]:
        """A pixel's number, and its weight: none where it lies beyond a gray border."""
        number = place.astype(np.int32)
        match self.border:
            case "wrap":
                return number % length, share
            case "mirror":
                return (length - 1) - np.abs((length - 1) - number % max(2 * length - 2, 1)), share
            case "edge":
                return np.clip(number, 0, length - 1), share
            case _:
                within = np.clip(number, 0, length - 1)
                return within, share * (within == number)


def shift(rows: float, columns: float) -> NDArray[np.float64]:
    """The map that adds so many rows and columns."""
    return np.array([[1.0, 0, rows], [0, 1, columns], [0, 0, 1]])


def looked_at(
    xp: Any,
    canvas: Canvas,
    seen: tuple[int, int],
    images: Array,
    places: Mapping[str, Array],
    resample: Resample | None = None,
) -> Array:
    """What the network gets of the images; compiled.

    Args:
        xp: the array namespace of `images`.
        canvas: what the images are painted on.
        seen: height and width of a view.
        images: shape (images, height, width, channels).
        places: as `Views.places` gives them.
        resample: `Model.resample`; by default array-API code.

    Returns:
        Shape (images · views, *seen, channels), the views of an image side by side.
    """
    if "map" in places:
        found = (resample or partial(affine_samples, xp))(images, places["map"], seen, canvas.middle)
    else:
        within = weighted_samples(xp, images - canvas.middle, places["index"], places["weight"], seen)
        found = within + canvas.middle
    if "noise" not in places:
        return found
    # The views of an image lie side by side, and every image has the same noise in them.
    noisy = xp.reshape(found, (images.shape[0], *places["noise"].shape)) + places["noise"]
    return xp.reshape(noisy, found.shape)
