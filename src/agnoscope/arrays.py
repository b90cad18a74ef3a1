"""What the array API lacks, written once, in `xp` only: mostly products with matrices made beforehand."""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray


@lru_cache(maxsize=64)
def resize_matrix(length: int, wanted: int) -> NDArray[np.float64]:
    """The matrix of bilinear resizing along one axis, shape (wanted, length).

    Pixel centres lie at halves; beyond the edge the border pixel goes on. Shrinking widens the triangle, so
    that every pixel counts; enlarging does not smooth.

    Args:
        length: pixels before.
        wanted: pixels after.
    """
    step = length / wanted
    centre = (np.arange(wanted) + 0.5) * step - 0.5
    reach = max(step, 1.0)
    weights = np.clip(1 - np.abs(np.arange(length)[None, :] - centre[:, None]) / reach, 0, None)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def resize(xp: Any, maps: Any, size: tuple[int, int]) -> Any:
    """Bilinear resizing with half-pixel centres, the same in every framework.

    Args:
        xp: the array namespace of `maps`.
        maps: shape (images, height, width).
        size: height and width wanted.

    Returns:
        Shape (images, *size).
    """
    rows = xp.asarray(resize_matrix(maps.shape[1], size[0]), dtype=maps.dtype)
    columns = xp.asarray(resize_matrix(maps.shape[2], size[1]).T, dtype=maps.dtype)
    return xp.matmul(xp.matmul(rows, maps), columns)


def blur_matrix(length: int, sigma: float) -> NDArray[np.float64]:
    """The matrix of Gaussian blurring along one axis, shape (length, length).

    The bell is sampled at whole pixels and cut off at four standard deviations; beyond the edge the border pixel
    goes on.

    Args:
        length: how many pixels.
        sigma: standard deviation in pixels; 0 changes nothing.
    """
    if sigma == 0:
        return np.eye(length)
    reach = int(4 * sigma + 0.5)
    distance = np.arange(max(reach, length) + 1)
    bell = np.where(distance <= reach, np.exp(-0.5 * (distance / sigma) ** 2), 0)
    bell /= 2 * bell.sum() - bell[0]
    pixels = np.arange(length)
    matrix = bell[np.abs(pixels[:, None] - pixels[None, :])]
    beyond = np.cumsum(bell[::-1])[::-1][1 : length + 1]  # what lies further away than each distance
    matrix[:, 0] += beyond
    matrix[:, -1] += beyond[::-1]
    return matrix
