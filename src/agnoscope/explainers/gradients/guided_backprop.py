"""Guided backprop: a gradient that only follows what excites, forward and backward."""

from dataclasses import dataclass, replace
from typing import Self, final

from agnoscope.explainers.base import StepExplainer, full_name, input_gradient
from agnoscope.explainers.gradients.relu_rule import unchanged_activations
from agnoscope.model import Model
from agnoscope.patches import Array
from agnoscope.target import Bound


@final
@dataclass(frozen=True)
class GuidedBackprop(StepExplainer):
    """Guided backpropagation (Springenberg, Dosovitskiy, Brox and Riedmiller, ICLR Workshop 2015).

    A ReLU passes the gradient back where its input was positive (for ReLU6: between 0 and 6) and the gradient
    is positive. Ask for `Neuron` or `Channel` to see what excites a unit inside. The values are signed, shape
    (images, height, width, channels). The picture hardly depends on the class (Adebayo et al., NeurIPS 2018):
    it shows what the network sees rather than why it decides.

    Attributes:
        layer: a layer to project back to, in place of the image; the values then have its shape.
    """

    name = "guided-backprop"
    needs = frozenset({"gradient", "relu"})
    reduction = "max-abs"

    layer: str | None = None

    def settle(self, model: Model, size: tuple[int, int]) -> Self:
        return replace(self, layer=full_name(model, self.layer, size))

    def step(self, model: Model, images: Array, target: Bound) -> dict[str, Array]:
        return input_gradient(model.with_relu("guided"), images, target, self.layer)

    def doubts(self, model: Model, size: tuple[int, int]) -> tuple[str, ...]:
        return unchanged_activations(model, size)
