"""KernelSHAP: Shapley values of the segments, by one weighted regression over coalitions."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import comb
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.explainers.fillings import Fill
from agnoscope.explainers.options import generator, whole
from agnoscope.explainers.perturbation.segments import BySegments, Game, Segments
from agnoscope.model import Model


@final
@dataclass(frozen=True)
class KernelSHAP(BySegments):
    """KernelSHAP (Lundberg and Lee, NIPS 2017).

    Shapley values solve a linear regression of the score on what is shown, in which a coalition of s among n segments
    weighs (n − 1) / (C(n, s) · s · (n − s)) and the values must add up to the score of the image less that of the
    filled image. Where `samples` suffice for every coalition, all are played and the values are exact. Otherwise
    coalitions are drawn by their weight, each together with its complement (Covert and Lee, AISTATS 2021).
    Positive values speak for the target; each stands on all pixels of its segment, shape (images, height, width).

    Attributes:
        samples: how many coalitions may be played, at least 3; the authors' code takes 2048 and two more per segment.
        segments: about how many superpixels the image is cut into, or the number of each pixel's segment, whole
            numbers from 0 on of shape (height, width).
        fill: what hides: "mean" (each channel's mean over the image), "blur", or whatever
            `agnoscope.explainers.fillings` knows.
        seed: of the draws.
    """

    name = "kernel-shap"

    samples: int = 2048
    segments: Segments = 50
    fill: Fill = "mean"
    seed: int = 0

    def settle(self, model: Model, size: tuple[int, int]) -> Self:
        whole("samples", self.samples, least=3)  # the empty coalition and a pair
        return super().settle(model, size)

    def coalitions(self, players: int) -> int:
        return min(self.samples, 2**players - 1)

    def play(self, game: Game) -> tuple[NDArray[Any], Mapping[str, NDArray[Any]]]:
        n = game.players
        coalitions, weights = every_coalition(n) if 2**n <= self.samples else self.drawn(n)
        empty, *scores = game(np.concatenate([np.zeros((1, n), dtype=np.bool_), coalitions]))
        return shapley_regression(coalitions, np.array(scores) - empty, weights, game.full - empty), {}

    def drawn(self, players: int) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Coalitions drawn by the Shapley kernel, so that they weigh alike, and after them their complements."""
        rng, pairs = generator(self.seed), max(1, (self.samples - 1) // 2)
        sizes = np.arange(1, players)
        odds = 1 / (sizes * (players - sizes))  # of all coalitions of a size together
        size = rng.choice(sizes, pairs, p=odds / odds.sum())
        place = rng.random((pairs, players), dtype=np.float32).argsort(axis=1).argsort(axis=1)
        drawn = place < size[:, None]
        return np.concatenate([drawn, ~drawn]), np.ones(2 * pairs)


def every_coalition(players: int) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """All coalitions but the empty and the full one, shape (coalitions, players), and the Shapley kernel of each."""
    coalitions = (np.arange(1, 2**players - 1)[:, None] >> np.arange(players)) & 1 == 1
    kernel = {s: (players - 1) / (comb(players, s) * s * (players - s)) for s in range(1, players)}
    return coalitions, np.array([kernel[int(s)] for s in coalitions.sum(axis=1)])


def shapley_regression(
    coalitions: NDArray[np.bool_], gains: NDArray[np.float64], weights: NDArray[np.float64], total: float
) -> NDArray[np.float64]:
    """The values φ that minimise Σ weights · (gains − coalitions · φ)² and add up to `total`.

    Args:
        coalitions: shape (coalitions, players).
        gains: shape (coalitions,), what each wins beyond the empty one.
        weights: shape (coalitions,).
        total: what all players win together.

    Returns:
        Shape (players,). Where coalitions are too few, the values that are nearest to equal ones.
    """
    # φ is an equal share for all and a remainder that adds up to 0, of which only x without its mean is seen. The
    # smallest solution is a sum of rows, so that it adds up to 0 like each of them.
    x = coalitions.astype(np.float64)
    share = x.mean(axis=1)
    root = np.sqrt(weights)
    remainder = np.linalg.lstsq(root[:, None] * (x - share[:, None]), root * (gains - share * total))[0]
    return total / x.shape[1] + remainder
