"""Deconvnet: the activation projected back to the pixels."""

from dataclasses import dataclass, replace
from typing import Self, final

from agnoscope.explainers.base import StepExplainer, full_name, input_gradient
from agnoscope.explainers.gradients.relu_rule import unchanged_activations
from agnoscope.model import Model
from agnoscope.patches import Array
from agnoscope.target import Bound


@final
@dataclass(frozen=True)
class Deconvnet(StepExplainer):
    """The deconvolutional network (Zeiler and Fergus, ECCV 2014), as a backward pass.

    A ReLU passes back what is positive of the gradient, whatever its input was. Max pooling sends it to where
    the maximum stood, as the paper's switches do. Ask for `Neuron` or `Channel` to project a unit inside. The
    values are signed, shape (images, height, width, channels).

    Attributes:
        layer: a layer to project back to, in place of the image; the values then have its shape.
    """

    name = "deconvnet"
    needs = frozenset({"gradient", "relu"})
    reduction = "max-abs"

    layer: str | None = None

    def settle(self, model: Model, size: tuple[int, int]) -> Self:
        return replace(self, layer=full_name(model, self.layer, size))

    def step(self, model: Model, images: Array, target: Bound) -> dict[str, Array]:
        return input_gradient(model.with_relu("deconvnet"), images, target, self.layer)

    def doubts(self, model: Model, size: tuple[int, int]) -> tuple[str, ...]:
        return unchanged_activations(model, size)
