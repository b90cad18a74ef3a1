"""HiRes-CAM: a layer's maps times the gradient at each of their pixels."""

from dataclasses import dataclass
from typing import Any, final

from agnoscope.explainers.cams.base import GradientMaps
from agnoscope.patches import Array


@final
@dataclass(frozen=True)
class HiResCAM(GradientMaps):
    """High-resolution class activation mapping (Draelos and Carin, arXiv 2020).

    Grad-CAM without its average over the map: every pixel keeps its own gradient. Where the layer is followed by
    one linear layer, with or without flattening, the values add up to the score but for its bias.

    Attributes:
        layer: whose maps are weighed; by default the end of the last convolutional stage.
        upsample: whether the map is brought to the size of the image.
        grid: how tokens lie in the image, where it is not recognised: (height, width, tokens skipped).
    """

    name = "hires-cam"

    def combine(self, xp: Any, maps: Array, slopes: Array) -> Array:
        return xp.sum(slopes * maps, axis=-1)
