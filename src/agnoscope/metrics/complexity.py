"""How few pixels does an explanation name? Metrics of the maps alone, of the shape (images, height, width).

Simple is not right: a map of one wrong pixel is the simplest of all.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import OptionError
from agnoscope.metrics.checks import checked_maps, ratio


def sparseness(maps: NDArray[Any]) -> NDArray[np.float64]:
    """Gini index of the absolute values (Chalasani et al., ICML 2020; Hurley and Rickard, IEEE TIT 2009).

    Args:
        maps: shape (images, height, width); any scale.

    Returns:
        Shape (images,): 0 for a constant map, 1 - 1 / pixels where one pixel holds everything; NaN for a map of zeros.

    Raises:
        OptionError: the shape is another one, or the maps are not finite.
    """
    values = np.sort(np.abs(_flat(maps)), axis=1)
    n = values.shape[1]
    weights = (n - np.arange(1, n + 1) + 0.5) / n
    return 1 - 2 * ratio(values @ weights, values.sum(axis=1))


def entropy(maps: NDArray[Any]) -> NDArray[np.float64]:
    """Entropy of the absolute values as shares of their sum, called complexity by Bhatt, Weller and Moura (IJCAI 2020).

    Args:
        maps: shape (images, height, width); any scale.

    Returns:
        Shape (images,), in nats: 0 where one pixel holds everything, log(pixels) for a constant map; NaN for a map
        of zeros.

    Raises:
        OptionError: the shape is another one, or the maps are not finite.
    """
    values = np.abs(_flat(maps))
    shares = ratio(values, values.sum(axis=1, keepdims=True))
    return -(shares * np.log(shares, out=np.zeros_like(shares), where=shares != 0)).sum(axis=1)


def histogram_entropy(maps: NDArray[Any], bins: int = 100) -> NDArray[np.float64]:
    """Entropy of the histogram of the signed values, as efficient MPRT takes it (Hedström et al., xAI 2024).

    Args:
        maps: shape (images, height, width); any scale, since the bins span each map's own values.
        bins: how many, of equal width.

    Returns:
        Shape (images,), in nats: 0 for a constant map, log(bins) where all bins hold equally many pixels.

    Raises:
        OptionError: the shape is another one, the maps are not finite, or `bins` is below 1.
    """
    if bins < 1:
        raise OptionError(f"bins={bins} must be at least 1.")
    values = _flat(maps)
    lowest = values.min(axis=1, keepdims=True)
    shares = np.nan_to_num(ratio(values - lowest, values.max(axis=1, keepdims=True) - lowest))  # a constant map: all 0
    counts = np.array([np.histogram(row, bins, (0, 1))[0] for row in shares])
    shares = counts / counts.sum(axis=1, keepdims=True)
    return -(shares * np.log(shares, out=np.zeros_like(shares), where=shares != 0)).sum(axis=1)


def _flat(maps: NDArray[Any]) -> NDArray[np.float64]:
    values = checked_maps(maps)
    return values.reshape(len(values), -1)
