"""How other libraries resize a map: a matrix along each axis for every rule, to be multiplied with.

    "corners"    linear, the corners' pixels on one another: `scipy.ndimage.zoom`, and PyTorch with `align_corners`
    "mirrored"   linear with half-pixel centres, mirrored at the border's pixels: `skimage.transform.resize`
    "nearest"    the pixel under the upper left corner of the new one: PyTorch

agnoscope's own rule is in `arrays`: linear with half-pixel centres, the border's pixels going on, as TensorFlow, OpenCV
and PyTorch enlarge. None of these averages where it shrinks.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray


@lru_cache(maxsize=64)
def corners_matrix(length: int, wanted: int) -> NDArray[np.float64]:
    """The matrix of the rule "corners", shape (wanted, length)."""
    return _linear(np.arange(wanted) * (length - 1) / max(wanted - 1, 1), length)


@lru_cache(maxsize=64)
def mirrored_matrix(length: int, wanted: int) -> NDArray[np.float64]:
    """The matrix of the rule "mirrored", shape (wanted, length)."""
    places = np.abs((np.arange(wanted) + 0.5) * length / wanted - 0.5)
    return _linear((length - 1) - np.abs((length - 1) - places), length)


@lru_cache(maxsize=64)
def nearest_matrix(length: int, wanted: int) -> NDArray[np.float64]:
    """The matrix of the rule "nearest", shape (wanted, length)."""
    return np.eye(length)[np.arange(wanted) * length // wanted]


def _linear(places: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """What lies at places between pixels, counted in pixels from the first one's centre to the last one's."""
    places = np.clip(places, 0, length - 1)
    return np.clip(1 - np.abs(places[:, None] - np.arange(length)), 0, None)


RULES: Final[Mapping[str, Callable[[int, int], NDArray[Any]]]] = MappingProxyType(
    {"corners": corners_matrix, "mirrored": mirrored_matrix, "nearest": nearest_matrix}
)
"""Name to the function that makes the matrix from the pixels before and after."""
