"""L-BFGS: downhill as the curvature of the last few steps advises, each step with a line search; on the host.

The parameters of an image are one long row here, and every image has its own memory and its own line search, so that
none depends on the others.
"""

from collections.abc import Sequence
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
        return {"rate": np.full(len(_rows(parameters)), self.rate)}

    def step(
        self, parameters: Tree, loss: NDArray[Any], gradient: Tree, memory: Tree, slope: Slope
    ) -> tuple[Tree, Tree]:
        here, downhill = _rows(parameters), -_rows(gradient)
        moves, turns = (_in_order(memory.get(name, {})) for name in ("moves", "turns"))
        free = _free(parameters, here, downhill, slope)
        # Numbers at their bound must have no say in where the others go.
        course = _course(downhill, _only(free, moves), _only(free, turns), memory["rate"])
        found, there, turn = self._searched(parameters, here, loss, downhill, course, slope)
        # A course that led nowhere was bad advice: go on anew, and carefully.
        moves, turns = _only(found[:, None], moves), _only(found[:, None], turns)
        rate = np.where(found, self.rate, memory["rate"] * 0.5**self.trials)
        move = there - here
        sound = _curvature(move, turn)[0] > 0
        if sound.any():
            moves, turns = ([*rows, *_only(sound[:, None], [row])] for rows, row in ((moves, move), (turns, turn)))
        kept = {"moves": _numbered(moves[-self.memory :]), "turns": _numbered(turns[-self.memory :])}
        return _tree(there, parameters), {**kept, "rate": rate}

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


def _course(downhill: Rows, moves: Sequence[Rows], turns: Sequence[Rows], rate: NDArray[np.float64]) -> Rows:
    """The inverse of the remembered curvature times the negative gradient: the two loops of the paper."""
    course, scale = downhill, rate * _inverse(_size(downhill))
    told = [(move, turn, *_curvature(move, turn)) for move, turn in zip(moves, turns, strict=True)]
    shares = []
    for move, turn, rho, _ in reversed(told):
        shares.append(rho * _dot(move, course))
        course = course - _times(shares[-1], turn)
    for _, _, rho, length in told:
        scale = np.where(rho > 0, length, scale)
    course = _times(scale, course)
    for move, turn, rho, _ in told:
        course = course + _times(shares.pop() - rho * _dot(turn, course), move)
    return course


def _curvature(move: Rows, turn: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of each image the paper's ρ, and the length of a step that it advises; ρ is 0 where the gradient does not rise.

    That is where a move tells no curvature, and has no say.
    """
    rise, squared = _dot(move, turn), _dot(turn, turn)
    sound = rise > SOUND * np.sqrt(_dot(move, move) * squared)
    return np.where(sound, _inverse(rise), 0), rise * _inverse(squared)


def _free(parameters: Tree, here: Rows, downhill: Rows, slope: Slope) -> NDArray[np.bool_]:
    """Which numbers do not stand at a bound and push beyond it."""
    ahead = here + np.sign(downhill) * 1e-3 * (1 + np.abs(here))
    return (_rows(slope.kept(_tree(ahead.astype(here.dtype), parameters))) != here) | (downhill == 0)


def _only(which: NDArray[np.bool_], rows: list[Rows]) -> list[Rows]:
    """The rows with 0 elsewhere; not copied where there is nothing to leave out."""
    return rows if which.all() else [row * which for row in rows]


def _numbered(rows: list[Rows]) -> dict[str, Rows]:
    """A tree of rows: to remember another one moves none of them."""
    return {str(i): row for i, row in enumerate(rows)}


def _in_order(tree: Tree) -> list[Rows]:
    """The rows of which `_numbered` made this."""
    return [tree[str(i)] for i in range(len(tree))]


def _dot(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
    """Inner products along the last axis; in float64, since squares of gradients leave float32."""
    return np.einsum("...j,...j->...", one, other, dtype=np.float64)


def _size(rows: Rows) -> NDArray[np.float64]:
    """Root mean square."""
    return np.sqrt(_dot(rows, rows) / rows.shape[1])


def _times(factors: NDArray[np.float64], rows: Rows) -> Rows:
    return factors.astype(rows.dtype)[:, None] * rows


def _inverse(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """1/x, and 0 for 0."""
    return np.divide(1, numbers, out=np.zeros_like(numbers), where=numbers != 0)


def _rows(tree: Tree) -> Rows:
    return np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves(tree)], axis=1)


def _tree(rows: Rows, like: Tree) -> Tree:
    """The tree of which `_rows` made these."""
    parts = iter(np.split(rows, np.cumsum([leaf[0].size for leaf in leaves(like)])[:-1], axis=1))
    return mapped(like, lambda leaf: next(parts).reshape(leaf.shape))
