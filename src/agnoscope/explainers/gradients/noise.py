"""Noise on images, drawn on the host in float32, so that every framework and dtype sees the same numbers."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agnoscope.explainers.options import positive, whole


def check_noise(samples: Any, noise: Any) -> None:
    """Refuse a number of samples or an amount of noise that makes no sense.

    Raises:
        OptionError: `samples` is no whole number above 0, or `noise` is negative or not finite.
    """
    whole("samples", samples)
    positive("noise", noise, or_zero=True)


def contrast(image: NDArray[Any]) -> float:
    """The image's own range of values: its highest less its lowest."""
    return float(image.max() - image.min())


def normals(rng: np.random.Generator, deviation: float, shape: tuple[int, ...], count: int) -> NDArray[np.float32]:
    """Normal noise for `count` images, shape (count, *shape): the same numbers, however they are cut into chunks."""
    drawn = rng.standard_normal((count, *shape), dtype=np.float32)
    drawn *= np.float32(deviation)
    return drawn
