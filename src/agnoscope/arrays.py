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


def convolved(xp: Any, images: Any, kernel: Any, stride: int) -> Any:
    """Images convolved as networks do it, without padding: one product of matrices for each of the kernel's rows.

    Args:
        xp: the array namespace of `images`.
        images: shape (images, height, width, channels in).
        kernel: shape (height, width, channels in, channels out), no larger than the images.
        stride: step in both directions.

    Returns:
        Shape (images, rows, columns, channels out).
    """
    height, width, inputs, outputs = kernel.shape
    rows, columns = ((size - side) // stride for size, side in zip(images.shape[1:3], (height, width), strict=True))
    across = xp.concat([images[:, :, v : v + columns * stride + 1 : stride, :] for v in range(width)], axis=3)
    products = [
        xp.matmul(
            across[:, u : u + rows * stride + 1 : stride, :, :],
            xp.reshape(kernel[u, ...], (width * inputs, outputs)),
        )
        for u in range(height)
    ]
    return sum(products[1:], start=products[0])


def affine_samples(xp: Any, images: Any, maps: Any, size: tuple[int, int], beyond: float) -> Any:
    """Images sampled between their pixels, where affine maps say; bilinear.

    Args:
        xp: the array namespace of `images`.
        images: shape (images, height, width, channels).
        maps: shape (views, 2, 3), of the images' dtype: from a sample's (row, column, 1) to (row, column) in the image,
            in pixels from the centre of the first one.
        size: rows and columns of samples.
        beyond: the value of whatever lies outside the image.

    Returns:
        Shape (images · views, *size, channels), the views of an image side by side.
    """
    index, weight = affine_taps(xp, maps, images.shape[1:3], size)
    return weighted_samples(xp, images - beyond, index, weight, size) + beyond


def affine_taps(xp: Any, maps: Any, size: tuple[int, int], seen: tuple[int, int]) -> tuple[Any, Any]:
    """The four pixels between which each sample of an affine map lies.

    Args:
        xp: the array namespace of `maps`.
        maps: as those of `affine_samples`.
        size: height and width of the images.
        seen: rows and columns of samples.

    Returns:
        Numbers of pixels in the image, row by row, int32, and their weights, 0 for those that are not there; both of
        shape (views, 4, samples).
    """
    rows = xp.arange(seen[0], dtype=maps.dtype)[None, :, None]
    columns = xp.arange(seen[1], dtype=maps.dtype)[None, None, :]
    # A sample's distance from the pixel of its own number: small, and so precise.
    m = [[maps[:, i, j][:, None, None] for j in range(3)] for i in range(2)]
    down = (m[0][0] - 1) * rows + (m[0][1] * columns + m[0][2])
    across = m[1][0] * rows + ((m[1][1] - 1) * columns + m[1][2])
    vertical, horizontal = _taps(xp, rows, down, size[0]), _taps(xp, columns, across, size[1])
    pairs = [(v, h) for v in vertical for h in horizontal]
    index = xp.stack([v[0] * size[1] + h[0] for v, h in pairs], axis=1)
    weight = xp.stack([v[1] * h[1] for v, h in pairs], axis=1)
    return tuple(xp.reshape(each, (maps.shape[0], 4, -1)) for each in (index, weight))


def weighted_samples(xp: Any, images: Any, index: Any, weight: Any, seen: tuple[int, int]) -> Any:
    """Weighted sums of pixels of every image.

    Args:
        xp: the array namespace of `images`.
        images: shape (images, height, width, channels).
        index: numbers of pixels, row by row, shape (views, taps, samples).
        weight: of each, of the same shape.
        seen: rows and columns of samples.

    Returns:
        Shape (images · views, *seen, channels), the views of an image side by side.
    """
    count, height, width, depth = images.shape
    # Flat, and one tap at a time: frameworks send gradients back to single numbers the fastest, and to few at a time.
    flat = xp.reshape(images, (-1,))
    first = xp.arange(count, dtype=index.dtype) * (height * width * depth)
    inner = first[:, None, None, None] + xp.arange(depth, dtype=index.dtype)
    parts = []
    for tap in range(index.shape[1]):
        number = inner + (index[:, tap, :] * depth)[None, :, :, None]
        values = xp.reshape(xp.take(flat, xp.reshape(number, (-1,)), axis=0), number.shape)
        parts.append(values * weight[None, :, tap, :, None])
    return xp.reshape(sum(parts[1:], start=parts[0]), (-1, *seen, depth))


def _taps(xp: Any, own: Any, distance: Any, length: int) -> list[tuple[Any, Any]]:
    """The two pixels along an axis between which samples lie, and their weights: 0 for one that is not there."""
    floor = xp.floor(distance)
    share = distance - floor
    taps = []
    for offset, weight in ((0, 1 - share), (1, share)):
        pixel = own + floor + offset
        within = xp.clip(pixel, 0, length - 1)
        taps.append((xp.astype(within, xp.int32), xp.where(pixel == within, weight, xp.zeros_like(weight))))
    return taps
