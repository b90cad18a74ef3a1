"""Saliency: how the score changes when a pixel changes a little."""

from dataclasses import dataclass, replace
from typing import Self, final

from agnoscope.explainers.base import StepExplainer, full_name, input_gradient
from agnoscope.model import Model
from agnoscope.patches import Array
from agnoscope.target import Bound


@final
@dataclass(frozen=True)
class Saliency(StepExplainer):
    """The gradient of the score with respect to the image (Simonyan, Vedaldi and Zisserman, ICLR Workshop 2014).

    The values are the signed gradient, shape (images, height, width, channels), in units of score per unit of
    the image's bounds. The paper's map, the largest absolute value over the channels, is its reduction.

    Attributes:
        layer: a layer to take the gradient at, in place of the image; the values then have its shape.
    """

    name = "saliency"
    needs = frozenset({"gradient"})
    reduction = "max-abs"

    layer: str | None = None

    def settle(self, model: Model, size: tuple[int, int]) -> Self:
        return replace(self, layer=full_name(model, self.layer, size))

    def step(self, model: Model, images: Array, target: Bound) -> dict[str, Array]:
        return input_gradient(model, images, target, self.layer)
