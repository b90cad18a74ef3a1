"""Grad-CAM++: the gradient averaged with weights, so that each of several objects counts."""

from dataclasses import dataclass
from typing import Any, Self, final

from agnoscope.explainers.cams.base import GradientMaps
from agnoscope.explainers.options import positive
from agnoscope.model import Model
from agnoscope.patches import Array


@final
@dataclass(frozen=True)
class GradCAMPlusPlus(GradientMaps):
    """Grad-CAM++ (Chattopadhay, Sarkar, Howlader and Balasubramanian, WACV 2018).

    The paper explains the exponential of the score, whose second and third derivatives are powers of the score's
    gradient g, so that its weights of a pixel, eq. 19, are g² / (2 g² + Σ A g³). The factor exp(score) that all
    weights of an image share is left out: it overflows, and changes the scale of the map alone.

    Attributes:
        layer: whose maps are weighed, best after a ReLU, as the paper has it; by default the end of the last
            convolutional stage.
        upsample: whether the map is brought to the size of the image.
        grid: how tokens lie in the image, where it is not recognised: (height, width, tokens skipped).
        guard: what is added to the denominator of eq. 19; pytorch-grad-cam adds 1e-6, which for gradients below a
            thousandth outweighs the rest.
    """

    name = "grad-cam++"

    guard: float = 0.0

    def settle(self, model: Model, size: tuple[int, int]) -> Self:
        positive("guard", self.guard, or_zero=True)
        return super().settle(model, size)

    def combine(self, xp: Any, maps: Array, slopes: Array) -> Array:
        # Eq. 7 has a ReLU on the gradient, so elsewhere alpha does not matter; NaN is to stay.
        rising = xp.logical_not(slopes <= 0)
        bottom = 2 + xp.sum(maps, axis=(1, 2), keepdims=True) * slopes
        if self.guard:
            squares = slopes * slopes
            bottom = bottom + self.guard / xp.where(squares > 0, squares, xp.ones_like(squares))
            rising = xp.logical_and(rising, xp.logical_not(squares <= 0))
        safe = xp.where(xp.logical_and(rising, bottom != 0), bottom, xp.ones_like(bottom))
        alpha = 1 / safe  # eq. 19, shortened by g²
        weights = xp.sum(xp.where(rising, alpha * slopes, xp.zeros_like(slopes)), axis=(1, 2), keepdims=True)
        return xp.sum(weights * maps, axis=-1)
