"""Eigen-Grad-CAM: what a layer's maps, times their gradients, have most in common."""

from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.explainers.base import Attribution, Progress, StepExplainer, answer
from agnoscope.explainers.cams.base import LayerMaps
from agnoscope.explainers.cams.eigen_cam import principal_maps
from agnoscope.model import Model
from agnoscope.patches import Array
from agnoscope.target import Bound


@final
@dataclass(frozen=True)
class EigenGradCAM(LayerMaps, StepExplainer):
    """Eigen-CAM of the maps times the gradient (Gildenblat, pytorch-grad-cam 2021, after Muhammad and Yeasin 2020).

    As Eigen-CAM, the first principal component of centred maps, but of their products with the gradient, and so of
    the target. The sign is the one for which the map goes along with their sum, which is HiRes-CAM.

    Attributes:
        layer: whose maps are projected; by default the end of the last convolutional stage.
        upsample: whether the map is brought to the size of the image.
        grid: how tokens lie in the image, where it is not recognised: (height, width, tokens skipped).
    """

    name = "eigen-grad-cam"

    needs = frozenset({"capture", "patch", "gradient"})

    def step(self, model: Model, images: Array, target: Bound) -> dict[str, Array]:
        maps, slopes, found = self.look_back(model, images, target)
        return answer(slopes * maps, found)

    def attribute(
        self, model: Model, images: NDArray[Any], target: Bound, batch_size: int, progress: Progress
    ) -> Attribution:
        found = super().attribute(model, images, target, batch_size, progress)
        values = principal_maps(found.values)
        return replace(found, values=self.brought_up(np, values, (images.shape[1], images.shape[2])))
