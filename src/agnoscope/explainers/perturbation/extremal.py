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
from agnoscope.errors import OptionError
from agnoscope.explainers.base import Attribution, Explainer, Progress, score_program
from agnoscope.explainers.batches import chunks
from agnoscope.explainers.fillings import blurred
from agnoscope.explainers.perturbation.options import share, whole
from agnoscope.model import Array, Model
from agnoscope.target import Bound, Formula
from agnoscope.targets.classes import pick

LEVELS: Final = 8
"""Of the pyramid, from the blurred image to the image itself."""
BLUR: Final = 20 / 224
"""Standard deviation of the strongest blur, as a share of the image's shorter side."""
BELL: Final = 1.5
"""Standard deviation, in cells, of the bell that a single cell of the mask makes."""
REACH: Final = 5
"""How many cells that bell reaches; beyond lie less than 0.4 % of its height."""
COLDNESS: Final = 20.0
"""How near the smooth maximum comes to the maximum."""
RATE, MOMENTUM = 0.01, 0.9
"""Of the gradient steps, when there are 800."""
PULL, GROWTH = 300.0, 1.0035**800
"""How strongly the area is asked for at first, and how many times as strongly in the end."""


@final
@dataclass(frozen=True)
class ExtremalPerturbation(Explainer):
    """Extremal perturbation (Fong, Patrick and Vedaldi, ICCV 2019).

    The values are the mask, from 0 to 1, shape (images, height, width): the part of the image that keeps the score
    highest by itself ("preserve"), or without which it is lowest ("delete"). The extra "perturbed" is the score of the
    image so perturbed, shape (images, areas). Every other step sees the image mirrored, as in the authors' TorchRay,
    whose numbers these are.

    Simplified: the paper's smooth max-convolution makes the mask at every pixel. Here it makes it at every cell, by a
    Gaussian along columns and then rows, and the mask is enlarged from there bilinearly. The area is counted in cells,
    and cells that tie share what is left of it.

    Attributes:
        area: share of the image that the mask may cover, between 0 and 1; for a tuple of shares the values are the mean
            of their masks.
        variant: "preserve" or "delete".
        steps: how many gradient steps. Fewer ones are made larger, in proportion.
        cell: side of the mask's cells in pixels; by default a 32nd of the image's shorter side (7 of 224), at least 1.
    """

    name = "extremal-perturbation"
    reduction = "positive"

    area: float | tuple[float, ...] = 0.1
    variant: Literal["preserve", "delete"] = "preserve"
    steps: int = 800
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
                np.stack([pyramid(images[i]) for i in mine]),
                frozen.take(mine),
                areas[rows],
                lambda step, done=done, kept=kept: progress(done + step * kept, len(owners) * self.steps),
            )
            masks[rows[:kept]], perturbed[rows[:kept]] = end["mask"][:kept], end["score"][:kept]
        shape = (len(images), len(self.areas))
        values = masks.reshape(*shape, *masks.shape[1:]).mean(axis=1)
        return Attribution(values, found["scores"], found.get("output"), {"perturbed": perturbed.reshape(shape)})

    def optimised(
        self, model: Model, levels: NDArray[Any], target: Bound, areas: NDArray[Any], tick: Any
    ) -> dict[str, NDArray[Any]]:
        """The best "mask" for each pyramid, shape (masks, height, width), and its "score"."""
        step = model.compile(_step_program, (self.variant, target.formula))
        _, _, height, width, _ = levels.shape
        cells = np.ones((len(levels), ceil(height / self.cell), ceil(width / self.cell)), levels.dtype)
        velocity = np.zeros_like(cells)
        pulls = PULL * GROWTH ** (np.arange(self.steps) / self.steps)
        rate = np.array(RATE * 800 / self.steps)
        for i, pull in enumerate(pulls):
            moved = step(cells, velocity, levels, areas, np.array(pull), rate, np.array((i + 1) % 2), target.arrays)
            cells, velocity = moved["cells"], moved["velocity"]
            tick(i + 1)
        return model.compile(_look_program, (self.variant, target.formula))(cells, levels, target.arrays)


def pyramid(image: NDArray[Any]) -> NDArray[Any]:
    """The image blurred less and less, shape (levels, height, width, channels); the last one is the image itself."""
    strongest = BLUR * min(image.shape[:2])
    weaker = [blurred(image, strongest * (1 - level / (LEVELS - 1))) for level in range(LEVELS - 1)]
    return np.stack([*weaker, image]).astype(image.dtype)


