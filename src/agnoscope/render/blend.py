"""A map over its photo, with the photo readable below.

The photo goes toward gray, so that colour belongs to the map alone, and a map covers it the more the larger its
values are: where nothing was found, the photo shows.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agnoscope.render.colour import Scale, paint, table

ALPHA: Final = 0.8
GRAY: Final = 0.85
# A little below 1, so that middling values are well seen; lower still, noise around 0 would be a haze.
RISE: Final = 0.85
# Of red, green and blue in brightness, by ITU-R BT.601.
LUMA: Final = (0.299, 0.587, 0.114)


def fitted(photo: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """A photo at the size at which it is shown.

    Args:
        photo: uint8, shape (height, width, 3).
        side: the longer side of the result in pixels.
    """
    from PIL import Image

    height, width = photo.shape[:2]
    factor = side / max(height, width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(Image.fromarray(np.ascontiguousarray(photo)).resize(size, Image.Resampling.LANCZOS))


def resized(values: NDArray[Any], size: tuple[int, int], *, smooth: bool = True) -> NDArray[np.float64]:
    """A map at another size, stretched to its proportions.

    Args:
        values: shape (height, width).
        size: height and width in pixels.
        smooth: bilinear with half-pixel centres, and antialiased along an axis that shrinks; otherwise every
            value becomes a rectangle of its own.
    """
    from skimage.transform import resize

    shrinks = any(new < old for new, old in zip(size, values.shape, strict=True))
    order = 1 if smooth or shrinks else 0
    result: NDArray[np.float64] = resize(
        np.asarray(values, dtype=np.float64), size, order=order, mode="edge", anti_aliasing=shrinks
    )
    return result


def muted(photo: NDArray[np.uint8], gray: float = GRAY) -> NDArray[np.float64]:
    """A photo with part of its colour taken away: all of it where `gray` is 1; floats from 0 to 255."""
    below: NDArray[np.float64] = photo + gray * ((photo @ LUMA)[..., None] - photo)
    return below


def overlaid(
    photo: NDArray[np.uint8],
    values: NDArray[Any],
    scale: Scale,
    colours: NDArray[np.uint8],
    *,
    alpha: float = ALPHA,
    constant: bool = False,
    gray: float = GRAY,
) -> NDArray[np.uint8]:
    """Lay a map over a photo.

    Args:
        photo: uint8, shape (height, width, 3).
        values: a map of any size, stretched over the photo.
        scale: of the values.
        colours: as `agnoscope.render.colour.table` gives them.
        alpha: how much the largest value covers, from 0 (nothing) to 1 (all).
        constant: whether all values cover as much as the largest; otherwise 0 covers nothing.
        gray: how much of the photo's colour is taken away, from 0 to 1.

    Returns:
        uint8, of the photo's shape.
    """
    stretched = resized(values, photo.shape[:2])
    cover = np.full(stretched.shape, alpha) if constant else alpha * np.abs(scale.share(stretched)) ** RISE
    below = muted(photo, gray)
    return np.rint(below + cover[..., None] * (paint(stretched, scale, colours) - below)).astype(np.uint8)


def booked(photo: NDArray[np.uint8], values: NDArray[Any], scale: Scale) -> NDArray[np.uint8]:
    """Lay a map over a photo as F. Chollet's book does ("Visualizing heatmaps of class activation", 2nd edition).

    The sum of the photo and 0.4 times the map in the colours "jet" is moved and stretched to 0 … 255.

    Args:
        photo: uint8, shape (height, width, 3).
        values: a map of any size, stretched over the photo.
        scale: of the values.

    Returns:
        uint8, of the photo's shape.
    """
    heat = (255 * scale.position(resized(values, photo.shape[:2]))).astype(np.uint8)
    total = table("matlab:jet", steps=256)[heat] * 0.4 + photo
    total -= total.min()
    stretched: NDArray[np.uint8] = (255 * (total / max(total.max(), 1e-9))).astype(np.uint8)
    return stretched
