"""Occlusion: hide a part of the image and see how far the score falls. Needs no gradient."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import OptionError
from agnoscope.explainers.base import Attribution, Explainer, Progress, chunks
from agnoscope.model import Array, Model
from agnoscope.target import Bound, Formula

BLUR = 1 / 16
"""Standard deviation of the "blur" fill, as a share of the image's shorter side."""


@final
@dataclass(frozen=True)
class Occlusion(Explainer):
    """Occlusion sensitivity (Zeiler and Fergus, ECCV 2014).

    A window slides over the image and is filled; a pixel's value is the fall of the score, averaged over the
    windows that cover it. Positive values speak for the target. Windows at the right and lower edge are cut
    off there, so that every pixel is covered. The values have the shape (images, height, width).

    Attributes:
        window: side of the square in pixels, or (height, width); by default a seventh of the image's shorter
            side (32 of 224).
        stride: step in pixels, or (down, right); by default half the window, at least 1. At most the window.
        fill: what hides: "mean" (each channel's mean over the image), "blur" (the image, blurred by a sixteenth
            of its shorter side), one number, or one per channel, within the image's bounds.
    """

    name = "occlusion"
    reduction = "signed"

    window: int | tuple[int, int] | None = None
    stride: int | tuple[int, int] | None = None
    fill: str | float | tuple[float, ...] = "mean"

    def settle(self, model: Model, size: tuple[int, int]) -> Self:
        window = _pair("window", self.window if self.window is not None else max(1, round(min(size) / 7)))
        stride = _pair("stride", self.stride if self.stride is not None else tuple(max(1, w // 2) for w in window))
        if window[0] > size[0] or window[1] > size[1]:
            raise OptionError(f"The window {window} is larger than the image {size} (height, width): make it smaller.")
        if stride[0] > window[0] or stride[1] > window[1]:
            raise OptionError(f"The stride {stride} is larger than the window {window} and would leave gaps.")
        if isinstance(self.fill, str) and self.fill not in ("mean", "blur"):
            raise OptionError(f"fill={self.fill!r} is unknown: use 'mean', 'blur', a number or one per channel.")
        if not isinstance(self.fill, str):
            low, high = model.spec.bounds
            colour = _numbers(self.fill)
            if colour.shape not in ((1,), (model.spec.depth,)) or not ((low <= colour) & (colour <= high)).all():
                raise OptionError(
                    f"fill={self.fill!r} must be one number or {model.spec.depth}, within ({low:g}, {high:g})."
                )
        return replace(self, window=window, stride=stride)

    def attribute(
        self, model: Model, images: NDArray[Any], target: Bound, batch_size: int, progress: Progress
    ) -> Attribution:
        size = images.shape[1:3]
        windows = self.windows((size[0], size[1]))
        clean = model.compile(_score_program, target.formula)
        hidden = model.compile(_occlusion_program, target.formula)
        values = np.empty((len(images), *size))
        base = np.empty(len(images))
        outputs: list[Any] = []
        total = len(images) * len(windows)
        progress(0, total)
        for i, image in enumerate(images):
            found = clean(image[None], target.take(np.array([i])).arrays)
            base[i] = found["scores"][0]
            outputs.append(found.get("output"))
            # The question is settled on the clean image: a hidden part must not change which class is asked for.
            frozen = target.take(np.array([i])).freeze(outputs[-1], None)
            filling = self.filling(image)
            falls, covers = np.zeros(size), np.zeros(size)
            for rows, kept in chunks(len(windows), batch_size):
                arrays = frozen.take(np.zeros_like(rows)).arrays
                scores = hidden(image[None], filling[None], windows[rows], arrays)["scores"]
                for (top, bottom, left, right), score in zip(windows[rows[:kept]], scores, strict=False):
                    falls[top:bottom, left:right] += base[i] - score
                    covers[top:bottom, left:right] += 1
                progress(i * len(windows) + int(rows[kept - 1]) + 1, total)
            values[i] = falls / covers
        output = None if outputs[0] is None else np.concatenate(outputs)
        return Attribution(values, base, output)

    def windows(self, size: tuple[int, int]) -> NDArray[np.int32]:
        """Every window as (top, bottom, left, right), shape (windows, 4); the last ones end at the edge."""
        spans = [
            [(start, min(start + window, length)) for start in range(0, length - window + stride, stride)]
            for length, window, stride in zip(
                size, _pair("window", self.window), _pair("stride", self.stride), strict=True
            )
        ]
        return np.array([[*rows, *columns] for rows, columns in product(*spans)], dtype=np.int32)

    def filling(self, image: NDArray[Any]) -> NDArray[Any]:
        """The picture that shows through the window, of the image's shape."""
        if self.fill == "mean":
            return np.broadcast_to(image.mean(axis=(0, 1), dtype=np.float64), image.shape).astype(image.dtype)
        if self.fill == "blur":
            from skimage.filters import gaussian

            blurred = gaussian(image.astype(np.float64), min(image.shape[:2]) * BLUR, channel_axis=-1)
            return np.asarray(blurred).astype(image.dtype)
        return np.broadcast_to(np.asarray(self.fill), image.shape).astype(image.dtype)


def _numbers(given: Any) -> NDArray[np.float64]:
    """Numbers, or none at all where it holds something else."""
    try:
        return np.atleast_1d(np.asarray(given, dtype=np.float64))
    except (TypeError, ValueError):
        return np.empty(0)


def _pair(name: str, given: Any) -> tuple[int, int]:
    pair = tuple(given) if isinstance(given, list | tuple) else (given, given)
    if len(pair) != 2 or any(not isinstance(n, int | np.integer) or n < 1 for n in pair):
        raise OptionError(f"{name}={given!r} must be a number of pixels, at least 1, or (height, width).")
    return int(pair[0]), int(pair[1])


def _score_program(model: Model, formula: Formula, images: Array, arrays: Mapping[str, Any]) -> dict[str, Array]:
    values = model.run(images, formula.needs)
    output = {"output": values["scores"]} if "scores" in values else {}
    return {"scores": formula(model.xp, values, arrays), **output}


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
