"""Input × gradient: what each pixel adds to the score, as far as its slope here tells."""

from dataclasses import dataclass, replace
from typing import Self, final

from agnoscope.explainers.base import StepExplainer, answer, full_name, slope
from agnoscope.model import Model
from agnoscope.patches import Array
from agnoscope.target import Bound


@final
@dataclass(frozen=True)
class InputXGradient(StepExplainer):
    """The input times the gradient with respect to it (Shrikumar et al., arXiv:1605.01713, 2016; ICML 2017).

    The input is the image as the network receives it, hence after the normalisation that `wrap` was told of. That
    is the first-order change of the score from the picture that arrives as zeros: (x - centre) × gradient in the
    user's bounds, where `centre` is what the network receives as zeros. The values are signed, in units of the score,
    shape (images, height, width, channels), and their map is the sum over the channels.

    Attributes:
        layer: a layer whose activation is multiplied by its gradient, in place of the image; the values then have
            its shape.
    """

    name = "input-x-gradient"
    needs = frozenset({"gradient"})
    reduction = "signed"

    layer: str | None = None

    def settle(self, model: Model, size: tuple[int, int]) -> Self:
        return replace(self, layer=full_name(model, self.layer, size))

    def step(self, model: Model, images: Array, target: Bound) -> dict[str, Array]:
        if self.layer is not None:
            gradient, found = slope(model, images, target, self.layer, (self.layer,))
            return answer(found.values[self.layer] * gradient, found)
        gradient, found = slope(model, images, target)
        centre = model.centre(images.dtype)
        return answer((images - centre) * gradient, found)