def _step_program(
    model: Model,
    static: tuple[str, Formula],
    cells: Array,
    velocity: Array,
    levels: Array,
    areas: Array,
    pull: Array,
    rate: Array,
    turned: Array,
    arrays: Mapping[str, Any],
) -> dict[str, Array]:
    xp, (variant, formula) = model.xp, static
    wanted = _largest(xp, _smoothed(xp, cells), areas)

    def energy(leaves: Mapping[str, Array]) -> tuple[Array, Any]:
        mask = _smoothed(xp, leaves["cells"])
        images = _perturbed(xp, mask, levels, variant)
        images = xp.where(turned > 0, xp.flip(images, axis=2), images)
        scores = formula(xp, model.run(images, formula.needs), arrays)
        missed = xp.mean(xp.square(mask - wanted), axis=(1, 2))
        return xp.sum((scores if variant == "preserve" else -scores) - pull * missed), {}

    _, slopes = model.value_and_grad(energy)({"cells": cells})
    velocity = MOMENTUM * velocity + (1 - MOMENTUM) * slopes["cells"]
    return {"cells": xp.clip(cells + rate * velocity, 0, 1), "velocity": velocity}


def _look_program(
    model: Model, static: tuple[str, Formula], cells: Array, levels: Array, arrays: Mapping[str, Any]
) -> dict[str, Array]:
    xp, (variant, formula) = model.xp, static
    mask = _smoothed(xp, cells)
    images = _perturbed(xp, mask, levels, variant)
    scores = formula(xp, model.run(images, formula.needs), arrays)
    return {"mask": _enlarged(xp, mask, levels.shape[2], levels.shape[3], 1), "score": scores}


def _smoothed(xp: Any, cells: Array) -> Array:
    """The cells under a smooth max-convolution with a Gaussian, first along columns, then along rows.

    Beyond the edge the mask is mirrored: else the area's pull would move cells at the edge less than others.
    """
    down, across = (xp.asarray(_mirror(n), dtype=cells.dtype) for n in cells.shape[1:])
    tall = xp.matmul(down, cells)[:, None, :, :] * xp.asarray(_bell(cells.shape[1]), dtype=cells.dtype)[:, :, None]
    tall = _smooth_max(xp, tall, axis=2)
    wide = xp.matmul(tall, xp.matrix_transpose(across))[:, :, None, :]
    return _smooth_max(xp, wide * xp.asarray(_bell(cells.shape[2]), dtype=cells.dtype), axis=3)


def _smooth_max(xp: Any, values: Array, axis: int) -> Array:
    powers = xp.exp(COLDNESS * values)
    return xp.sum(values * powers, axis=axis) / xp.sum(powers, axis=axis)


@lru_cache(maxsize=64)
def _mirror(count: int) -> NDArray[np.float64]:
    """The matrix that mirrors cells at both ends, as far as a bell reaches, shape (count + 2 · REACH, count)."""
    return np.pad(np.eye(count), ((REACH, REACH), (0, 0)), mode="symmetric")


@lru_cache(maxsize=64)
def _bell(count: int) -> NDArray[np.float64]:
    """How much each cell, those beyond the edge among them, gives to each, shape (count, count + 2 · REACH)."""
    distance = np.arange(count)[:, None] - np.arange(-REACH, count + REACH)[None, :]
    return np.asarray(np.exp(-0.5 * (distance / BELL) ** 2))


def _largest(xp: Any, mask: Array, areas: Array) -> Array:
    """Ones where the mask is largest, as many as make up the area, and zeros elsewhere; what ties shares alike."""
    flat = xp.reshape(mask, (mask.shape[0], -1))
    count = areas * flat.shape[1]
    ranked = xp.sort(flat, axis=1, descending=True)
    last = pick(xp, ranked, xp.floor(count))[:, None]
    larger, equal = (
        xp.sum(xp.astype(found, flat.dtype), axis=1, keepdims=True) for found in (flat > last, flat == last)
    )
    rest = (count[:, None] - larger) / equal
    return xp.reshape(xp.where(flat > last, xp.ones_like(flat), rest * (flat == last)), mask.shape)


def _perturbed(xp: Any, mask: Array, levels: Array, variant: str) -> Array:
    """The images, less and less blurred as the mask goes from 0 to 1: linear between the levels of their pyramids."""
    count, steps, height, width, depth = levels.shape
    # Rows of width × channels numbers: a mask that must be spread over the channels costs much.
    flat = xp.reshape(levels, (count, steps, height, width * depth))
    clear = _enlarged(xp, mask if variant == "preserve" else 1 - mask, height, width, depth)
    images = flat[:, 0, :, :]
    for i in range(1, steps):
        climbed = xp.minimum(xp.maximum((steps - 1) * clear - (i - 1), 0.0), 1.0)
        images = images + climbed * (flat[:, i, :, :] - flat[:, i - 1, :, :])
    return xp.reshape(images, (count, height, width, depth))


def _enlarged(xp: Any, mask: Array, height: int, width: int, depth: int) -> Array:
    """The mask in the image's size, shape (masks, height, width · depth), each number `depth` times in a row."""
    down = xp.asarray(resize_matrix(mask.shape[1], height), dtype=mask.dtype)
    across = xp.asarray(np.repeat(resize_matrix(mask.shape[2], width), depth, axis=0).T, dtype=mask.dtype)
    return xp.matmul(xp.matmul(down, mask), across)
