"""Extremal perturbation: the part of the image, of a given area, that by itself excites the target the most.

A mask of few cells is smoothed, enlarged and laid over the image; where it is 0 the image is blurred. Gradient steps
move the mask to a high score, while a growing force pulls it to ones on the given share of the image and zeros
elsewhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil
from typing import Any, Final, Literal, Self, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.arrays import resize_matrix
from agnoscope.batches import chunks
from agnoscope.errors import OptionError
from agnoscope.explainers.base import Attribution, Explainer, Progress, score_program
from agnoscope.explainers.fillings import blurred
from agnoscope.explainers.options import share, whole
from agnoscope.model import Model
from agnoscope.patches import Array
from agnoscope.target import Bound, Formula
from agnoscope.targets.classes import pick

LEVELS: Final = 8
"""Of the pyramid, from the blurred image to the image itself."""
BLUR: Final = 20 / 224
"""Standard deviation of the strongest blur, as a share of the image's shorter side."""
BELL: Final = 1.5
"""Standard deviation, in cells, of the bell that a single cell of the mask makes."""
REACH: Final = 5
"""How many cells that bell reaches; there it has 0.4 % of its height."""
COLDNESS: Final = 20.0
"""How near the smooth maximum comes to the maximum."""
RATE, HIGHEST, MOMENTUM = 0.01, 0.1, 0.9
"""Of the gradient steps on 1024 cells: their rate when there are 800, the highest when there are fewer, momentum."""
TIE: Final = 1e-5
"""Places that differ by no more tie: what is alike by symmetry is not told apart by rounding."""
PULL, GROWTH = 300.0, 1.0035**800
"""How strongly the area is asked for at first, and how many times as strongly in the end."""


