"""Grad-CAM: a layer's maps, weighted by how much the score rises with each."""

from dataclasses import dataclass
from typing import Any, final

from agnoscope.explainers.cams.base import GradientMaps
from agnoscope.patches import Array


@final
@dataclass(frozen=True)
class GradCAM(GradientMaps):
    """Gradient-weighted class activation mapping (Selvaraju et al., ICCV 2017).

    A map's weight is the mean of the score's gradient over it; the values are the weighted sum of the maps.

    Attributes:
        layer: whose maps are weighed; by default the end of the last convolutional stage.
        upsample: whether the map is brought to the size of the image.
        grid: how tokens lie in the image, where it is not recognised: (height, width, tokens skipped).
    """

    name = "grad-cam"

    def combine(self, xp: Any, maps: Array, slopes: Array) -> Array:
        alpha = xp.mean(slopes, axis=(1, 2), keepdims=True)  # the weight of each map, eq. 1
        return xp.sum(alpha * maps, axis=-1)  # eq. 2, before its ReLU
