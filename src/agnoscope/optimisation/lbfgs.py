"""L-BFGS: downhill as the curvature of the last few steps advises, each step with a line search; on the host.

The parameters of an image are one long row here, and every image has its own memory and its own line search, so that
none depends on the others.
"""

from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.explainers.options import positive, whole
from agnoscope.optimisation.optimisers import Optimiser, Slope
from agnoscope.optimisation.parameterisations.base import Tree
from agnoscope.trees import leaves, mapped

Rows = NDArray[Any]
"""Shape (images, numbers)."""

FALL: Final = 1e-4
"""How much of the promised fall of the loss a step must bring: Wolfe's first condition."""

TURN: Final = 0.9
"""How much of the slope may be left after a step: Wolfe's second condition."""

SOUND: Final = 1e-6
"""The smallest cosine between a move and the turn of the gradient along it that tells a curvature."""


@final
@dataclass(frozen=True)
class LBFGS(Optimiser):
    """Quasi-Newton steps with a limited memory (Liu and Nocedal, Mathematical Programming 1989).

    A step is looked at before it is made, and one that would raise the loss is not: for a target that every step looks
    at alike, and for tens of thousands of numbers that few steps must bring to their place, as in style transfer and
    inversion. The line search halves and doubles until Wolfe's conditions hold (Lewis and Overton, Mathematical
    Programming 2013). Numbers that stand at their bound and push beyond it are left out of the step (Bertsekas, SIAM
    Journal on Control and Optimization 1982).

    Attributes:
        rate: root mean square of the changes in the first step, in units of the parameters; the later ones find their
            length by themselves.
        memory: how many steps are remembered; each takes twice the space of the images.
        trials: how many times a step is looked at, at most, before it is given up and the memory with it.
    """

    rate: float = 0.01
    memory: int = 10
    trials: int = 12

    def __post_init__(self) -> None:
        positive("rate", self.rate)
        whole("memory", self.memory)
        whole("trials", self.trials)

    def begin(self, parameters: Tree) -> Tree:
        rows = _rows(parameters)
        none = np.zeros((len(rows), self.memory, rows.shape[1]), rows.dtype)
        return {"moves": none, "turns": none.copy(), "rate": np.full(len(rows), self.rate)}

    def step(
        self, parameters: Tree, loss: NDArray[Any], gradient: Tree, memory: Tree, slope: Slope
    ) -> tuple[Tree, Tree]:
        here, downhill = _rows(parameters), -_rows(gradient)
        free = _free(parameters, here, downhill, slope)
        # Numbers at their bound must have no say in where the others go.
        moves, turns = (memory[name] * free[:, None] for name in ("moves", "turns"))
        course = _course(downhill, moves, turns, memory["rate"])
        found, there, turn = self._searched(parameters, here, loss, downhill, course, slope)
        # A course that led nowhere was bad advice: go on anew, and carefully.
        moves, turns = (np.where(found[:, None, None], memory[name], 0) for name in ("moves", "turns"))
        rate = np.where(found, self.rate, memory["rate"] * 0.5**self.trials)
        sound = _sound(there - here, turn)
        moves, turns = _remembered(moves, there - here, sound), _remembered(turns, turn, sound)
        return _tree(there, parameters), {"moves": moves, "turns": turns, "rate": rate}

    def _searched(
        self, parameters: Tree, here: Rows, loss: NDArray[Any], downhill: Rows, course: Rows, slope: Slope
    ) -> tuple[NDArray[np.bool_], Rows, Rows]:
        """Whether a step was found for each image, where it leads, and how the gradient turns along it."""
        low, high, length = np.zeros(len(here)), np.full(len(here), np.inf), np.ones(len(here))
        found, settled = np.zeros(len(here), bool), np.zeros(len(here), bool)
        there, turn, lowest = here.copy(), np.zeros_like(here), loss.copy()
        for _ in range(self.trials):
            kept = slope.kept(_tree(here + _times(length, course), parameters))
            ahead = np.where(settled[:, None], there, _rows(kept))
            reached, gradient = slope(_tree(ahead, parameters))
            turned = _rows(gradient) + downhill
            promised = -_dot(downhill, ahead - here)
            left = promised + _dot(turned, ahead - here)
            fallen = reached <= loss + (FALL * np.minimum(promised, 0)).astype(loss.dtype)
            # A plateau counts as well, or a dead unit would never be left.
            better = ~settled & np.isfinite(left) & ((reached < lowest) | (~found & (reached == lowest)))
            there[better], turn[better], lowest[better] = ahead[better], turned[better], reached[better]
            found |= better
            short = fallen & (left < TURN * promised)
            done = -promised <= np.finfo(loss.dtype).eps * np.abs(loss)  # less than the loss can show
            settled |= (found & fallen & ~short) | done
            if settled.all():
                break
            low, high = np.where(short, length, low), np.where(fallen, high, length)
            length = np.where(np.isinf(high), 2 * length, (low + high) / 2)
        return found, there, turn


