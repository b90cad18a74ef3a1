"""A penalty on what lies along the border of an image.

Networks see their own padding there, and steps put there what means nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.explainers.options import whole
from agnoscope.optimisation.canvas import Canvas
from agnoscope.optimisation.regularisers import Penalty
from agnoscope.patches import Array

BOXES: Final = (5, 3)
"""Sides in pixels of the two windows whose sums make up Lucid's blur."""


@final
@dataclass(frozen=True)
class PlainBorder(Penalty):
    """How far a border is from its own blur, and, times 0.8, from gray; both squared (Lucid, 2018).

    Pixels further inside count as 0, and the mean is over the whole image.

    Attributes:
        width: of the border in pixels.

    Raises:
        OptionError: an option is out of range.
    """

    name = "plain border"

    width: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("width", self.width)

    def __call__(self, xp: Any, canvas: Canvas, images: Array, values: Mapping[str, Array]) -> Array:  # noqa: ARG002
        planes = xp.permute_dims((images - canvas.middle) * (2 / canvas.span), (0, 3, 1, 2))
        blurred = 0
        for box in BOXES:
            down, across = (xp.asarray(_sums(side, box), dtype=images.dtype) for side in canvas.size)
            blurred = blurred + xp.matmul(xp.matmul(down, planes), across)
        blurred = blurred / xp.asarray(_counts(canvas.size), dtype=images.dtype)
        within = xp.asarray(_border(canvas.size, self.width), dtype=images.dtype)
        return xp.mean((xp.square(blurred - planes) + 0.8 * xp.square(planes)) * within, axis=(1, 2, 3))


@lru_cache(maxsize=32)
def _sums(side: int, box: int) -> NDArray[np.float64]:
    """The matrix that adds up each pixel and its neighbours along a side, shape (side, side), symmetric."""
    place = np.arange(side)
    return (np.abs(place[:, None] - place) <= box // 2).astype(np.float64)


@lru_cache(maxsize=32)
def _counts(size: tuple[int, int]) -> NDArray[np.float64]:
    """How many pixels of both windows lie within the image, shape (height, width)."""
    return sum(np.outer(*(_sums(side, box).sum(axis=1) for side in size)) for box in BOXES)


def _border(size: tuple[int, int], width: int) -> NDArray[np.bool_]:
    """Which pixels lie within so many of an edge, shape (height, width)."""
    from_edge = (np.minimum(np.arange(side), side - 1 - np.arange(side)) for side in size)
    return np.minimum(*np.ix_(*from_edge)) < width
