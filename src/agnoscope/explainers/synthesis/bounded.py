"""Gradient steps that stay near the image from which they began: projected gradient descent, on pictures of 8 bits."""

from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.optimisation.optimisers import Optimiser, Slope
from agnoscope.optimisation.parameterisations.base import Tree

Norm: TypeAlias = Literal["linf", "l2"]
LEVELS: Final = 255
"""The highest value of a pixel of 8 bits."""

HALVINGS: Final = 20
"""By so many the largest change that still lies within an L2 bound is found."""


@final
@dataclass(frozen=True)
class Bounded(Optimiser):
    """Steps of one length, each followed by the projection to where the change is allowed (Madry et al., ICLR 2018).

    The network only ever looks at pictures that 8 bits can hold, so that what it answers holds for the saved picture,
    too. Changes smaller than a level are remembered until they add up to one.

    Attributes:
        norm: "linf" moves every number equally far, by the sign of its gradient (Goodfellow et al., ICLR 2015); "l2"
            along the gradient.
        rate: length of a step in that norm, as a share of the span.
        bound: how long the whole change may be, in the same units; None sets no bound.
        bounds: lowest and highest value of a pixel.
        rounded: whether pictures are of 8 bits.
        falling: a first and a last step, from 0, between which steps are of another length: it falls evenly from twice
            the bound, which leads away from where small steps got stuck (Croce and Hein, ICML 2020), to nothing.
    """

    norm: Norm
    rate: float
    bound: float | None
    bounds: tuple[float, float]
    rounded: bool = True
    falling: tuple[int, int] | None = None

    def begin(self, parameters: Tree) -> Tree:
        levels = to_levels(parameters["pixels"], self.bounds)
        return {"origin": levels, "levels": levels, "steps": np.zeros(())}

    def step(
        self, parameters: Tree, loss: NDArray[Any], gradient: Tree, memory: Tree, slope: Slope
    ) -> tuple[Tree, Tree]:
        del loss, slope
        origin, downhill = memory["origin"], -gradient["pixels"].astype(np.float64)
        direction = np.sign(downhill) if self.norm == "linf" else downhill / _or_one(_length(downhill))
        length = self._length(int(memory["steps"])) * LEVELS
        moved = np.clip(memory["levels"] + length * direction, 0, LEVELS)
        levels = origin + self._projected(moved - origin)
        shown = origin + self._whole(levels - origin) if self.rounded else levels
        pixels = from_levels(shown, self.bounds).astype(parameters["pixels"].dtype)
        return {"pixels": pixels}, {"origin": origin, "levels": levels, "steps": memory["steps"] + 1}

    def _length(self, step: int) -> float:
        """Of this step, from 0, as a share of the span."""
        if self.falling is None or self.bound is None or step < self.falling[0]:
            return self.rate
        first, last = self.falling
        return 2 * self.bound * max(0, last - step) / (last - first)

    def _projected(self, change: NDArray[Any]) -> NDArray[Any]:
        """The nearest change within the bound, in levels."""
        if self.bound is None:
            return change
        longest = self.bound * LEVELS
        if self.norm == "linf":
            return np.clip(change, -longest, longest)
        return change * np.minimum(1, longest / _or_one(_length(change)))

    def _whole(self, change: NDArray[Any]) -> NDArray[Any]:
        """The change in whole levels, no longer than allowed."""
        if self.bound is None:
            return _nearest(change)
        longest = self.bound * LEVELS * (1 + 1e-9)
        if self.norm == "linf":
            return np.clip(_nearest(change), -np.floor(longest), np.floor(longest))
        found = _nearest(change)
        low, high = np.zeros((len(change), 1, 1, 1)), np.ones((len(change), 1, 1, 1))
        for _ in range(0 if (_length(found) <= longest).all() else HALVINGS):
            middle = (low + high) / 2
            fits = _length(_nearest(middle * change)) <= longest
            low, high = np.where(fits, middle, low), np.where(fits, high, middle)
        return np.where(_length(found) <= longest, found, _nearest(low * change))


def to_levels(images: NDArray[Any], bounds: tuple[float, float]) -> NDArray[np.float64]:
    """Pixels between 0 and 255; whole numbers where 8 bits hold them, but for the last digits of float32."""
    levels = (images.astype(np.float64) - bounds[0]) * (LEVELS / (bounds[1] - bounds[0]))
    return np.where(np.abs(levels - np.rint(levels)) < 1e-3, np.rint(levels), levels)


def from_levels(levels: NDArray[np.float64], bounds: tuple[float, float]) -> NDArray[np.float64]:
    """Pixels of levels, as `agnoscope.images` makes them of a photo."""
    return bounds[0] + levels / LEVELS * (bounds[1] - bounds[0])


def _nearest(change: NDArray[Any]) -> NDArray[Any]:
    """Whole levels; half of one already counts, so that the first step of half a level shows."""
    return np.copysign(np.floor(np.abs(change) + 0.5), change)


def _length(change: NDArray[Any]) -> NDArray[Any]:
    """Of each image's change, shape (images, 1, 1, 1)."""
    return np.sqrt(np.square(change).sum(axis=(1, 2, 3), keepdims=True))


def _or_one(length: NDArray[Any]) -> NDArray[Any]:
    return np.where(length > 0, length, 1)
