"""Photos at a size that a network takes, for methods that begin from them."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agnoscope.arrays import resize_matrix
from agnoscope.errors import ModelError
from agnoscope.explainers.options import whole
from agnoscope.explainers.synthesis.sizes import size_of
from agnoscope.images import Batch, ImageLike, load
from agnoscope.model import Model
from agnoscope.target import Bound
from agnoscope.targets.features import features_of

LONGEST: Final = 1024
"""The longer side of a photo that is taken as it is, in pixels; a larger one is made smaller unless a size is given."""

GRIDS: Final = (8, 16, 32)
"""Many networks take sizes that are multiples of one of these only."""


def photos_of(model: Model, images: ImageLike, size: Any = None) -> Batch:
    """Photos at the size asked for, or at the one nearest to their own that the network takes.

    Args:
        model: the network.
        images: one photo, or several; of one size unless height and width are given.
        size: the longer side in pixels, the proportions kept, or height and width, which float arrays must have; None
            is the photo's own size, at most 1024 on the longer side, else the nearest one of multiples of 8, 16 or 32,
            else the network's own.

    Raises:
        ImageError: an image cannot be read or does not fit.
        ModelError: the network cannot take this size; says which ones it takes.
        OptionError: the size is none.
    """
    if isinstance(size, tuple | list):
        check_size(model, wanted := size_of(model, size))
        return load(images, replace(model.spec, size=wanted), model.dtype)
    batch = load(images, replace(model.spec, size=None), model.dtype)
    own = batch.images.shape[1:3]
    if size is None:
        near = next((each for each in _near(model, _within(own, LONGEST)) if takes(model, each)), None)
        wanted = near or size_of(model, None)
    else:
        check_size(model, wanted := _scaled(own, whole("size", size)))
    return replace(batch, images=resized(batch.images, wanted))


def settled(model: Model, bound: Bound, images: NDArray[Any]) -> Bound:
    """A question with what the network chooses by itself settled for the photos that it begins from, such as "top-1".

    Args:
        model: the network.
        bound: the question, bound to as many images.
        images: shape (images, height, width, channels), in the network's bounds.
    """
    if "scores" not in bound.needs:
        return bound
    return bound.freeze(features_of(model, images, ("scores",))["scores"], model.labels)


def takes(model: Model, size: tuple[int, int]) -> bool:
    """Whether the network runs on images of this height and width."""
    try:
        model.outline(size)
    except ModelError:
        return False
    return True


def check_size(model: Model, size: tuple[int, int]) -> None:
    """Refuse a size that the network cannot take.

    Raises:
        ModelError: it cannot; says which sizes near it, or of its own, it takes.
    """
    try:
        model.outline(size)
    except ModelError as error:
        known = [each for each in dict.fromkeys(_near(model, size)) if takes(model, each)]
        told = ", ".join(f"{height} × {width}" for height, width in known) or "none"
        raise ModelError(
            f"The network cannot take images of {size[0]} × {size[1]} pixels; of those near it, it takes {told}: give "
            "size=, or none for the size that suits the photo."
        ) from error


def resized(images: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Images at another size, bilinearly; where they shrink every pixel counts.

    Args:
        images: shape (images, height, width, channels).
        size: height and width wanted.

    Returns:
        Shape (images, *size, channels), of the same dtype.
    """
    if images.shape[1:3] == size:
        return images
    rows, columns = (
        resize_matrix(before, after).astype(images.dtype) for before, after in zip(images.shape[1:3], size, strict=True)
    )
    planes = rows @ images.transpose(0, 3, 1, 2) @ columns.T
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1))


def _near(model: Model, size: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Sizes that the network may take: this one, the nearest multiples, and its own."""
    yield size
    for grid in GRIDS:
        height, width = (max(grid, round(side / grid) * grid) for side in size)
        yield height, width
    if model.spec.size is not None:
        yield model.spec.size


def _within(size: tuple[int, int], longest: int) -> tuple[int, int]:
    return size if max(size) <= longest else _scaled(size, longest)


def _scaled(size: tuple[int, int], longer: int) -> tuple[int, int]:
    """The same proportions with this longer side."""
    height, width = (max(1, round(side * longer / max(size))) for side in size)
    return height, width
