"""Finished: an explanation put through the last steps of somebody else's recipe.

agnoscope's explainers give signed values that are never normalised. Other libraries cut, normalise and resize on the
way; to get their numbers, the same steps are named here, in their order.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType
from typing import Any, Final, Self, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.arrays import resize_matrix
from agnoscope.errors import OptionError, nearest
from agnoscope.explainers.base import Attribution, Explainer, Progress, as_explainer
from agnoscope.explanation import Reduction
from agnoscope.model import Model
from agnoscope.target import Bound, ClassScore, Target

Step: TypeAlias = Callable[[NDArray[Any], tuple[int, int]], NDArray[Any]]
"""From values, the images as leading axis, and the size of the image to values."""


def _normalised(guard: float) -> Step:
    """From 0 to 1, the guard added to the range."""

    def step(values: NDArray[Any], _: tuple[int, int]) -> NDArray[Any]:
        axes = tuple(range(1, values.ndim))
        low, high = values.min(axis=axes, keepdims=True), values.max(axis=axes, keepdims=True)
        span = high - low + guard
        return np.divide(values - low, span, out=np.zeros_like(values), where=span > 0)

    return step


def _share(values: NDArray[Any], _: tuple[int, int]) -> NDArray[Any]:
    high = values.max(axis=tuple(range(1, values.ndim)), keepdims=True)
    return np.divide(values, high, out=np.zeros_like(values), where=high > 0)


def _resized(matrix: Callable[[int, int], NDArray[Any]]) -> Step:
    def step(values: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
        rows, columns = (matrix(a, b) for a, b in zip(values.shape[1:3], size, strict=True))
        return np.einsum("yh,nh...->ny...", rows, np.einsum("xw,nhw...->nhx...", columns, values))

    return step


@cache
def _nearest_matrix(length: int, wanted: int) -> NDArray[np.float64]:
    return np.eye(length)[np.arange(wanted) * length // wanted]


@cache
def _corner_matrix(length: int, wanted: int) -> NDArray[np.float64]:
    """Linear, the corners' centres on one another, as `scipy.ndimage.zoom` does it."""
    places = np.arange(wanted) * (length - 1) / max(wanted - 1, 1)
    return np.clip(1 - np.abs(places[:, None] - np.arange(length)), 0, None)


STEPS: Final[Mapping[str, Step]] = MappingProxyType(
    {
        "absolute": lambda values, _: np.abs(values),
        "relu": lambda values, _: np.maximum(values, 0),
        "channel-max": lambda values, _: values.max(axis=-1),
        "channel-mean": lambda values, _: values.mean(axis=-1),
        "channel-sum": lambda values, _: values.sum(axis=-1),
        "min-max": _normalised(0.0),
        "min-max 1e-7": _normalised(1e-7),
        "share of the maximum": _share,
        "resize": _resized(resize_matrix),
        "resize nearest": _resized(_nearest_matrix),
        "resize by corners": _resized(_corner_matrix),
    }
)
"""Name to step."""


@final
@dataclass(frozen=True)
class Finished(Explainer):
    """An explainer whose values go through further steps, for the numbers of another library.

    Attributes:
        explainer: what explains, or its name.
        steps: names out of `STEPS`: "absolute", "relu", "channel-max", "min-max", "resize" and others, in their order.
        probability: whether the probability of the class is explained instead of its score before the softmax.
    """

    name = "finished"

    explainer: Explainer
    steps: tuple[str, ...] = ()
    probability: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "explainer", as_explainer(self.explainer))
        for step in self.steps:
            if step not in STEPS:
                raise OptionError(f"There is no step {step!r}. Near it: {nearest(step, STEPS)}.")

    @property
    def needs(self) -> frozenset[str]:
        return self.explainer.needs

    @property
    def reduction(self) -> Reduction:
        return self.explainer.reduction

    @property
    def layer(self) -> str | None:
        """The wrapped explainer's."""
        return getattr(self.explainer, "layer", None)

    @property
    def seed(self) -> int | None:
        """The wrapped explainer's."""
        return getattr(self.explainer, "seed", None)

    def settle(self, model: Model, size: tuple[int, int]) -> Self:
        return replace(self, explainer=self.explainer.settle(model, size))

    def asked(self, target: Target) -> Target:
        return replace(target, space="probability") if self.probability and isinstance(target, ClassScore) else target

    def doubts(self, model: Model, size: tuple[int, int]) -> tuple[str, ...]:
        return self.explainer.doubts(model, size)

    def attribute(
        self, model: Model, images: NDArray[Any], target: Bound, batch_size: int, progress: Progress
    ) -> Attribution:
        found = self.explainer.attribute(model, images, target, batch_size, progress)
        values = found.values
        for step in self.steps:
            values = STEPS[step](values, (images.shape[1], images.shape[2]))
        return replace(found, values=values)
