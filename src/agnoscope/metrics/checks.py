"""What every metric asks of its arrays before it counts, and how it divides."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from agnoscope.errors import OptionError


def checked_maps(maps: NDArray[Any], name: str = "maps") -> NDArray[np.float64]:
    """Maps in float64, one per image.

    Args:
        maps: shape (images, height, width), finite; any scale.
        name: of the argument, for the error.

    Raises:
        OptionError: the shape is another one, something is empty, or a value is NaN or infinite.
    """
    found = checked_values(maps, name)
    if found.ndim != 3:
        raise OptionError(
            f"{name} of shape {found.shape} must have the shape (images, height, width): "
            "take `explanation.maps()`, or add a leading axis to a single map."
        )
    return found


def checked_values(values: NDArray[Any], name: str) -> NDArray[np.float64]:
    """Numbers in float64 with the images as leading axis, of any further shape.

    Raises:
        OptionError: they are no numbers, something is empty, or a value is NaN or infinite.
    """
    found = np.asarray(values)
    if found.dtype.kind not in "biuf" or found.ndim < 2 or not found.size:
        raise OptionError(
            f"{name} of shape {found.shape} and dtype {found.dtype} must be numbers, with the images as leading axis."
        )
    if not np.isfinite(found).all():
        bad = np.flatnonzero(~np.isfinite(found).reshape(len(found), -1).all(axis=1))
        raise OptionError(f"{name} hold NaN or infinity for image {bad[0] + 1} of {len(found)}: leave that image out.")
    return found.astype(np.float64)


def checked_masks(masks: NDArray[Any], shape: tuple[int, ...], name: str = "masks") -> NDArray[np.bool_]:
    """Masks of one shape.

    Raises:
        OptionError: the shape is another one, or the masks are not boolean.
    """
    found = np.asarray(masks)
    if found.shape != shape:
        raise OptionError(f"{name} of shape {found.shape} must have the shape {shape}, as the maps do.")
    if found.dtype != np.bool_:
        raise OptionError(f"{name} of dtype {found.dtype} must be boolean: write `{name} > 0`, or another threshold.")
    return found


def checked_images(images: NDArray[Any], maps: NDArray[Any]) -> NDArray[np.floating[Any]]:
    """Images of a network, in their own dtype, as many and as large as the maps.

    Args:
        images: shape (images, height, width, channels), floats in the network's bounds.
        maps: shape (images, height, width, ...).

    Raises:
        OptionError: the images are no floats, not finite, or do not fit the maps.
    """
    found = np.asarray(images)
    if found.ndim != 4 or found.dtype.kind != "f" or not np.isfinite(found).all():
        raise OptionError(
            f"images of shape {found.shape} and dtype {found.dtype} must be finite floats of the shape "
            "(images, height, width, channels), as the network takes them."
        )
    if found.shape[:3] != maps.shape[:3]:
        raise OptionError(f"images of shape {found.shape} do not fit maps of shape {maps.shape}: explain these images.")
    return found


def check_bounds(images: NDArray[Any], bounds: tuple[float, float] | None) -> None:
    """Refuse bounds that are not those of the images.

    Raises:
        OptionError: a pixel lies beyond them.
    """
    if bounds is not None and not ((bounds[0] <= images) & (images <= bounds[1])).all():
        raise OptionError(f"The images leave the bounds {bounds}: give the network's own, or None.")


def ratio(part: ArrayLike, whole: ArrayLike) -> NDArray[np.float64]:
    """The quotient in float64; NaN where the whole is zero."""
    above, below = np.broadcast_arrays(np.asarray(part, np.float64), np.asarray(whole, np.float64))
    return np.divide(above, below, out=np.full(below.shape, np.nan), where=below != 0)
