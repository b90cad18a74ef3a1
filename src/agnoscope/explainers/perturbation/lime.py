"""LIME: a linear model of the score, fitted to images of which random segments are hidden."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.explainers.fillings import Fill
from agnoscope.explainers.options import generator, positive, whole
from agnoscope.explainers.perturbation.segments import BySegments, Game, Segments
from agnoscope.model import Model


@final
@dataclass(frozen=True)
class LIME(BySegments):
    """Local interpretable model-agnostic explanations (Ribeiro, Singh and Guestrin, KDD 2016).

    Each segment is shown or hidden by the toss of a coin, many times over. A linear model of what is shown is fitted
    to the scores by ridge regression; images near to the whole one weigh more. A segment's value is its coefficient:
    positive values speak for the target. It stands on all pixels of the segment, shape (images, height, width). The
    extra "fit" is the weighted R² of the model, 1 where it is exact; NaN where all scores are equal.

    Kernel, ridge and number of samples are those of the authors' code for images. It explains a probability, which is
    `ClassScore(space="probability")` here, hides a segment by its own mean colour, and makes larger ones by quickshift.

    Attributes:
        samples: how many images, the whole one among them.
        segments: about how many superpixels the image is cut into, or the number of each pixel's segment, whole
            numbers from 0 on of shape (height, width).
        fill: what hides: "mean" (each channel's mean over the image), "blur", or whatever
            `agnoscope.explainers.fillings` knows.
        kernel_width: of the kernel exp(−distance² / (2 width²)), the distance being 1 less the cosine of the angle
            between what is shown and everything.
        ridge: how much the squares of the coefficients count against the error; 0 is ordinary regression.
        seed: of the tosses.
    """

    name = "lime"

    samples: int = 1000
    segments: Segments = 50
    fill: Fill = "mean"
    kernel_width: float = 0.25
    ridge: float = 1.0
    seed: int = 0

    def settle(self, model: Model, size: tuple[int, int]) -> Self:
        whole("samples", self.samples)
        positive("kernel_width", self.kernel_width)
        positive("ridge", self.ridge, or_zero=True)
        return super().settle(model, size)

    def coalitions(self, players: int) -> int:  # noqa: ARG002
        return self.samples

    def play(self, game: Game) -> tuple[NDArray[Any], Mapping[str, NDArray[Any]]]:
        draws = generator(self.seed).random((self.samples, game.players), dtype=np.float32)
        shown = draws < 0.5
        shown[0] = True
        distance = 1 - np.sqrt(shown.mean(axis=1))
        weights = np.exp(-(distance**2) / (2 * self.kernel_width**2))
        falls = game(shown) - game.full
        coefficients, fit = ridge_regression(shown.astype(np.float64), falls, weights, self.ridge)
        return coefficients, {"fit": np.array(fit)}


def ridge_regression(
    x: NDArray[np.float64], y: NDArray[np.float64], weights: NDArray[np.float64], ridge: float
) -> tuple[NDArray[Any], float]:
    """The coefficients b, beside an intercept a, that minimise Σ weights · (y − a − x · b)² + ridge · |b|².

    Args:
        x: shape (samples, features).
        y: shape (samples,).
        weights: shape (samples,), not negative.
        ridge: 0 or more. Where it leaves the coefficients open, the smallest ones are taken.

    Returns:
        The coefficients, shape (features,), and the weighted R², NaN where y does not vary.
    """
    share = weights / weights.sum()
    x, y = x - share @ x, y - share @ y  # the best intercept makes the weighted means meet
    squares = (weights[:, None] * x).T @ x + ridge * np.eye(x.shape[1])
    coefficients = np.linalg.lstsq(squares, x.T @ (weights * y))[0]
    spread = share @ y**2
    return coefficients, float(1 - share @ (y - x @ coefficients) ** 2 / spread) if spread > 0 else np.nan