@final
@dataclass(frozen=True)
class ExtremalPerturbation(Explainer):
    """Extremal perturbation (Fong, Patrick and Vedaldi, ICCV 2019).

    The values are the mask, from 0 to 1, shape (images, height, width): the part of the image that keeps the score
    highest by itself ("preserve"), or without which it is lowest ("delete"). The extra "perturbed" is the score of the
    image so perturbed, shape (images, areas). The numbers are those of the authors' TorchRay.

    Simplified: the paper's smooth max-convolution makes the mask at every pixel. Here it makes it at every cell, by a
    Gaussian along columns and then rows, and the mask is enlarged from there bilinearly. The area is counted in cells,
    of which those that tie share what is left; what the mask would cover beyond the edge counts as well. Images are not
    mirrored in every other step, as TorchRay does: a target may have a place.

    The search is no convex one: in float32 two frameworks may end at different masks of similar scores.

    Attributes:
        area: share of the image that the mask may cover, between 0 and 1; for a tuple of shares the values are the mean
            of their masks.
        variant: "preserve" or "delete".
        steps: how many gradient steps. TorchRay takes 800; fewer are made larger, up to ten times.
        cell: side of the mask's cells in pixels; by default a 32nd of the image's shorter side (7 of 224), at least 1.
    """

    name = "extremal-perturbation"
    reduction = "positive"

    area: float | tuple[float, ...] = 0.1
    variant: Literal["preserve", "delete"] = "preserve"
    steps: int = 300
    cell: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.area, list | np.ndarray):
            object.__setattr__(self, "area", tuple(self.area))

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"gradient"})

    @property
    def areas(self) -> tuple[float, ...]:
        """The areas asked for, one or several."""
        return self.area if isinstance(self.area, tuple) else (self.area,)

    def settle(self, model: Model, size: tuple[int, int]) -> Self:  # noqa: ARG002
        if not self.areas:
            raise OptionError("area=() holds no area: give a share of the image, such as 0.1.")
        for area in self.areas:
            share("area", area)
        if self.variant not in ("preserve", "delete"):
            raise OptionError(f"variant={self.variant!r} is unknown: use 'preserve' or 'delete'.")
        whole("steps", self.steps)
        cell = whole("cell", max(1, round(min(size) / 32)) if self.cell is None else self.cell)
        if cell > min(size):
            raise OptionError(f"cell={cell} is more than the image {size} has pixels: make it smaller.")
        return replace(self, cell=cell)

    def attribute(
        self, model: Model, images: NDArray[Any], target: Bound, batch_size: int, progress: Progress
    ) -> Attribution:
        clean = model.compile(score_program, target.formula)
        runs = [clean(images[i : i + 1], target.take(np.array([i])).arrays) for i in range(len(images))]
        found = {name: np.concatenate([run[name] for run in runs]) for name in runs[0]}
        frozen = target.freeze(found.get("output"), None)
        # One mask for each area of each image, all of them side by side: gradients of different masks never meet.
        owners = np.repeat(np.arange(len(images)), len(self.areas))
        areas = np.tile(self.areas, len(images))
        masks, perturbed = np.empty((len(owners), *images.shape[1:3])), np.empty(len(owners))
        progress(0, len(owners) * self.steps)
        for rows, kept in chunks(len(owners), batch_size):
            mine = owners[rows]
            done = int(rows[0]) * self.steps
            end = self.optimised(
                model,
                np.stack([climb(pyramid(images[i])) for i in mine]),
                frozen.take(mine),
                areas[rows],
                lambda step, done=done, kept=kept: progress(done + step * kept, len(owners) * self.steps),
            )
            masks[rows[:kept]], perturbed[rows[:kept]] = end["mask"][:kept], end["score"][:kept]
        shape = (len(images), len(self.areas))
        values = masks.reshape(*shape, *masks.shape[1:]).mean(axis=1)
        return Attribution(values, found["scores"], found.get("output"), {"perturbed": perturbed.reshape(shape)})

    def optimised(
        self, model: Model, climbs: NDArray[Any], target: Bound, areas: NDArray[Any], tick: Any
    ) -> dict[str, NDArray[Any]]:
        """The best "mask" for each climb through a pyramid, shape (masks, height, width), and its "score"."""
        step = model.compile(_step_program, (self.variant, target.formula))
        _, _, height, width, _ = climbs.shape
        cells = np.ones((len(climbs), ceil(height / self.cell), ceil(width / self.cell)), climbs.dtype)
        velocity = np.zeros_like(cells)
        pulls = PULL * GROWTH ** (np.arange(self.steps) / self.steps)
        rate = np.array(min(RATE * 800 / self.steps, HIGHEST) * cells[0].size / 1024)
        for i, pull in enumerate(pulls):
            moved = step(cells, velocity, climbs, areas, np.array(pull), rate, target.arrays)
            cells, velocity = moved["cells"], moved["velocity"]
            tick(i + 1)
        return model.compile(_look_program, (self.variant, target.formula))(cells, climbs, target.arrays)


def pyramid(image: NDArray[Any]) -> NDArray[Any]:
    """The image blurred less and less, shape (levels, height, width, channels); the last one is the image itself."""
    strongest = BLUR * min(image.shape[:2])
    weaker = [blurred(image, strongest * (1 - level / (LEVELS - 1))) for level in range(LEVELS - 1)]
    return np.stack([*weaker, image]).astype(image.dtype)


def climb(levels: NDArray[Any]) -> NDArray[Any]:
    """What a climb through a pyramid is a sum of: height t gives f[0] + t f[1] + Σ |t − i| f[i + 1] for 0 < i < last.

    A line with bends at whole numbers is such a sum: half of each bend times the distance from it. It costs one product
    per level, and its gradient at a bend is the mean of both sides.
    """
    slopes = np.diff(levels, axis=0)
    bends = np.diff(slopes, axis=0) / 2
    start = levels[0] - np.tensordot(np.arange(1, len(bends) + 1), bends, 1)
    return np.stack([start, (slopes[0] + slopes[-1]) / 2, *bends]).astype(levels.dtype)


def _step_program(
    model: Model,
    static: tuple[str, Formula],
    cells: Array,
    velocity: Array,
    climbs: Array,
    areas: Array,
    pull: Array,
    rate: Array,
    arrays: Mapping[str, Any],
) -> dict[str, Array]:
    xp, (variant, formula) = model.xp, static
    count = cells.shape[1] * cells.shape[2]
    wanted = _largest(xp, _smoothed(xp, cells), areas * count)

    def energy(leaves: Mapping[str, Array]) -> tuple[Array, Any]:
        mask = _smoothed(xp, leaves["cells"])
        images = _perturbed(xp, mask, climbs, variant)
        scores = formula(xp, model.run(images, formula.needs), arrays)
        missed = xp.sum(xp.square(mask - wanted), axis=(1, 2)) / count
        return xp.sum((scores if variant == "preserve" else -scores) - pull * missed), {}

    _, slopes = model.value_and_grad(energy)({"cells": cells})
    velocity = MOMENTUM * velocity + (1 - MOMENTUM) * slopes["cells"]
    return {"cells": xp.clip(cells + rate * velocity, 0, 1), "velocity": velocity}


