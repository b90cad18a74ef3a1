"""Layer-CAM: a layer's maps times what is positive of the gradient at each of their pixels."""

from dataclasses import dataclass
from typing import Any, final

from agnoscope.explainers.cams.base import GradientMaps
from agnoscope.patches import Array


@final
@dataclass(frozen=True)
class LayerCAM(GradientMaps):
    """Layer-CAM (Jiang, Zhang, Hou, Cheng and Wei, IEEE TIP 2021).

    Made for early layers too, whose maps are fine: a pixel counts as far as the score rises with it.

    Attributes:
        layer: whose maps are weighed; by default the end of the last convolutional stage.
        upsample: whether the map is brought to the size of the image.
        grid: how tokens lie in the image, where it is not recognised: (height, width, tokens skipped).
    """

    name = "layer-cam"

    def combine(self, xp: Any, maps: Array, slopes: Array) -> Array:
        weights = xp.maximum(slopes, xp.zeros_like(slopes))  # eq. 5
        return xp.sum(weights * maps, axis=-1)  # eq. 7, before its ReLU
