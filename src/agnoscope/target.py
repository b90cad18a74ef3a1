"""Targets: one word for what is asked of a network.

A target turns a run into one score per image. Bound to a network it splits into a `Formula`, hashable, which
is what gets compiled, and arrays with the images as leading axis, so that another class never recompiles.
Targets add and scale: `0.2 * Channel("mixed4a", 20) + ClassScore(3)`.

Here stand the contract, classes, functions and sums; `agnoscope.targets` has the others.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import array_api_compat.numpy as host
import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import TargetError
from agnoscope.model import RESERVED, Model
from agnoscope.patches import Array
from agnoscope.targets.classes import (
    Asked,
    Space,
    both_classes,
    check_space,
    class_indices,
    class_names,
    classes_of,
    first_answer,
    pick,
    probabilities,
    renamed,
)
from agnoscope.trees import joined, mapped


@dataclass(frozen=True)
class Formula:
    """The part of a target that is compiled.

    Attributes:
        function: `function(xp, values, arrays, *static) -> scores`, module-level.
        needs: names that it reads of the run.
        static: hashable constants.
        freeze: `freeze(bound, scores, labels, *static) -> bound`, module-level, on the host: settles what the network
            chooses by itself, see `Bound.freeze`; None where it chooses nothing.
    """

    function: Callable[..., Array]
    needs: tuple[str, ...]
    static: tuple[Hashable, ...] = ()
    freeze: Callable[..., "Bound"] | None = None

    def __call__(self, xp: Any, values: Mapping[str, Array], arrays: Mapping[str, Any]) -> Array:
        return self.function(xp, values, arrays, *self.static)


@dataclass(frozen=True)
class Bound:
    """A target bound to a network and to a number of images.

    Attributes:
        formula: what is compiled.
        arrays: index, weight and other arrays, the images as leading axis; nested dictionaries for sums.
        space: what the numbers are: "score", "probability", "activation", "similarity", "output" or "mixed".
        names: one description per image.
        terms: what a sum adds up.
    """

    formula: Formula
    arrays: Mapping[str, Any]
    space: str
    names: tuple[str, ...]
    terms: tuple["Bound", ...] = ()

    @property
    def needs(self) -> tuple[str, ...]:
        """Names that the target reads of the run."""
        return self.formula.needs

    def __call__(self, xp: Any, values: Mapping[str, Array]) -> Array:
        return self.formula(xp, values, self.arrays)

    def take(self, rows: NDArray[np.intp]) -> "Bound":
        """The same question for some of the images, by their numbers."""
        if self.terms:
            return _summed(tuple(term.take(rows) for term in self.terms), self.arrays["weights"][rows])
        return replace(self, arrays=mapped(self.arrays, lambda a: a[rows]), names=tuple(self.names[i] for i in rows))

    def freeze(self, scores: NDArray[Any] | None, labels: tuple[str, ...] | None) -> "Bound":
        """Settle what the network chooses by itself, such as "top-1", once its clean run is known.

        Methods of several passes ask the frozen question, so that a hidden part does not change what is asked.

        Args:
            scores: the clean run's scores before the softmax, (images, ...); None changes nothing.
            labels: names of the classes.

        Raises:
            TargetError: what the network chose cannot be asked for, such as the pixels of a class that it sees nowhere.
        """
        if scores is None:
            return self
        if self.terms:
            return _summed(tuple(term.freeze(scores, labels) for term in self.terms), self.arrays["weights"])
        freeze, static = self.formula.freeze, self.formula.static
        return self if freeze is None else freeze(self, scores, labels, *static)


class Target(ABC):
    """What is asked: one score per image. Final classes below; `as_target` makes one of an int or a string."""

    @abstractmethod
    def bind(self, model: Model, count: int, size: tuple[int, int]) -> Bound:
        """Check the question against the network and split it into formula and arrays.

        Args:
            model: the network.
            count: how many images.
            size: their height and width.

        Raises:
            TargetError: the network has no such class, label, neuron or channel.
            LayerError: it has no such layer.
        """

    def terms(self) -> tuple[tuple["Target", float], ...]:
        """What this target adds up, each with its weight."""
        return ((self, 1.0),)

    def __add__(self, other: "Target") -> "Target":
        if not isinstance(other, Target):
            return NotImplemented
        return Sum((*self.terms(), *other.terms()))

    def __radd__(self, other: int) -> "Target":
        """So that `sum` adds targets up; it starts from 0."""
        return self if other == 0 else NotImplemented

    def __sub__(self, other: "Target") -> "Target":
        return self + -1 * other

    def __mul__(self, factor: float) -> "Target":
        return Sum(tuple((term, weight * factor) for term, weight in self.terms()))

    __rmul__ = __mul__

    def __neg__(self) -> "Target":
        return -1 * self


@final
@dataclass(frozen=True)
class ClassScore(Target):
    """A class, by default the one that the network answers first.

    A network with one sigmoid unit has two classes: the score of class 1 is z, that of class 0, its complement,
    is -z; the default follows the prediction.

    Attributes:
        index: a class number, a label, None or "top-1" for the first answer, or a tuple with one per image.
        space: "score", before the softmax or sigmoid, or "probability", after it.
    """

    index: Asked = None
    space: Space = "score"

    def bind(self, model: Model, count: int, size: tuple[int, int]) -> Bound:
        check_space(self.space)
        classes, sigmoid = classes_of(model, size)
        index = class_indices(model, self.index, count, classes)
        formula = Formula(_class_score, ("scores",), (self.space, sigmoid), _class_freeze)
        return Bound(formula, {"index": index}, self.space, class_names(index, model.labels))


@final
@dataclass(frozen=True)
class Score(Target):
    """Any function of the run.

    Attributes:
        function: takes a mapping from name to value, in the network's framework, and returns one number per
            image, shape (images,). Pass the same function again rather than a new lambda: it compiles once.
        needs: names that it reads: layers, "scores" or "output".
    """

    function: Callable[[Mapping[str, Array]], Array]
    needs: tuple[str, ...] = ("scores",)

    def bind(self, model: Model, count: int, size: tuple[int, int]) -> Bound:
        if not self.needs or isinstance(self.needs, str):
            raise TargetError(f"needs={self.needs!r} must be a tuple of what the function reads, such as ('scores',).")
        names = {need: need if need in RESERVED else model.layer(need, size).name for need in self.needs}
        name = getattr(self.function, "__name__", "function")
        formula = Formula(_function_score, tuple(names.values()), (self.function, tuple(names.items())))
        return Bound(formula, {}, "activation", (name,) * count)


@final
@dataclass(frozen=True)
class Sum(Target):
    """A weighted sum of targets; written `2 * a + b`.

    Attributes:
        weighted: targets, each with its weight.
    """

    weighted: tuple[tuple[Target, float], ...]

    def terms(self) -> tuple[tuple[Target, float], ...]:
        return self.weighted

    def bind(self, model: Model, count: int, size: tuple[int, int]) -> Bound:
        bound = tuple(term.bind(model, count, size) for term, _ in self.weighted)
        weights = np.asarray([weight for _, weight in self.weighted], dtype=model.dtype)
        return _summed(bound, np.tile(weights, (count, 1)))


def as_target(asked: Any) -> Target:
    """A target from what a user writes.

    Args:
        asked: a `Target`; None or "top-1"; a class number or label, or a sequence of these, one per image;
            or a function of the run.

    Raises:
        TargetError: it is none of these.
    """
    if isinstance(asked, np.generic | np.ndarray):
        asked = asked.tolist()
    if isinstance(asked, Target):
        return asked
    if asked is None or isinstance(asked, str | int):
        return ClassScore(asked)
    if callable(asked):
        return Score(asked)
    if isinstance(asked, Sequence):
        items = tuple(int(i) if isinstance(i, np.integer) else i for i in asked)
        if all(i is None or isinstance(i, str | int) for i in items):
            return ClassScore(items)
    raise TargetError(
        f"A {type(asked).__name__} is no target: give a class number, a label, a list of these (one per image), "
        "a Target such as ag.Neuron(layer, channel), or a function of the run."
    )


def side_by_side(targets: Sequence[Target], model: Model, size: tuple[int, int]) -> Bound:
    """One target for each image, as one question.

    Args:
        targets: one for each image.
        model: the network.
        size: height and width of the images.

    Raises:
        TargetError: the network has no such class, label, neuron or channel.
        LayerError: it has no such layer.
    """
    alone = [target.bind(model, 1, size) for target in targets]
    if len({bound.formula for bound in alone}) == 1:
        return _beside(alone)
    # Of different kinds: a sum in which every image has a share in its own only.
    count = len(targets)
    return _summed(tuple(target.bind(model, count, size) for target in targets), np.eye(count, dtype=model.dtype))


def _beside(bounds: Sequence[Bound]) -> Bound:
    """Questions of one formula, each about its own images."""
    first = bounds[0]
    if first.terms:
        terms = tuple(_beside(each) for each in zip(*(bound.terms for bound in bounds), strict=True))
        return _summed(terms, np.concatenate([bound.arrays["weights"] for bound in bounds]))
    arrays = joined(lambda *each: np.concatenate(each), *(bound.arrays for bound in bounds))
    return replace(first, arrays=arrays, names=tuple(name for bound in bounds for name in bound.names))


def _class_score(xp: Any, values: Mapping[str, Array], arrays: Mapping[str, Any], space: str, sigmoid: bool) -> Array:
    table = _class_table(xp, values["scores"])
    index = first_answer(xp, table, arrays["index"])
    return pick(xp, probabilities(xp, table, sigmoid) if space == "probability" else table, index)


def _class_freeze(bound: Bound, scores: NDArray[Any], labels: tuple[str, ...] | None, *_: Any) -> Bound:
    index = first_answer(host, _class_table(host, scores), bound.arrays["index"])
    return replace(bound, arrays={"index": index}, names=renamed(bound.names, index, labels))


def _class_table(xp: Any, scores: Array) -> Array:
    return both_classes(xp, xp.reshape(scores, (scores.shape[0], -1)))


def _function_score(
    _xp: Any, values: Mapping[str, Array], _arrays: Mapping[str, Any], function: Callable[..., Array], names: Any
) -> Array:
    some = next(iter(values.values()))
    run = {asked: values[name] for asked, name in names}
    try:
        scores = function(run)
    except KeyError as error:
        if error.args[:1] and error.args[0] in run:
            raise  # the function's own
        raise TargetError(
            f"The target function reads {error}, and the run holds {', '.join(run)}: name what it needs, "
            f"ag.Score(function, needs=({error},))."
        ) from error
    if tuple(getattr(scores, "shape", ())) != (some.shape[0],):
        raise TargetError(
            f"The target function returned {getattr(scores, 'shape', type(scores).__name__)}; it must return one "
            f"number per image, shape ({some.shape[0]},)."
        )
    return scores


def _summed(terms: tuple[Bound, ...], weights: NDArray[Any]) -> Bound:
    """The bound sum of bound terms; `weights` has the shape (images, terms)."""
    needs = tuple(dict.fromkeys(need for term in terms for need in term.needs))
    arrays = {**{str(i): term.arrays for i, term in enumerate(terms)}, "weights": weights}
    names = tuple(
        " + ".join(f"{w:g} × {n}" if w != 1 else n for w, n in zip(row, own, strict=True) if w)
        for row, own in zip(weights, zip(*(term.names for term in terms), strict=True), strict=True)
    )
    spaces = {term.space for term in terms}
    formula = Formula(_sum_score, needs, tuple(term.formula for term in terms))
    return Bound(formula, arrays, spaces.pop() if len(spaces) == 1 else "mixed", names, terms)


def _sum_score(xp: Any, values: Mapping[str, Array], arrays: Mapping[str, Any], *formulas: Formula) -> Array:
    weights = arrays["weights"]
    terms = [weights[:, i] * formula(xp, values, arrays[str(i)]) for i, formula in enumerate(formulas)]
    return sum(terms[1:], start=terms[0])