def _course(downhill: Rows, moves: NDArray[Any], turns: NDArray[Any], rate: NDArray[np.float64]) -> Rows:
    """The inverse of the remembered curvature times the negative gradient: the two loops of the paper."""
    curvature = _dot(moves, turns)
    rho = np.where(_sound(moves, turns), _inverse(curvature), 0)
    course, shares = downhill, np.zeros_like(rho)
    for i in reversed(range(moves.shape[1])):
        shares[:, i] = rho[:, i] * _dot(moves[:, i], course)
        course = course - _times(shares[:, i], turns[:, i])
    scale, squares = rate * _inverse(_size(downhill)), _dot(turns, turns)
    for i in range(moves.shape[1]):
        scale = np.where(rho[:, i] > 0, curvature[:, i] * _inverse(squares[:, i]), scale)
    course = _times(scale, course)
    for i in range(moves.shape[1]):
        course = course + _times(shares[:, i] - rho[:, i] * _dot(turns[:, i], course), moves[:, i])
    return course


def _free(parameters: Tree, here: Rows, downhill: Rows, slope: Slope) -> NDArray[np.bool_]:
    """Which numbers do not stand at a bound and push beyond it."""
    ahead = here + np.sign(downhill) * 1e-3 * (1 + np.abs(here))
    return (_rows(slope.kept(_tree(ahead.astype(here.dtype), parameters))) != here) | (downhill == 0)


def _sound(move: NDArray[Any], turn: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether the gradient rises along the move, so that it tells a curvature."""
    return _dot(move, turn) > SOUND * np.sqrt(_dot(move, move) * _dot(turn, turn))


def _remembered(stack: NDArray[Any], newest: Rows, sound: NDArray[np.bool_]) -> NDArray[Any]:
    """The stack with the newest row instead of the oldest, where it is sound."""
    return np.where(sound[:, None, None], np.concatenate([stack[:, 1:], newest[:, None]], axis=1), stack)


def _dot(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
    """Inner products along the last axis; in float64, since squares of gradients leave float32."""
    return np.einsum("...j,...j->...", one, other, dtype=np.float64)


def _size(rows: Rows) -> NDArray[np.float64]:
    """Root mean square."""
    return np.sqrt(_dot(rows, rows) / rows.shape[1])


def _times(factors: NDArray[np.float64], rows: Rows) -> Rows:
    return (factors[:, None] * rows).astype(rows.dtype)


def _inverse(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """1/x, and 0 for 0."""
    return np.divide(1, numbers, out=np.zeros_like(numbers), where=numbers != 0)


def _rows(tree: Tree) -> Rows:
    return np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves(tree)], axis=1)


def _tree(rows: Rows, like: Tree) -> Tree:
    """The tree of which `_rows` made these."""
    parts = iter(np.split(rows, np.cumsum([leaf[0].size for leaf in leaves(like)])[:-1], axis=1))
    return mapped(like, lambda leaf: next(parts).reshape(leaf.shape))
