"""What a network of one convolution scores, and what games of segments are worth, written down in NumPy."""

from itertools import combinations
from math import factorial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agnoscope.testing import SIZE, images, rectified_network

X = images()
LAYERS: Any = rectified_network().layers
LABELS = np.minimum(np.arange(35).reshape(SIZE) // 8, 4)  # five segments
MEAN = X[0].astype(np.float64).mean(axis=(0, 1))


def scores(x: NDArray[Any]) -> NDArray[Any]:
    """The network's, shape (images, classes)."""
    rectified = (x @ LAYERS["conv"].kernel[0, 0] + LAYERS["conv"].bias).clip(0)
    return rectified.mean(axis=(1, 2)) @ LAYERS["dense"].kernel + LAYERS["dense"].bias


def squared(run: Any) -> Any:
    """A target by which segments depend on each other; by a class score alone each would add its own."""
    return run["scores"][:, 2] ** 2


def won(players: Any, filling: Any = MEAN, labels: NDArray[Any] = LABELS) -> float:
    """What `squared` gives for the first image when only some segments are shown."""
    shown = np.isin(labels, list(players))[..., None]
    return float(scores(np.where(shown, X[0].astype(np.float64), filling)[None])[0, 2] ** 2)


def shapley_values(count: int = 5, **game: Any) -> NDArray[Any]:
    """By definition: every player's rise of every coalition, weighted by the orders in which it comes about."""
    found = np.zeros(count)
    for i in range(count):
        others = [j for j in range(count) if j != i]
        for size in range(count):
            orders = factorial(size) * factorial(count - size - 1) / factorial(count)
            for coalition in combinations(others, size):
                found[i] += orders * (won({*coalition, i}, **game) - won(coalition, **game))
    return found


def of_segments(values: NDArray[Any], labels: NDArray[Any] = LABELS) -> NDArray[Any]:
    """One number for each segment; on all its pixels the same."""
    found = np.array([values[labels == i][0] for i in range(labels.max() + 1)])
    np.testing.assert_array_equal(found[labels], values)
    return found
