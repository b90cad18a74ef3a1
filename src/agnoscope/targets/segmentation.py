"""A class over a part of the picture, for networks that answer every pixel."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, final

import array_api_compat.numpy as host
import numpy as np
from numpy.typing import ArrayLike, NDArray

from agnoscope.errors import TargetError
from agnoscope.model import Model
from agnoscope.patches import Array
from agnoscope.target import Bound, Formula, Target
from agnoscope.targets.classes import (
    Asked,
    Space,
    both_classes,
    check_space,
    class_indices,
    class_names,
    first_answer,
    pick,
    probabilities,
    renamed,
)

OWN: Final = -1.0
"""Fills the mask that the network itself is to give; found inside the compiled program."""


@final
@dataclass(frozen=True, eq=False)
class Segment(Target):
    """The mean score of a class over a mask, for semantic segmentation (Vinogradova, Dibrov and Myers, AAAI 2020).

    The network's scores must be a map (height, width, classes). One unit per pixel tells a class and its
    complement, as in `ClassScore`.

    Attributes:
        index: a class number, a label, or a tuple with one per image; by default the class that the network gives
            most of the mask, or most of the pixels where there is no mask.
        mask: which pixels of the map of scores count, bool, or how much, as finite weights from 0; shape (height,
            width), or (images, height, width) with one per image. It must have the size of the map of scores. By
            default the pixels that the network itself gives to the class on the clean image: those where its score
            is the best, or above 0 where the classes are sigmoids.
        space: "score", before the softmax or sigmoid, or "probability", after it.
    """

    index: Asked = None
    mask: ArrayLike | None = field(default=None, repr=False)
    space: Space = "score"

    def bind(self, model: Model, count: int, size: tuple[int, int]) -> Bound:
        check_space(self.space)
        outline = model.outline(size)
        if len(outline.scores) != 3:
            raise TargetError(
                f"The network gives scores of shape {outline.scores} for an image, not a map (height, width, classes) "
                "of them. Use ag.ClassScore where there is one score per class."
            )
        height, width, units = outline.scores
        index = class_indices(model, self.index, count, max(units, 2))
        arrays = {"index": index, "mask": _weights(self.mask, count, (height, width)).astype(model.dtype)}
        place = "where the network sees it" if self.mask is None else "over the mask"
        names = tuple(f"{name} {place}" for name in class_names(index, model.labels))
        sigmoid = outline.head == "sigmoid" or units == 1
        formula = Formula(_segment_score, ("scores",), (self.space, sigmoid), _segment_freeze)
        return Bound(formula, arrays, self.space, names)


def _weights(mask: ArrayLike | None, count: int, size: tuple[int, int]) -> NDArray[Any]:
    """The mask of every image, shape (images, height, width); `OWN` where the network is to give it."""
    if mask is None:
        return np.full((count, *size), OWN)
    try:
        weights = np.asarray(mask)
    except ValueError as error:
        raise TargetError(f"The masks do not make one array: {error}.") from error
    if weights.shape not in (size, (count, *size)):
        raise TargetError(
            f"The mask has the shape {weights.shape}; the network's map of scores is {size} (height, width). Resize "
            f"the mask to {size}, or to {(count, *size)} with one for each image."
        )
    if weights.dtype.kind not in "buif" or not np.isfinite(weights).all() or (weights < 0).any():
        raise TargetError("The mask must hold True and False, or finite weights that are not below 0.")
    weights = np.broadcast_to(weights, (count, *size))
    if not weights.any(axis=(1, 2)).all():
        raise TargetError("The mask is empty: it has no pixel over which the score could be averaged.")
    return weights


def _segment_score(xp: Any, values: Mapping[str, Array], arrays: Mapping[str, Any], space: str, sigmoid: bool) -> Array:
    table = both_classes(xp, values["scores"])
    index, mask = _settled(xp, table, arrays["index"], arrays["mask"], sigmoid)
    scores = pick(xp, probabilities(xp, table, sigmoid) if space == "probability" else table, index)
    total = xp.sum(mask, axis=(1, 2))
    total = xp.where(total > 0, total, xp.ones_like(total))  # a class that is nowhere; refused when it is frozen
    return xp.sum(mask * scores, axis=(1, 2)) / total


def _segment_freeze(
    bound: Bound, scores: NDArray[Any], labels: tuple[str, ...] | None, _space: str, sigmoid: bool
) -> Bound:
    index, mask = _settled(host, both_classes(host, scores), bound.arrays["index"], bound.arrays["mask"], sigmoid)
    if unseen := sorted(set(class_names(index[~mask.any(axis=(1, 2))], labels))):
        raise TargetError(f"The network gives no pixel to {', '.join(unseen)}: give a mask, or another class.")
    return replace(bound, arrays={"index": index, "mask": mask}, names=renamed(bound.names, index, labels))


def _settled(xp: Any, table: Array, index: Array, mask: Array, sigmoid: bool) -> tuple[Array, Array]:
    """Class and mask of every image, with what the network chooses in the place of `TOP` and `OWN`."""
    columns = xp.arange(table.shape[-1], dtype=index.dtype)
    best = xp.astype(xp.argmax(table, axis=-1), index.dtype)
    seen = xp.astype(table > 0 if sigmoid else best[..., None] == columns, mask.dtype)  # (images, h, w, classes)
    pixels = xp.where(mask < 0, xp.ones_like(mask), mask)
    index = first_answer(xp, xp.sum(seen * pixels[..., None], axis=(1, 2)), index)
    return index, xp.where(mask < 0, pick(xp, seen, index), mask)
