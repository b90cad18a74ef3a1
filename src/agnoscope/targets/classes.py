"""Which class is meant: numbers and labels on the host, and the network's own choice inside the compiled program."""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from agnoscope.answers import class_name
from agnoscope.errors import TargetError, nearest
from agnoscope.model import Model
from agnoscope.patches import Array

Space: TypeAlias = Literal["score", "probability"]
Asked: TypeAlias = int | str | tuple[int | str | None, ...] | None
"""A class number, a label, None or "top-1" for the network's choice, or a tuple with one per image."""
TOP = -1
"""Stands for the network's first answer; found inside the compiled program."""
FIRST = "top-1"
"""What it is called until it is known."""


def classes_of(model: Model, size: tuple[int, int]) -> tuple[int, bool]:
    """How many classes the network tells apart at an image size, and whether they are sigmoids.

    Raises:
        TargetError: the network gives maps or candidates, not one score per class.
    """
    outline = model.outline(size)
    if len(outline.scores) > 1:
        raise TargetError(
            f"The network gives scores of shape {outline.scores} for an image, not one per class. Use ag.Segment for "
            "a map of classes, ag.Box for a detector, or a function of the run as target, for example "
            "lambda run: run['scores'][:, 0, 0, 3]."
        )
    units = outline.scores[0] if outline.scores else 1
    return max(units, 2), outline.head == "sigmoid" or units == 1  # one unit tells a class and its complement


def check_space(space: str) -> None:
    """Refuse a space that there is not.

    Raises:
        TargetError: it is neither "score" nor "probability".
    """
    if space not in get_args(Space):
        raise TargetError(f"space={space!r} is unknown: use 'score' or 'probability'.")


def class_indices(model: Model, asked: Asked, count: int, classes: int) -> NDArray[np.int32]:
    """The classes asked for, one per image; `TOP` where the network chooses.

    Args:
        model: the network, for its labels.
        asked: one for all images, or a tuple with one for each.
        count: how many images.
        classes: how many classes there are.

    Raises:
        TargetError: there is no such class, or as many as images or classes are wanted.
    """
    each = asked if isinstance(asked, tuple) else (asked,) * count
    if len(each) != count:
        raise TargetError(f"{len(each)} targets were given for {count} images: give one for each, or one for all.")
    if model.labels is not None and len(model.labels) != classes:
        raise TargetError(
            f"There are {len(model.labels)} labels and {classes} classes: give wrap(..., labels=...) one for each."
        )
    return np.array([_class_index(one, classes, model.labels) for one in each], dtype=np.int32)


def class_names(index: NDArray[np.int32], labels: tuple[str, ...] | None) -> tuple[str, ...]:
    """What classes are called, "top-1" where the network chooses."""
    return tuple(FIRST if i == TOP else class_name(int(i), labels) for i in index)


def renamed(
    names: tuple[str, ...], index: NDArray[np.int32], labels: tuple[str, ...] | None, mark: str = FIRST
) -> tuple[str, ...]:
    """Names with what the network chose in the place of "top-1", or of another mark; `TOP` leaves them as they are."""
    return tuple(
        name if i == TOP else name.replace(mark, class_name(int(i), labels), 1)
        for name, i in zip(names, index, strict=True)
    )


def both_classes(xp: Any, scores: Array) -> Array:
    """Scores with one class per column: a single unit tells class 1, and its negative the complement, class 0."""
    return scores if scores.shape[-1] > 1 else xp.concat([-scores, scores], axis=-1)


def first_answer(xp: Any, table: Array, index: Array) -> Array:
    """`index`, shape (images,), with the best column of `table`, shape (images, classes), in the place of `TOP`."""
    return xp.where(index == TOP, xp.astype(xp.argmax(table, axis=1), index.dtype), index)


def pick(xp: Any, table: Array, index: Array) -> Array:
    """`table[i, ..., index[i]]`, in operations that every namespace differentiates alike."""
    columns = xp.arange(table.shape[-1], dtype=index.dtype)
    mine = columns == xp.reshape(index, (-1,) + (1,) * (len(table.shape) - 1))
    return xp.sum(xp.where(mine, table, xp.zeros_like(table)), axis=-1)


def probabilities(xp: Any, scores: Array, sigmoid: bool) -> Array:
    """What the scores of the last axis stand for: each by itself (sigmoid), or together (softmax)."""
    if sigmoid:
        return (xp.tanh(scores / 2) + 1) / 2  # exp would overflow in its gradient
    powers = xp.exp(scores - xp.max(scores, axis=-1, keepdims=True))
    return powers / xp.sum(powers, axis=-1, keepdims=True)


def _class_index(asked: int | str | None, classes: int, labels: Sequence[str] | None) -> int:
    if asked is None or (isinstance(asked, str) and asked == FIRST):
        return TOP
    if isinstance(asked, str):
        name = asked.strip().lower()
        found = [i for i, label in enumerate(labels or ()) if name in _synonyms(label.lower())]
        if len(found) == 1:
            return found[0]
        if found:
            raise TargetError(f"The label {asked!r} names several classes: {found}. Give the number of one.")
        if not name.removeprefix("-").isdecimal():
            hint = (
                f"Near it: {nearest(asked, labels)}."
                if labels
                else "The network has no labels: give wrap(..., labels=...)."
            )
            raise TargetError(f"The network has no class labelled {asked!r}. {hint}")
    if not isinstance(asked, str | int | np.integer):
        raise TargetError(f"{asked!r} is no class: give a number, a label, or a tuple of these with one per image.")
    index = int(asked)
    if not 0 <= index < classes:
        raise TargetError(f"Class {index} was asked for; the network has {classes} classes, 0 to {classes - 1}.")
    return index


def _synonyms(label: str) -> list[str]:
    """ImageNet's labels list several names with commas between them; each will do."""
    return [label, *(part.strip() for part in label.split(","))]
