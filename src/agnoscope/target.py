"""Targets: one word for what is asked of a network.

A target turns a run into one score per image. Bound to a network it splits into a `Formula`, hashable, which
is what gets compiled, and arrays with the images as leading axis, so that another class never recompiles.
Targets add and scale: `0.2 * Channel("mixed4a", 20) + ClassScore(3)`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.answers import class_name
from agnoscope.errors import TargetError, nearest
from agnoscope.model import RESERVED, Array, Model
from agnoscope.trees import mapped

Space: TypeAlias = Literal["score", "probability"]
TOP = -1
"""Stands for the network's first answer; found inside the compiled program."""
FIRST = "top-1"
"""What it is called until it is known."""


@dataclass(frozen=True)
class Formula:
    """The part of a target that is compiled.

    Attributes:
        function: `function(xp, values, arrays, *static) -> scores`, module-level.
        needs: names that it reads of the run.
        static: hashable constants.
    """

    function: Callable[..., Array]
    needs: tuple[str, ...]
    static: tuple[Hashable, ...] = ()

    def __call__(self, xp: Any, values: Mapping[str, Array], arrays: Mapping[str, Any]) -> Array:
        return self.function(xp, values, arrays, *self.static)


@dataclass(frozen=True)
class Bound:
    """A target bound to a network and to a number of images.

    Attributes:
        formula: what is compiled.
        arrays: index and weight arrays, the images as leading axis; nested dictionaries for sums.
        space: "score", "probability" or "activation": what the numbers are.
        names: one description per image.
    """

    formula: Formula
    arrays: Mapping[str, Any]
    space: str
    names: tuple[str, ...]

    @property
    def needs(self) -> tuple[str, ...]:
        """Names that the target reads of the run."""
        return self.formula.needs

    def __call__(self, xp: Any, values: Mapping[str, Array]) -> Array:
        return self.formula(xp, values, self.arrays)

    def take(self, rows: NDArray[np.intp]) -> "Bound":
        """The same question for some of the images, by their numbers."""
        return replace(self, arrays=mapped(self.arrays, lambda a: a[rows]), names=tuple(self.names[i] for i in rows))

    def freeze(self, scores: NDArray[Any] | None, labels: tuple[str, ...] | None) -> "Bound":
        """Put the network's first answer in the place of "top-1", once it is known.

        Args:
            scores: the clean run's scores before the softmax, (images, classes); None changes nothing.
            labels: names of the classes.
        """
        if scores is None:
            return self
        flat = scores.reshape(len(self.names), -1)
        best = np.argmax(flat, axis=1) if flat.shape[1] > 1 else (flat[:, 0] > 0)
        names = tuple(n.replace(FIRST, class_name(int(c), labels)) for n, c in zip(self.names, best, strict=True))
        return replace(self, arrays=_frozen(self.arrays, best), names=names)


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
        return Sum((*self.terms(), *other.terms()))

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

    index: int | str | tuple[int | str | None, ...] | None = None
    space: Space = "score"

    def bind(self, model: Model, count: int, size: tuple[int, int]) -> Bound:
        if self.space not in ("score", "probability"):
            raise TargetError(f"space={self.space!r} is unknown: use 'score' or 'probability'.")
        outline = model.outline(size)
        asked = self.index if isinstance(self.index, tuple) else (self.index,) * count
        if len(asked) != count:
            raise TargetError(f"{len(asked)} targets were given for {count} images: give one for each, or one for all.")
        if len(outline.scores) > 1:
            raise TargetError(
                f"The network gives scores of shape {outline.scores} for an image, not one per class. "
                "Use a function of the run as target, for example lambda run: run['scores'][:, 0, 0, 3]."
            )
        units = outline.scores[0] if outline.scores else 1
        classes = max(units, 2)  # one unit tells a class and its complement
        if model.labels is not None and len(model.labels) != classes:
            raise TargetError(
                f"There are {len(model.labels)} labels and {classes} classes: give wrap(..., labels=...) one for each."
            )
        index = np.array([_class_index(one, classes, model.labels) for one in asked], dtype=np.int32)
        names = tuple(FIRST if i == TOP else class_name(int(i), model.labels) for i in index)
        sigmoid = outline.head == "sigmoid" or units == 1
        formula = Formula(_class_score, ("scores",), (self.space, sigmoid))
        return Bound(formula, {"index": index}, self.space, names)


