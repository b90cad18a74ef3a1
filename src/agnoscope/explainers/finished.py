"""Finished: an explanation put through the last steps of somebody else's recipe.

agnoscope's explainers give signed values that are never normalised. Other libraries cut, normalise and resize on the
way; to get their numbers, the same steps are named here, to be given in their order:

    "absolute", "relu"                                      each value's size; what is positive of it
    "channel-max", "channel-mean"                           one map for each image
    "min-max", "min-max 1e-7"                               from 0 to 1, the number being added to the range
    "share of the maximum"                                  divided by the largest value; zeros where it is not above 0
    "resize"                                                to the size of the image, by agnoscope's own rule
    "resize corners", "resize mirrored", "resize nearest"   by the rules of `agnoscope.resizing`
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any, Final, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.arrays import resize_matrix
from agnoscope.errors import OptionError, nearest
from agnoscope.explainers.base import Attribution, Explainer, Progress, Wrapper
from agnoscope.model import Model
from agnoscope.resizing import RULES
from agnoscope.target import Bound, ClassScore, Target

Step: TypeAlias = Callable[[NDArray[Any], tuple[int, int]], NDArray[Any]]
"""From values, the images as leading axis, and the size of the image to values."""


@final
@dataclass(frozen=True)
class Finished(Wrapper):
    """An explainer whose values go through further steps, for the numbers of another library.

    The result's reduction, layer, seed, extras and notes are those of the wrapped explainer.

    Attributes:
        explainer: what explains, or its name.
        steps: names of steps, see `agnoscope.explainers.finished`, in their order.
        probability: whether the probability of a class is explained instead of its score before the softmax. A target
            that is no `ClassScore` is explained as it is.
        name: under which results and messages mention it; a preset has its own.

    Raises:
        OptionError: there is no such step; or, when called, the values have no channels, or no height and width,
            where a step needs them.
    """

    explainer: Explainer
    steps: tuple[str, ...] = ()
    probability: bool = False
    name: str = "finished"  # type: ignore[misc]

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "steps", (self.steps,) if isinstance(self.steps, str) else tuple(self.steps))
        for step in self.steps:
            if step not in STEPS:
                raise OptionError(f"There is no step {step!r}. Near it: {nearest(step, STEPS)}.")

    def asked(self, target: Target) -> Target:
        target = super().asked(target)
        return replace(target, space="probability") if self.probability and isinstance(target, ClassScore) else target

    def attribute(
        self, model: Model, images: NDArray[Any], target: Bound, batch_size: int, progress: Progress
    ) -> Attribution:
        found = self.explainer.attribute(model, images, target, batch_size, progress)
        values = found.values
        for step in self.steps:
            _check(step, values)
            values = STEPS[step](values, (images.shape[1], images.shape[2]))
        return replace(found, values=values)


def _check(step: str, values: NDArray[Any]) -> None:
    axes, what = (4, "channels") if step.startswith("channel") else (3, "height and width")
    if step.startswith(("channel", "resize")) and values.ndim < axes:
        raise OptionError(
            f"The step {step!r} needs values with {what}; here an image has values of shape {values.shape[1:]}. "
            "Leave it out, or explain another layer or the image itself."
        )


def _scaled(guard: float, values: NDArray[Any], _: tuple[int, int]) -> NDArray[Any]:
    low, high = _extremes(values)
    span = high - low + guard
    return (values - low) / np.where(span == 0, 1, span)  # NaN stays


def _share(values: NDArray[Any], _: tuple[int, int]) -> NDArray[Any]:
    high = _extremes(values)[1]
    return np.where(high <= 0, 0, values / np.where(high <= 0, 1, high))  # NaN stays


def _extremes(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    axes = tuple(range(1, values.ndim))
    return values.min(axis=axes, keepdims=True), values.max(axis=axes, keepdims=True)


def _resized(matrix: Callable[[int, int], NDArray[Any]], values: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    down, across = (matrix(before, after) for before, after in zip(values.shape[1:3], size, strict=True))
    return np.einsum("yh,nhw...,xw->nyx...", down, values, across, optimize=True)


STEPS: Final[Mapping[str, Step]] = MappingProxyType(
    {
        "absolute": lambda values, _: np.abs(values),
        "relu": lambda values, _: np.maximum(values, 0),
        "channel-max": lambda values, _: values.max(axis=-1),
        "channel-mean": lambda values, _: values.mean(axis=-1),
        "min-max": partial(_scaled, 0.0),
        "min-max 1e-7": partial(_scaled, 1e-7),
        "share of the maximum": _share,
        "resize": partial(_resized, resize_matrix),
        **{f"resize {rule}": partial(_resized, matrix) for rule, matrix in RULES.items()},
    }
)
"""Name to step."""