def _look_program(
    model: Model, static: tuple[str, Formula], cells: Array, climbs: Array, arrays: Mapping[str, Any]
) -> dict[str, Array]:
    xp, (variant, formula) = model.xp, static
    mask = _smoothed(xp, cells)
    images = _perturbed(xp, mask, climbs, variant)
    scores = formula(xp, model.run(images, formula.needs), arrays)
    return {"mask": _enlarged(xp, mask, climbs.shape[2], climbs.shape[3], 1), "score": scores}


def _smoothed(xp: Any, cells: Array) -> Array:
    """The cells under a smooth max-convolution with a Gaussian, first along columns, then along rows.

    It goes on beyond the image as far as a bell reaches, so that the area of a bell is the same at the edge.
    """
    down, across = (xp.asarray(_bell(count), dtype=cells.dtype) for count in cells.shape[1:])
    tall = _smooth_max(xp, down[None, :, :, None] * cells[:, None, :, :], axis=2)
    return _smooth_max(xp, across[None, None, :, :] * tall[:, :, None, :], axis=3)


def _smooth_max(xp: Any, values: Array, axis: int) -> Array:
    powers = xp.exp(COLDNESS * values)
    return xp.sum(values * powers, axis=axis) / xp.sum(powers, axis=axis)


@lru_cache(maxsize=64)
def _bell(count: int) -> NDArray[np.float64]:
    """How much each cell gives to each place along an axis, shape (count + 2 · REACH, count); all of it to its own."""
    distance = np.arange(-REACH, count + REACH)[:, None] - np.arange(count)[None, :]
    return np.asarray(np.exp(-0.5 * (distance / BELL) ** 2))


def _largest(xp: Any, mask: Array, counts: Array) -> Array:
    """Ones where the mask is largest, so many as asked for, and zeros elsewhere; places that tie share what is left."""
    flat = xp.reshape(mask, (mask.shape[0], -1))
    last = pick(xp, xp.sort(flat, axis=1, descending=True), xp.floor(counts))[:, None]
    larger, equal = (xp.astype(found, flat.dtype) for found in (flat > last + TIE, xp.abs(flat - last) <= TIE))
    left = counts[:, None] - xp.sum(larger, axis=1, keepdims=True)
    return xp.reshape(larger + equal * left / xp.sum(equal, axis=1, keepdims=True), mask.shape)


def _perturbed(xp: Any, mask: Array, climbs: Array, variant: str) -> Array:
    """The images, less and less blurred as the mask goes from 0 to 1: linear between the levels of their pyramids."""
    count, levels, height, width, depth = climbs.shape
    # Rows of width × channels numbers: a mask that must be spread over the channels costs much.
    flat = xp.reshape(climbs, (count, levels, height, width * depth))
    climbed = (levels - 1) * _enlarged(xp, mask if variant == "preserve" else 1 - mask, height, width, depth)
    images = flat[:, 0, :, :] + climbed * flat[:, 1, :, :]
    for i in range(1, levels - 1):
        images = images + xp.abs(climbed - i) * flat[:, i + 1, :, :]
    return xp.reshape(images, (count, height, width, depth))


def _enlarged(xp: Any, mask: Array, height: int, width: int, depth: int) -> Array:
    """The mask in the image's size, shape (masks, height, width · depth), each number `depth` times in a row."""
    mask = mask[:, REACH:-REACH, REACH:-REACH]
    down = xp.asarray(resize_matrix(mask.shape[1], height), dtype=mask.dtype)
    across = xp.asarray(np.repeat(resize_matrix(mask.shape[2], width), depth, axis=0).T, dtype=mask.dtype)
    return xp.matmul(xp.matmul(down, mask), across)
