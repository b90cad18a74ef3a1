"""Blur IG: gradients gathered on the way from a blurred image to the sharp one."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self, cast, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.arrays import blur_matrix
from agnoscope.batches import chunks
from agnoscope.explainers.base import Attribution, ImageByImage, OneImage, score_program, slope
from agnoscope.explainers.options import positive, whole
from agnoscope.model import Model
from agnoscope.patches import Array
from agnoscope.target import Bound, Formula


@final
@dataclass(frozen=True)
class BlurIG(ImageByImage):
    """Integrated gradients along a path of Gaussian blurs (Xu, Venugopalan and Sundararajan, CVPR 2020).

    The path runs through the image's Gaussian blurs, from σ = 0 to `max_sigma` in even steps, so that no colour has to
    stand for "nothing". A value is the sum over the steps of what the step takes away of the image, times the mean
    of the gradients at its two ends. On a linear network the values add up exactly. (The authors' code takes the
    gradient at the start of a step, and the derivative of the blur for the difference, which misses most of what
    the first step does.) The image's border pixels go on beyond its edge. The values are signed, shape (images,
    height, width, channels).

    The extra "delta" is what the values add up to, less the score's fall from the image to its strongest blur: how
    far the steps are from the integral. It approaches 0 as they grow finer.

    Attributes:
        steps: into how many the path is cut, at least 1; the gradient is taken once more.
        max_sigma: deviation of the strongest blur in pixels; by default 50 for a shorter side of 224 pixels, and
            in proportion for others.
    """

    name = "blur-ig"
    needs = frozenset({"gradient"})
    reduction = "signed"

    steps: int = 100
    max_sigma: float | None = None

    def settle(self, model: Model, size: tuple[int, int]) -> Self:  # noqa: ARG002
        whole("steps", self.steps)
        sigma = 50 / 224 * min(size) if self.max_sigma is None else positive("max_sigma", self.max_sigma)
        return replace(self, max_sigma=sigma)

    def looks(self, model: Model, size: tuple[int, int]) -> int:  # noqa: ARG002
        return self.steps + 1

    def attribute_one(self, one: OneImage) -> Attribution:
        program = one.model.compile(_blur_program, one.target.formula)
        sigmas = np.linspace(0, cast("float", self.max_sigma), self.steps + 1)
        values = np.zeros(one.image.shape)
        for rows, kept in chunks(self.steps + 1, one.batch_size):
            # With a neighbour at both ends. The last blur is its own; repeated, it makes a step of no length.
            around = np.clip([rows[0] - 1, *rows, rows[-1] + 1], 0, self.steps)
            down, across = (_blurs(length, sigmas[around]) for length in one.size)
            values += program(one.image, down, across, one.arrays(len(rows)))["values"]
            one.tick(int(rows[kept - 1]) + 1)
        clean = one.model.compile(score_program, one.target.formula)
        down, across = (blur_matrix(length, sigmas[-1]) for length in one.size)
        faintest = np.einsum("ih,jw,hwc->ijc", down, across, one.image, optimize=True).astype(one.image.dtype)
        fall = one.score - float(clean(faintest[None], one.arrays(1))["scores"][0])
        return Attribution(values, np.array(one.score), extras={"delta": np.array(values.sum() - fall)})


def _blurs(length: int, sigmas: NDArray[np.float64]) -> NDArray[np.float64]:
    """A matrix for each blur, shape (blurs, length, length)."""
    return np.stack([blur_matrix(length, sigma) for sigma in sigmas])


def _blur_program(
    model: Model, formula: Formula, image: Array, down: Array, across: Array, arrays: Mapping[str, Any]
) -> dict[str, Array]:
    xp = model.xp
    height, width, depth = image.shape
    columns = xp.reshape(xp.permute_dims(image, (1, 0, 2)), (width, height * depth))
    blurs = xp.permute_dims(xp.reshape(xp.matmul(across, columns), (-1, width, height, depth)), (0, 2, 1, 3))
    blurs = xp.matmul(down, xp.reshape(blurs, (-1, height, width * depth)))
    path = xp.reshape(blurs, (-1, height, width, depth))
    gradient, _ = slope(model, path[1:-1, ...], Bound(formula, arrays, "", ()))
    return {"values": xp.sum(gradient * (path[:-2, ...] - path[2:, ...]), axis=0) / 2}
