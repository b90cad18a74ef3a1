"""How a metric asks a network: batches of perturbed images in, one score per image out.

A metric never sees the network. It is given a function of images, and the number of the original that each of them
was made of, so that every image is asked about its own class:

    def scores(images, owners):
        return network(images)[np.arange(len(images)), classes[owners]]
"""

from collections.abc import Callable, Iterator
from math import ceil
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import NonFiniteError, OptionError

Scores: TypeAlias = Callable[[NDArray[Any], NDArray[np.intp]], NDArray[Any]]
"""From images (batch, height, width, channels) and their owners (batch,) to scores (batch,).

Within one metric every batch has the same length, so that a compiling framework compiles once.
"""

Fill: TypeAlias = float | str | NDArray[Any]
"""What stands where a pixel was removed: "mean", "blur", a number, or an array that spreads over the images."""

BLUR_SIGMA: Final = 5.0
BLUR_RADIUS: Final = 5
"""The "blur" fill in pixels: standard deviation and reach, a kernel of 11 × 11 (Petsiuk, Das and Saenko, BMVC 2018)."""


def batches(count: int, size: int) -> Iterator[NDArray[np.intp]]:
    """Numbers 0 to `count` - 1 in batches of one length, at most `size`; the last number repeats to fill the last one.

    Raises:
        OptionError: `size` is below 1.
    """
    if size < 1:
        raise OptionError(f"batch_size={size} must be at least 1.")
    even = ceil(count / ceil(count / size))
    for start in range(0, count, even):
        yield np.minimum(np.arange(start, start + even), count - 1)


def asked(scores: Scores, images: NDArray[Any], owners: NDArray[np.intp]) -> NDArray[np.float64]:
    """The scores of one batch, in float64.

    Raises:
        OptionError: the function does not give one score per image.
        NonFiniteError: a score is NaN or infinite.
    """
    found = np.asarray(scores(images, owners), dtype=np.float64)
    if found.shape != owners.shape:
        raise OptionError(f"scores gave the shape {found.shape} for {len(owners)} images: it must give one per image.")
    if not np.isfinite(found).all():
        bad = owners[~np.isfinite(found)][0]
        raise NonFiniteError(f"The score of a perturbed image {bad + 1} is NaN or infinite: look at the network there.")
    return found


def scored(
    scores: Scores, perturb: Callable[[NDArray[np.intp]], NDArray[Any]], owners: NDArray[np.intp], batch_size: int
) -> NDArray[np.float64]:
    """The score of every perturbed image; no more than one batch of them exists at a time.

    Args:
        scores: of perturbed images.
        perturb: makes the perturbed images with these numbers.
        owners: of each perturbed image, the number of its original.
        batch_size: how many to make and to score at once.

    Raises:
        OptionError, NonFiniteError: as `batches` and `asked` do.
    """
    found = np.empty(len(owners))
    for rows in batches(len(owners), batch_size):
        found[rows] = asked(scores, perturb(rows), owners[rows])
    return found


def filling(images: NDArray[Any], fill: Fill) -> NDArray[Any]:
    """What stands where pixels are removed, in the images' shape and dtype.

    Args:
        images: shape (images, height, width, channels).
        fill: "mean" (each channel's mean over the image), "blur" (the image, blurred by 5 pixels), one number, or
            an array: (channels,), (height, width, channels) or the images' own shape.

    Raises:
        OptionError: the word is unknown, or the numbers do not spread over the images or are not finite.
    """
    if isinstance(fill, str):
        if fill == "mean":
            mean = images.mean(axis=(1, 2), keepdims=True, dtype=np.float64)
            return np.broadcast_to(mean, images.shape).astype(images.dtype)
        if fill == "blur":
            from scipy.ndimage import gaussian_filter

            blurred = gaussian_filter(images.astype(np.float64), BLUR_SIGMA, radius=BLUR_RADIUS, axes=(1, 2))
            return np.asarray(blurred).astype(images.dtype)
        raise OptionError(f"fill={fill!r} is unknown: use 'mean', 'blur', a number or an array.")
    try:
        found = np.broadcast_to(np.asarray(fill, dtype=np.float64), images.shape)
    except (TypeError, ValueError):
        raise OptionError(
            f"fill of shape {np.shape(fill)} does not spread over images of shape {images.shape}: use one number, "
            "one per channel, or a picture."
        ) from None
    if not np.isfinite(found).all():
        raise OptionError("fill holds NaN or infinity: use finite numbers.")
    return found.astype(images.dtype)