@final
@dataclass(frozen=True)
class Neuron(Target):
    """One unit of a layer.

    Attributes:
        layer: the layer's name.
        channel: which channel, from 0.
        position: (row, column) of a map; by default its centre. Ignored in a layer without spatial axes.
    """

    layer: str
    channel: int
    position: tuple[int, int] | None = None

    def bind(self, model: Model, count: int, size: tuple[int, int]) -> Bound:
        layer = model.layer(self.layer, size)
        axes = layer.shape[:-1]
        position = self.position or tuple(length // 2 for length in axes)
        if axes and (len(position) != len(axes) or any(not 0 <= p < n for p, n in zip(position, axes, strict=True))):
            raise TargetError(f"The map of layer {layer.name!r} has positions up to {axes}; {position} is not in it.")
        where = "" if not axes else f" at {tuple(position)}"
        # A flat position serves maps and token lists alike.
        flat = int(np.ravel_multi_index(position, axes)) if axes else 0
        return _unit(layer, self.channel, count, flat, f"{layer.name}[{self.channel}]{where}")


@final
@dataclass(frozen=True)
class Channel(Target):
    """The mean of a layer's channel over its map.

    Attributes:
        layer: the layer's name.
        channel: which channel, from 0.
    """

    layer: str
    channel: int

    def bind(self, model: Model, count: int, size: tuple[int, int]) -> Bound:
        layer = model.layer(self.layer, size)
        return _unit(layer, self.channel, count, None, f"mean of {layer.name}[{self.channel}]")


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
        bound = [term.bind(model, count, size) for term, _ in self.weighted]
        weights = [weight for _, weight in self.weighted]
        needs = tuple(dict.fromkeys(need for term in bound for need in term.needs))
        arrays: dict[str, Any] = {str(i): dict(term.arrays) for i, term in enumerate(bound)}
        arrays["weights"] = np.tile(np.asarray(weights, dtype=model.dtype), (count, 1))
        rows = zip(*(term.names for term in bound), strict=True)
        names = tuple(
            " + ".join(f"{w:g} × {n}" if w != 1 else n for w, n in zip(weights, row, strict=True)) for row in rows
        )
        spaces = {term.space for term in bound}
        formula = Formula(_sum_score, needs, tuple(term.formula for term in bound))
        return Bound(formula, arrays, spaces.pop() if len(spaces) == 1 else "mixed", names)


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


def _class_index(asked: int | str | None, classes: int, labels: Sequence[str] | None) -> int:
    if asked is None or asked == FIRST:
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
    index = int(asked)
    if not 0 <= index < classes:
        raise TargetError(f"Class {index} was asked for; the network has {classes} classes, 0 to {classes - 1}.")
    return index


def _synonyms(label: str) -> list[str]:
    """ImageNet's labels list several names with commas between them; each will do."""
    return [label, *(part.strip() for part in label.split(","))]


def _unit(layer: Any, channel: int, count: int, position: int | None, name: str) -> Bound:
    channels = layer.shape[-1] if layer.shape else 0
    if not 0 <= channel < channels:
        raise TargetError(f"Channel {channel} of layer {layer.name!r} was asked for; it has {channels}, from 0.")
    arrays = {"channel": np.full(count, channel, dtype=np.int32)}
    if position is not None:
        arrays["position"] = np.full(count, position, dtype=np.int32)
    return Bound(Formula(_unit_score, (layer.name,), (layer.name,)), arrays, "activation", (name,) * count)


def _frozen(arrays: Mapping[str, Any], best: NDArray[Any]) -> dict[str, Any]:
    """Index arrays, at any depth of a sum, with the first answers in place of `TOP`."""
    if "index" in arrays:
        return {"index": np.where(arrays["index"] == TOP, best, arrays["index"]).astype(np.int32)}
    return {k: _frozen(v, best) if isinstance(v, Mapping) else v for k, v in arrays.items()}


def _pick(xp: Any, table: Array, index: Array) -> Array:
    """`table[i, index[i]]`, in operations that every namespace differentiates alike."""
    columns = xp.arange(table.shape[1], dtype=index.dtype)
    return xp.sum(xp.where(columns[None, :] == index[:, None], table, xp.zeros_like(table)), axis=1)


def _class_score(xp: Any, values: Mapping[str, Array], arrays: Mapping[str, Any], space: str, sigmoid: bool) -> Array:
    scores, index = values["scores"], arrays["index"]
    scores = xp.reshape(scores, (scores.shape[0], -1))
    if scores.shape[1] == 1:
        z = scores[:, 0]
        positive = xp.where(index == TOP, z > 0, index == 1)
        z = xp.where(positive, z, -z)
        return _sigmoid(xp, z) if space == "probability" else z
    index = xp.where(index == TOP, xp.astype(xp.argmax(scores, axis=1), index.dtype), index)
    if space == "probability":
        scores = _sigmoid(xp, scores) if sigmoid else softmax(xp, scores)
    return _pick(xp, scores, index)


def _sigmoid(xp: Any, z: Array) -> Array:
    return (xp.tanh(z / 2) + 1) / 2  # exp would overflow in its gradient


def softmax(xp: Any, scores: Array) -> Array:
    """Probabilities over the last axis."""
    powers = xp.exp(scores - xp.max(scores, axis=-1, keepdims=True))
    return powers / xp.sum(powers, axis=-1, keepdims=True)


def _unit_score(xp: Any, values: Mapping[str, Array], arrays: Mapping[str, Any], name: str) -> Array:
    activation = values[name]
    flat = xp.reshape(activation, (activation.shape[0], -1, activation.shape[-1]))
    columns = xp.arange(flat.shape[2], dtype=arrays["channel"].dtype)
    mine = columns[None, None, :] == arrays["channel"][:, None, None]
    channel = xp.sum(xp.where(mine, flat, xp.zeros_like(flat)), axis=2)
    return _pick(xp, channel, arrays["position"]) if "position" in arrays else xp.mean(channel, axis=1)


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


def _sum_score(xp: Any, values: Mapping[str, Array], arrays: Mapping[str, Any], *formulas: Formula) -> Array:
    weights = arrays["weights"]
    terms = [weights[:, i] * formula(xp, values, arrays[str(i)]) for i, formula in enumerate(formulas)]
    return sum(terms[1:], start=terms[0])
