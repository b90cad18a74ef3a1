"""Occlusion: hide a part of the image and see how far the score falls. Needs no gradient."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.batches import chunks
from agnoscope.errors import OptionError
from agnoscope.explainers.base import Attribution, ImageByImage, OneImage
from agnoscope.explainers.fillings import Fill, check_fill, filling, hashable
from agnoscope.explainers.perturbation.incremental import scores_incrementally
from agnoscope.model import Model
from agnoscope.patches import Array
from agnoscope.target import Formula


@final
@dataclass(frozen=True)
class Occlusion(ImageByImage):
    """Occlusion sensitivity (Zeiler and Fergus, ECCV 2014).

    A window slides over the image and is filled; a pixel's value is the fall of the score, averaged over the
    windows that cover it. Positive values speak for the target. Windows at the right and lower edge are cut
    off there, so that every pixel is covered. The values have the shape (images, height, width).

    Attributes:
        window: side of the square in pixels, or (height, width); by default a seventh of the image's shorter
            side (32 of 224).
        stride: step in pixels, or (down, right); by default half the window, at least 1. At most the window.
        fill: what hides: "mean" (each channel's mean over the image), "blur", or whatever
            `agnoscope.explainers.fillings` knows.
    """

    name = "occlusion"
    reduction = "signed"

    window: int | tuple[int, int] | None = None
    stride: int | tuple[int, int] | None = None
    fill: Fill = "mean"

    def __post_init__(self) -> None:
        object.__setattr__(self, "fill", hashable(self.fill))

    def settle(self, model: Model, size: tuple[int, int]) -> Self:
        window = _pair("window", self.window if self.window is not None else max(1, round(min(size) / 7)))
        stride = _pair("stride", self.stride if self.stride is not None else tuple(max(1, w // 2) for w in window))
        if window[0] > size[0] or window[1] > size[1]:
            raise OptionError(f"The window {window} is larger than the image {size} (height, width): make it smaller.")
        if stride[0] > window[0] or stride[1] > window[1]:
            raise OptionError(f"The stride {stride} is larger than the window {window} and would leave gaps.")
        check_fill("fill", self.fill, model.spec, size)
        return replace(self, window=window, stride=stride)

    def looks(self, model: Model, size: tuple[int, int]) -> int:  # noqa: ARG002
        return len(self.windows(size))

    def attribute_one(self, one: OneImage) -> Attribution:
        windows = self.windows(one.size)
        shown = filling(self.fill, one.image, one.model.spec)
        scores = scores_incrementally(one, shown, windows)
        if scores is None:
            scores = _scores_in_full(one, shown, windows)
        falls, covers = np.zeros(one.size), np.zeros(one.size)
        for (top, bottom, left, right), score in zip(windows, scores, strict=True):
            falls[top:bottom, left:right] += one.score - score
            covers[top:bottom, left:right] += 1
        return Attribution(falls / covers, np.array(one.score))

    def windows(self, size: tuple[int, int]) -> NDArray[np.int32]:
        """Every window as (top, bottom, left, right), shape (windows, 4); the last ones end at the edge."""
        spans = [
            [(start, min(start + window, length)) for start in range(0, length - window + stride, stride)]
            for length, window, stride in zip(
                size, _pair("window", self.window), _pair("stride", self.stride), strict=True
            )
        ]
        return np.array([[*rows, *columns] for rows, columns in product(*spans)], dtype=np.int32)


def _pair(name: str, given: Any) -> tuple[int, int]:
    pair = tuple(given) if isinstance(given, list | tuple) else (given, given)
    if len(pair) != 2 or any(not isinstance(n, int | np.integer) or n < 1 for n in pair):
        raise OptionError(f"{name}={given!r} must be a number of pixels, at least 1, or (height, width).")
    return int(pair[0]), int(pair[1])


def _scores_in_full(one: OneImage, filling: NDArray[Any], windows: NDArray[np.int32]) -> NDArray[np.float64]:
    """The score with each window hidden, in a run of the whole network for each."""
    program = one.model.compile(_occlusion_program, one.target.formula)
    scores = np.empty(len(windows))
    for rows, kept in chunks(len(windows), one.batch_size):
        found = program(one.image[None], filling[None], windows[rows], one.arrays(len(rows)))["scores"]
        scores[rows[:kept]] = found[:kept]
        one.tick(int(rows[kept - 1]) + 1)
    return scores


def _occlusion_program(
    model: Model, formula: Formula, image: Array, filling: Array, windows: Array, arrays: Mapping[str, Any]
) -> dict[str, Array]:
    xp = model.xp
    _, height, width, depth = image.shape
    # Rows of width × channels numbers: a mask that must be spread over the channels costs more than the network's
    # first layers.
    rows = xp.arange(height, dtype=windows.dtype)[None, :, None]
    columns = xp.arange(width * depth, dtype=windows.dtype)[None, None, :]
    top, bottom, left, right = (windows[:, i][:, None, None] for i in range(4))
    inside_rows = xp.logical_and(rows >= top, rows < bottom)
    inside_columns = xp.logical_and(columns >= left * depth, columns < right * depth)
    inside = xp.logical_and(inside_rows, inside_columns)
    flat = xp.where(inside, *(xp.reshape(picture, (1, height, width * depth)) for picture in (filling, image)))
    images = xp.reshape(flat, (windows.shape[0], height, width, depth))
    return {"scores": formula(xp, model.run(images, formula.needs), arrays)}
