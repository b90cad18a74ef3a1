"""The colours of photos as a mean and a covariance: taken, given to noise, and given to other photos."""

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from agnoscope.targets.features import moments

DEVIATION: Final = 0.1
"""Of the noise to begin with, as a share of the palette's; more of it is grain that stays."""

ROUNDING: Final = 1e-8
"""A variance of colours that is none, as a share of the mean square."""

Palette: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64]]
"""A mean colour, shape (channels,), and the symmetric root of a covariance of colours, (channels, channels)."""


def palette(photos: Sequence[NDArray[Any]], shares: Sequence[float]) -> Palette:
    """The colours of photos together.

    Args:
        photos: shape (1, height, width, channels) each.
        shares: of each.
    """
    found = [moments(np, photo.astype(np.float64)) for photo in photos]
    mean, covariance = (np.average([each[i][0] for each in found], axis=0, weights=shares) for i in (0, 1))
    values, vectors = np.linalg.eigh(covariance)
    # What rounding left of colours that a gray or plain photo has not must not be blown up.
    there = values > ROUNDING * (mean @ mean + values.sum())
    return mean, (vectors * np.sqrt(np.where(there, values, 0))) @ vectors.T


def coloured_noise(colours: Palette, size: tuple[int, int], seed: int) -> NDArray[Any]:
    """Noise about a mean colour, in the colours of a palette: a beginning that needs no repainting.

    Returns:
        Shape (1, *size, channels).
    """
    mean, root = colours
    return mean + DEVIATION * np.random.default_rng([seed, 2]).normal(size=(1, *size, len(mean))) @ root


def recoloured(photo: NDArray[Any], colours: Palette, bounds: tuple[float, float]) -> NDArray[Any]:
    """A photo whose colours have another mean and covariance (Gatys et al., CVPR 2017).

    Args:
        photo: shape (1, height, width, channels).
        colours: that it is to have.
        bounds: beyond which it is cut off.
    """
    (mean, root), (wanted, other) = palette([photo], [1.0]), colours
    return np.clip(wanted + (photo - mean) @ np.linalg.pinv(root, ROUNDING) @ other, *bounds).astype(photo.dtype)
