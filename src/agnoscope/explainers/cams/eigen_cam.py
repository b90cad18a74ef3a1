"""Eigen-CAM: what a layer's maps have most in common. Needs no gradient."""

from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.explainers.base import Attribution, Progress, StepExplainer, answer
from agnoscope.explainers.cams.base import LayerMaps
from agnoscope.model import Model
from agnoscope.patches import Array
from agnoscope.target import Bound


@final
@dataclass(frozen=True)
class EigenCAM(LayerMaps, StepExplainer):
    """Eigen-CAM (Muhammad and Yeasin, IJCNN 2020).

    The maps' projection on their first principal component: of all weighted sums of the channels, with weights of
    length 1, the one that varies most over the image. Each channel is centred first; the sign, which is free, is the
    one for which the map goes along with the mean of the channels. It does not depend on the target.

    Attributes:
        layer: whose maps are projected; by default the end of the last convolutional stage.
        upsample: whether the map is brought to the size of the image.
        grid: how tokens lie in the image, where it is not recognised: (height, width, tokens skipped).
    """

    name = "eigen-cam"

    def step(self, model: Model, images: Array, target: Bound) -> dict[str, Array]:
        return answer(*self.look(model, images, target))

    def attribute(
        self, model: Model, images: NDArray[Any], target: Bound, batch_size: int, progress: Progress
    ) -> Attribution:
        found = super().attribute(model, images, target, batch_size, progress)
        values = principal_maps(found.values)
        return replace(found, values=self.brought_up(np, values, (images.shape[1], images.shape[2])))


def principal_maps(maps: NDArray[Any]) -> NDArray[Any]:
    """Each image's maps on their first principal component; on the host, so that every framework gives the same.

    Args:
        maps: shape (images, height, width, channels).

    Returns:
        Shape (images, height, width), NaN where the maps are not finite.
    """
    return np.stack([_principal_map(image) for image in maps]).astype(maps.dtype)


def _principal_map(maps: NDArray[Any]) -> NDArray[np.float64]:
    pixels = maps.reshape(-1, maps.shape[-1]).astype(np.float64)
    if not np.isfinite(pixels).all():
        return np.full(maps.shape[:-1], np.nan)
    centred = pixels - pixels.mean(axis=0)
    component = np.linalg.svd(centred, full_matrices=False)[2][0]
    projected = centred @ component
    sign = -1 if projected @ pixels.mean(axis=1) < 0 else 1
    return np.asarray(sign * projected.reshape(maps.shape[:-1]))
