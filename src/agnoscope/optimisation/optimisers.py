"""How a gradient becomes a step; on the host, each image by itself."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, final, get_args

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import OptionError
from agnoscope.explainers.options import positive, whole
from agnoscope.optimisation.parameterisations.base import Tree
from agnoscope.trees import joined, leaves, mapped


@final
@dataclass(frozen=True, eq=False)
class Slope:
    """How the land lies elsewhere: called with other parameters, it looks at them under the views of this step.

    Attributes:
        look: the loss of each image, shape (images,), and its gradient, a tree like the parameters.
        kept: brings parameters back to where they are allowed, as happens to those after the step.
    """

    look: Callable[[Tree], tuple[NDArray[Any], Tree]]
    kept: Callable[[Tree], Tree]

    def __call__(self, parameters: Tree) -> tuple[NDArray[Any], Tree]:
        return self.look(parameters)


class Optimiser(ABC):
    """Makes steps downhill. Subclasses are final, frozen dataclasses; what they remember is a tree of arrays."""

    def begin(self, parameters: Tree) -> Tree:  # noqa: ARG002
        """What it remembers before the first step."""
        return {}

    @abstractmethod
    def step(
        self, parameters: Tree, loss: NDArray[Any], gradient: Tree, memory: Tree, slope: Slope
    ) -> tuple[Tree, Tree]:
        """The parameters after a step, and what to remember. Neither argument is changed.

        Args:
            parameters: arrays with the images as leading axis.
            loss: of each image, shape (images,).
            gradient: of the loss, a tree like the parameters.
            memory: what the step before returned.
            slope: to look at other parameters.
        """


Norm: TypeAlias = Literal["l1", "l2", "none"]


@final
@dataclass(frozen=True)
class Ascent(Optimiser):
    """Plain gradient steps, the gradient of each image divided by its size.

    Attributes:
        rate: length of a step.
        norm: the size that the gradient is divided by: its mean absolute value ("l1"), its root mean square ("l2"), or
            nothing at all ("none").
        momentum: how much of the step before goes on, from 0 to below 1.
        fall: over so many steps the rate falls evenly to zero; None keeps it.

    Raises:
        OptionError: an option is out of range.
    """

    rate: float = 0.01
    norm: Norm = "l1"
    momentum: float = 0.0
    fall: int | None = None

    def __post_init__(self) -> None:
        _check_rate(self.rate, self.fall)
        _check_memory("momentum", self.momentum)
        if self.norm not in get_args(Norm):
            raise OptionError(f"norm={self.norm!r} is unknown: use {', '.join(map(repr, get_args(Norm)))}.")

    def begin(self, parameters: Tree) -> Tree:
        steps = {"steps": np.zeros(())}
        return steps | ({"velocity": mapped(parameters, np.zeros_like)} if self.momentum else {})

    def step(
        self, parameters: Tree, loss: NDArray[Any], gradient: Tree, memory: Tree, slope: Slope
    ) -> tuple[Tree, Tree]:
        del loss, slope
        size, rate = _size(gradient, self.norm), _fallen(self.rate, self.fall, memory)
        move = mapped(gradient, lambda g: (g * _along(-rate / size, g)).astype(g.dtype))
        steps = {"steps": memory["steps"] + 1}
        if not self.momentum:
            return joined(np.add, parameters, move), steps
        velocity = joined(lambda v, m: self.momentum * v + m, memory["velocity"], move)
        return joined(np.add, parameters, velocity), steps | {"velocity": velocity}


@final
@dataclass(frozen=True)
class Adam(Optimiser):
    """Steps of a length that follows each number's own gradients (Kingma and Ba, ICLR 2015).

    Attributes:
        rate: length of the first step.
        decay: by which the means of the gradient and of its square forget, each from 0 to below 1. A first number of 0
            makes it `RMSprop`, but for the bias of the first steps, which is taken out.
        epsilon: added to the root of the mean square.
        nesterov: whether a step looks one ahead, which makes it NAdam (Dozat, ICLR Workshop 2016).
        fall: over so many steps the rate falls evenly to zero; None keeps it.

    Raises:
        OptionError: an option is out of range.
    """

    rate: float = 0.05
    decay: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    nesterov: bool = False
    fall: int | None = None

    def __post_init__(self) -> None:
        _check_rate(self.rate, self.fall)
        for number in self.decay:
            _check_memory("decay", number)
        positive("epsilon", self.epsilon)

    def begin(self, parameters: Tree) -> Tree:
        zeros = mapped(parameters, np.zeros_like)
        return {"mean": zeros, "square": mapped(parameters, np.zeros_like), "steps": np.zeros(())}

    def step(
        self, parameters: Tree, loss: NDArray[Any], gradient: Tree, memory: Tree, slope: Slope
    ) -> tuple[Tree, Tree]:
        del loss, slope
        first, second = self.decay
        steps = memory["steps"] + 1
        mean = joined(lambda m, g: m * first + g * (1 - first), memory["mean"], gradient)
        square = joined(lambda s, g: s * second + g * g * (1 - second), memory["square"], gradient)
        rate, done = _fallen(self.rate, self.fall, memory), float(steps)

        def move(mean: NDArray[Any], square: NDArray[Any], g: NDArray[Any]) -> NDArray[Any]:
            if self.nesterov:
                mean = first * mean / (1 - first ** (done + 1)) + (1 - first) * g / (1 - first**done)
            else:
                mean = mean / (1 - first**done)
            return rate * mean / (np.sqrt(square / (1 - second**done)) + self.epsilon)

        moves = joined(move, mean, square, gradient)
        moved = joined(lambda p, m: p - m.astype(p.dtype), parameters, moves)
        return moved, {"mean": mean, "square": square, "steps": steps}


def _fallen(rate: float, fall: int | None, memory: Tree) -> float:
    """The rate of the step after those that are remembered."""
    return rate if fall is None else rate * max(0.0, 1 - float(memory["steps"]) / fall)


def _size(gradient: Tree, norm: Norm) -> NDArray[np.float64]:
    """Of each image's whole gradient, shape (images,); 1 where it is zero."""
    parts = [leaf.reshape(len(leaf), -1) for leaf in leaves(gradient)]
    if norm == "none":
        return np.ones(len(parts[0]))
    power = {"l1": np.abs, "l2": np.square}[norm]
    total = sum(power(part).sum(axis=1, dtype=np.float64) for part in parts) / sum(part.shape[1] for part in parts)
    size = total if norm == "l1" else np.sqrt(total)
    return np.where(size > 0, size, 1.0)


def _along(numbers: NDArray[Any], leaf: NDArray[Any]) -> NDArray[Any]:
    """One number per image, to be multiplied with a leaf."""
    return numbers.reshape(-1, *[1] * (leaf.ndim - 1))


def _check_rate(rate: Any, fall: Any) -> None:
    positive("rate", rate)
    if fall is not None:
        whole("fall", fall)


def _check_memory(option: str, given: Any) -> None:
    """How much of what was stays: from 0 to below 1."""
    if not isinstance(given, int | float | np.number) or not 0 <= given < 1:
        raise OptionError(f"{option}={given!r} must lie between 0 and 1; it may be 0.")
