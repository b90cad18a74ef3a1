"""How a gradient becomes a step; on the host, each image by itself."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.optimisation.parameterisations.base import Tree
from agnoscope.trees import joined, leaves, mapped

Slope: TypeAlias = Callable[[Tree], tuple[NDArray[Any], Tree]]
"""The loss of each image, shape (images,), and its gradient, at other parameters under the same views."""


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
    """

    rate: float = 0.01
    norm: Norm = "l1"
    momentum: float = 0.0

    def begin(self, parameters: Tree) -> Tree:
        return {"velocity": mapped(parameters, np.zeros_like)} if self.momentum else {}

    def step(
        self, parameters: Tree, loss: NDArray[Any], gradient: Tree, memory: Tree, slope: Slope
    ) -> tuple[Tree, Tree]:
        del loss, slope
        size = _size(gradient, self.norm)
        move = mapped(gradient, lambda g: (g * _along(-self.rate / size, g)).astype(g.dtype))
        if not self.momentum:
            return joined(np.add, parameters, move), {}
        velocity = joined(lambda v, m: self.momentum * v + m, memory["velocity"], move)
        return joined(np.add, parameters, velocity), {"velocity": velocity}


@final
@dataclass(frozen=True)
class Adam(Optimiser):
    """Steps of a length that follows each number's own gradients (Kingma and Ba, ICLR 2015).

    Attributes:
        rate: length of the first step.
        decay: by which the means of the gradient and of its square forget, each from 0 to below 1.
        epsilon: added to the root of the mean square.
    """

    rate: float = 0.05
    decay: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8

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
        rate, spread = self.rate / (1 - first ** float(steps)), 1 - second ** float(steps)
        moved = joined(
            lambda p, m, s: p - (rate * m / (np.sqrt(s / spread) + self.epsilon)).astype(p.dtype),
            parameters,
            mean,
            square,
        )
        return moved, {"mean": mean, "square": square, "steps": steps}


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
