"""A score that is linear in the image: every metric of it can be written down."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agnoscope.metrics import Scores

RNG = np.random.default_rng(7)
IMAGES = RNG.uniform(0.1, 0.9, size=(3, 6, 5, 2))
WEIGHTS = RNG.normal(size=IMAGES.shape)


def linear(weights: NDArray[Any] = WEIGHTS) -> Scores:
    """The sum of image times weights; every owner has weights of its own."""

    def scores(images: NDArray[Any], owners: NDArray[np.intp]) -> NDArray[Any]:
        return (images * weights[owners]).sum(axis=(1, 2, 3))

    return scores
