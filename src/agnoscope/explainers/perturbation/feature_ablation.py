"""Feature ablation: hide each segment of the image in turn and see how far the score falls."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.explainers.fillings import Fill
from agnoscope.explainers.perturbation.segments import BySegments, Game, Segments


@final
@dataclass(frozen=True)
class FeatureAblation(BySegments):
    """Feature ablation: occlusion by segments (Zeiler and Fergus, ECCV 2014, with a square for each).

    A pixel's value is the fall of the score when its segment alone is hidden; positive values speak for the target.
    The fall is not divided by the pixels of the segment. The values have the shape (images, height, width).

    Attributes:
        segments: about how many superpixels the image is cut into, or the number of each pixel's segment, whole
            numbers from 0 on of shape (height, width).
        fill: what hides: "mean" (each channel's mean over the image), "blur", or whatever
            `agnoscope.explainers.fillings` knows.
    """

    name = "feature-ablation"

    segments: Segments = 50
    fill: Fill = "mean"

    def coalitions(self, players: int) -> int:
        return players

    def play(self, game: Game) -> tuple[NDArray[Any], Mapping[str, NDArray[Any]]]:
        return game.full - game(~np.eye(game.players, dtype=np.bool_)), {}
