"""XGrad-CAM: a layer's maps, each weighted by its own share of the score."""

from dataclasses import dataclass
from typing import Any, final

from agnoscope.explainers.cams.base import GradientMaps
from agnoscope.patches import Array


@final
@dataclass(frozen=True)
class XGradCAM(GradientMaps):
    """Axiom-based Grad-CAM (Fu, Hu, Dong, Guo, Gao and Li, BMVC 2020).

    A map's weight is the mean of the gradient over it, in which each pixel counts by its activation. A map that adds
    up to zero has no such mean, and the weight 0. Made for layers after a ReLU: where positive and negative
    activations cancel, a weight may become very large.

    Attributes:
        layer: whose maps are weighed; by default the end of the last convolutional stage.
        upsample: whether the map is brought to the size of the image.
        grid: how tokens lie in the image, where it is not recognised: (height, width, tokens skipped).
    """

    name = "xgrad-cam"

    def combine(self, xp: Any, maps: Array, slopes: Array) -> Array:
        total = xp.sum(maps, axis=(1, 2), keepdims=True)
        share = xp.sum(slopes * maps, axis=(1, 2), keepdims=True)
        empty = total == 0
        weights = xp.where(empty, xp.zeros_like(total), share / xp.where(empty, xp.ones_like(total), total))  # eq. 8
        return xp.sum(weights * maps, axis=-1)
