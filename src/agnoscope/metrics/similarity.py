"""How alike are two explanations of the same image? One number per image, of maps of one shape."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import OptionError
from agnoscope.metrics.checks import checked_maps, checked_values, ratio

FLAT: Final = 1e-12
"""Values that span less than this share of their largest are constant but for rounding."""

WINDOW: Final = 7
"""Side of the square, in pixels, in which SSIM compares."""


def pearson(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    """Pearson's correlation.

    Args:
        a: shape (images, ...), such as maps (images, height, width).
        b: the same shape.

    Returns:
        Shape (images,), -1 to 1; NaN where either is constant.

    Raises:
        OptionError: the shapes differ, or a value is not finite.
    """
    left, right = (values.reshape(len(values), -1) for values in _pair(a, b))
    return _correlation(left, right)


def spearman(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    """Spearman's rank correlation; tied values share their mean rank.

    Args:
        a: shape (images, ...), such as maps (images, height, width).
        b: the same shape.

    Returns:
        Shape (images,), -1 to 1; NaN where either is constant.

    Raises:
        OptionError: the shapes differ, or a value is not finite.
    """
    from scipy.stats import rankdata

    left, right = (values.reshape(len(values), -1) for values in _pair(a, b))
    known = ~(_constant(left) | _constant(right))  # ranks would tell rounding errors apart
    return np.where(known, _correlation(rankdata(left, axis=1), rankdata(right, axis=1)), np.nan)


def ssim(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    """Structural similarity (Wang et al., IEEE Trans. Image Processing 2004), in windows of 7 × 7 pixels.

    Each map is first divided by its largest absolute value, so that zero stays zero and scale does not count. The
    data range is what both then span together. Where both maps keep one sign, SSIM does not see it: a map and its
    negative can be alike. So compare absolute maps.

    Args:
        a: shape (images, height, width), at least 7 × 7 pixels.
        b: the same shape.

    Returns:
        Shape (images,), at most 1; NaN where either map is zero everywhere, or both are constant and equal.

    Raises:
        OptionError: the shapes differ, the maps are smaller, or a value is not finite.
    """
    pair = _pair(checked_maps(a, "a"), checked_maps(b, "b"))
    if min(pair[0].shape[1:]) < WINDOW:
        raise OptionError(f"Maps of shape {pair[0].shape} are too small for SSIM: use {WINDOW} × {WINDOW} at least.")
    left, right = (ratio(maps, np.abs(maps).max(axis=(1, 2), keepdims=True)) for maps in pair)
    return np.array([_ssim(*one) for one in zip(left, right, strict=True)])


def _ssim(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    span = max(a.max(), b.max()) - min(a.min(), b.min())
    if not span > 0:  # NaN, too
        return np.nan
    from skimage.metrics import structural_similarity

    return float(structural_similarity(a, b, win_size=WINDOW, data_range=span))


def _pair(a: NDArray[Any], b: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    left, right = checked_values(a, "a"), checked_values(b, "b")
    if left.shape != right.shape:
        raise OptionError(f"Maps of shape {left.shape} cannot be compared with maps of shape {right.shape}.")
    return left, right


def _constant(rows: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.ptp(rows, axis=1) <= FLAT * np.abs(rows).max(axis=1)


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of rows; scaled first, since squares of small numbers vanish."""
    centred = []
    for values in (a, b):
        scaled = ratio(values, np.abs(values).max(axis=1, keepdims=True))
        away = scaled - scaled.mean(axis=1, keepdims=True)
        centred.append(
            np.where(_constant(values)[:, None], np.nan, ratio(away, np.linalg.norm(away, axis=1, keepdims=True)))
        )
    return np.clip((centred[0] * centred[1]).sum(axis=1), -1, 1)
