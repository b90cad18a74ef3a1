"""Noise on images, drawn on the host in float32, so that every framework and dtype sees the same numbers."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import OptionError


def check_noise(samples: Any, noise: Any) -> None:
    """Refuse a number of samples or an amount of noise that makes no sense.

    Raises:
        OptionError: `samples` is no whole number above 0, or `noise` is negative or not finite.
    """
    if not isinstance(samples, int) or samples < 1:
        raise OptionError(f"samples={samples!r} must be a whole number, at least 1.")
    if not isinstance(noise, int | float) or not 0 <= noise < np.inf:
        raise OptionError(f"noise={noise!r} must be a finite number, 0 or above: a standard deviation.")


def contrast(image: NDArray[Any]) -> float:
    """The image's own range of values: its highest less its lowest."""
    return float(image.max() - image.min())


def normals(rng: np.random.Generator, deviation: float, shape: tuple[int, ...], count: int) -> NDArray[np.float32]:
    """Normal noise for `count` images, shape (count, *shape): the same numbers, however they are cut into chunks."""
    drawn = rng.standard_normal((count, *shape), dtype=np.float32)
    drawn *= np.float32(deviation)
    return drawn
