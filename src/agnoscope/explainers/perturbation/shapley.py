"""Shapley values by sampling: let the segments enter the image one by one, in random orders."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.explainers.fillings import Fill
from agnoscope.explainers.options import generator, whole
from agnoscope.explainers.perturbation.segments import BySegments, Game, Segments
from agnoscope.model import Model


@final
@dataclass(frozen=True)
class ShapleySampling(BySegments):
    """Shapley values, sampled (Castro, Gómez and Tejada, COR 2009; Štrumbelj and Kononenko, JMLR 2010).

    In a random order the segments of a filled image are shown one after the other; each is worth what the score
    rises when it enters, averaged over the orders. In every order the rises add up to the score of the image less
    that of the filled image, and so do the values of the segments (efficiency). Positive values speak for the
    target; each stands on all pixels of its segment, shape (images, height, width).

    Attributes:
        samples: how many orders; each costs as many looks as there are segments, less one.
        segments: about how many superpixels the image is cut into, or the number of each pixel's segment, whole
            numbers from 0 on of shape (height, width).
        fill: what hides: "mean" (each channel's mean over the image), "blur", or whatever
            `agnoscope.explainers.fillings` knows.
        seed: of the orders.
    """

    name = "shapley-sampling"

    samples: int = 25
    segments: Segments = 50
    fill: Fill = "mean"
    seed: int = 0

    def settle(self, model: Model, size: tuple[int, int]) -> Self:
        whole("samples", self.samples)
        return super().settle(model, size)

    def coalitions(self, players: int) -> int:
        return 1 + self.samples * (players - 1)

    def play(self, game: Game) -> tuple[NDArray[Any], Mapping[str, NDArray[Any]]]:
        n, orders = game.players, self.samples
        draws = generator(self.seed).random((orders, n), dtype=np.float32)
        place = draws.argsort(axis=1).argsort(axis=1)  # of each player in each order
        entered = place[:, None, :] < np.arange(1, n)[None, :, None]  # all but the first and the last stand
        empty, *between = game(np.concatenate([np.zeros((1, n), dtype=np.bool_), entered.reshape(-1, n)]))
        scores = np.full((orders, n + 1), game.full)
        scores[:, 0], scores[:, 1:n] = empty, np.reshape(between, (orders, n - 1))
        rises = np.diff(scores, axis=1)
        return np.take_along_axis(rises, place, axis=1).mean(axis=0), {}
