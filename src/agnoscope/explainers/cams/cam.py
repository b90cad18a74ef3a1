"""CAM: a layer's maps, weighted by the linear layer that reads their means. For networks that end so."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import CapabilityError
from agnoscope.explainers.base import Attribution, Progress, score_program
from agnoscope.explainers.cams.base import GradientMaps
from agnoscope.model import Model
from agnoscope.patches import Array
from agnoscope.target import Bound, Formula
from agnoscope.tokens import as_map

ROUNDING: Final = 1e-4
"""How far, as a share of the whole, numbers may differ that are equal but for float32; other heads miss by far more."""


@final
@dataclass(frozen=True)
class CAM(GradientMaps):
    """Class activation mapping (Zhou, Khosla, Lapedriza, Oliva and Torralba, CVPR 2016).

    For networks that average the last maps over the image and read the means by one linear layer: a map's weight is
    the one that this layer gives it. So the mean of the values is the score but for its bias. The weight is found as
    the gradient, times the number of pixels. That the network ends so is tried out on the first image, by one pass
    with other maps: behind them the score must be linear and blind to places, or else CAM is refused.

    Attributes:
        layer: whose maps are weighed; by default the end of the last convolutional stage.
        upsample: whether the map is brought to the size of the image.
        grid: how tokens lie in the image, where it is not recognised: (height, width, tokens skipped).

    Raises:
        CapabilityError: when called on a network, layer or target of which this is not true.
    """

    name = "cam"

    def combine(self, xp: Any, maps: Array, slopes: Array) -> Array:
        weights = maps.shape[1] * maps.shape[2] * xp.mean(slopes, axis=(1, 2), keepdims=True)
        return xp.sum(weights * maps, axis=-1)  # eq. 2

    def attribute(
        self, model: Model, images: NDArray[Any], target: Bound, batch_size: int, progress: Progress
    ) -> Attribution:
        self.check(model, images[:1], target.take(np.array([0])))
        return super().attribute(model, images, target, batch_size, progress)

    def check(self, model: Model, image: NDArray[Any], target: Bound) -> None:
        """Refuse a network in which the score is not linear in the maps' means.

        Raises:
            CapabilityError: the gradient differs from pixel to pixel or from maps to maps, or the score does not
                change by as much as it tells.
        """
        layer = self.chosen(model, (image.shape[1], image.shape[2]))
        clean = model.compile(score_program, target.formula)(image, target.arrays)
        frozen = target.freeze(clean.get("output"), None)  # other maps must not change which class is asked for
        twice = frozen.take(np.zeros(2, dtype=np.intp)).arrays
        found = model.compile(_other_maps_program, (self, frozen.formula))(np.repeat(image, 2, axis=0), twice)
        slopes, (one, other), (score, other_score) = found["slopes"], found["maps"], found["scores"]
        places = as_map(np, slopes, layer)
        spread = np.abs(places - places[:1, :1, :1]).max()
        told = (slopes[0] * (one - other)).sum()
        size = np.abs(slopes[0] * one).sum() + np.abs(slopes[0] * other).sum() + abs(score)
        if spread > ROUNDING * np.abs(slopes).max() or abs(score - other_score - told) > ROUNDING * size:
            raise CapabilityError(
                f"CAM needs a network that averages the maps of {layer.name!r} over the image and reads the means by "
                "one linear layer, and a target that is a score of that layer. Here the score depends on them in "
                "another way. Use Grad-CAM, which is CAM wherever CAM exists, or HiRes-CAM."
            )


def _other_maps_program(
    model: Model, static: tuple[CAM, Formula], images: Array, arrays: Mapping[str, Any]
) -> dict[str, Array]:
    """Scores of two copies of an image, the second with other maps, and the gradients at the maps of both."""
    (explainer, formula), xp = static, model.xp
    layer = explainer.chosen(model, (images.shape[1], images.shape[2])).name

    def total(leaves: dict[str, Array]) -> tuple[Array, Any]:
        def changed(maps: Array) -> Array:
            # Another sign, place and channel for every number: no ReLU, maximum or softmax would be linear in this.
            other = -xp.flip(maps[:1, ...], axis=tuple(range(1, len(maps.shape))))
            return xp.concat([maps[:1, ...], other], axis=0) + leaves["tap"]

        values = model.run(images, tuple(dict.fromkeys((*formula.needs, layer))), {layer: changed})
        scores = formula(xp, values, arrays)
        return xp.sum(scores), {"scores": scores, "maps": values[layer]}

    shape = model.layers(images.shape[1:3])[layer].shape
    tap = xp.zeros((images.shape[0], *shape), dtype=images.dtype)
    (_, found), slopes = model.value_and_grad(total)({"tap": tap})
    return {**found, "slopes": slopes["tap"]}
