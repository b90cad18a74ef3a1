"""One class rather than another."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, final

import array_api_compat.numpy as host
from numpy.typing import NDArray

from agnoscope.errors import TargetError
from agnoscope.model import Model
from agnoscope.patches import Array
from agnoscope.target import Bound, Formula, Target
from agnoscope.targets.classes import (
    FIRST,
    Asked,
    both_classes,
    class_indices,
    class_names,
    classes_of,
    first_answer,
    pick,
    renamed,
)

RIVAL: Final = "its rival"
"""What the other class is called until it is known."""


@final
@dataclass(frozen=True)
class Contrast(Target):
    """The score of one class less that of another: why this and not that (Prabhushankar et al., ICIP 2020).

    By default the network's first answer against its second, both on the clean image. Scores are those before the
    softmax, so that the difference is the logarithm of how many times likelier the one is than the other.

    Attributes:
        index: a class number, a label, or a tuple with one per image; by default the class that the network answers
            first, of those that are not `other`.
        other: likewise; by default the class that it answers first of those that are not `index`.
    """

    index: Asked = None
    other: Asked = None

    def bind(self, model: Model, count: int, size: tuple[int, int]) -> Bound:
        classes, _ = classes_of(model, size)
        index, other = (class_indices(model, asked, count, classes) for asked in (self.index, self.other))
        names = class_names(index, model.labels)
        if same := [name for name, i, j in zip(names, index, other, strict=True) if i == j >= 0]:
            raise TargetError(f"{same[0]} against itself says nothing: give another class as other.")
        rivals = (name.replace(FIRST, RIVAL) for name in class_names(other, model.labels))
        formula = Formula(_contrast, ("scores",), (), _contrast_freeze)
        described = tuple(f"{name} against {rival}" for name, rival in zip(names, rivals, strict=True))
        return Bound(formula, {"index": index, "other": other}, "score", described)


def _contrast(xp: Any, values: Mapping[str, Array], arrays: Mapping[str, Any]) -> Array:
    table = _table(xp, values["scores"])
    index, other = _settled(xp, table, arrays["index"], arrays["other"])
    return pick(xp, table, index) - pick(xp, table, other)


def _contrast_freeze(bound: Bound, scores: NDArray[Any], labels: tuple[str, ...] | None) -> Bound:
    index, other = _settled(host, _table(host, scores), bound.arrays["index"], bound.arrays["other"])
    names = renamed(renamed(bound.names, index, labels), other, labels, RIVAL)
    return replace(bound, arrays={"index": index, "other": other}, names=names)


def _table(xp: Any, scores: Array) -> Array:
    return both_classes(xp, xp.reshape(scores, (scores.shape[0], -1)))


def _settled(xp: Any, table: Array, index: Array, other: Array) -> tuple[Array, Array]:
    """Both classes of every image; each that the network chooses is the best besides the one that is known."""
    index = first_answer(xp, _without(xp, table, other), index)
    return index, first_answer(xp, _without(xp, table, index), other)


def _without(xp: Any, table: Array, index: Array) -> Array:
    """The table with a class of every image out of the question; `TOP` is none."""
    columns = xp.arange(table.shape[1], dtype=index.dtype)
    return xp.where(columns[None, :] == index[:, None], xp.full_like(table, -xp.inf), table)
