"""Grad-CAM: a layer's maps, weighted by how much the score rises with each."""

from dataclasses import dataclass, replace
from typing import Self, cast, final

from agnoscope.arrays import resize
from agnoscope.errors import LayerError, nearest
from agnoscope.explainers.base import StepExplainer, answer
from agnoscope.model import Array, Model, gradients
from agnoscope.target import Bound


@final
@dataclass(frozen=True)
class GradCAM(StepExplainer):
    """Gradient-weighted class activation mapping (Selvaraju et al., ICCV 2017).

    The values are the paper's sum before its ReLU, signed, so that what speaks against the target is kept;
    its ReLU is the reduction "positive", by which it is drawn.

    Attributes:
        layer: the layer whose maps are weighted, or any ending of its path that only one layer has; by default
            the end of the last convolutional stage.
        upsample: whether the map is brought to the size of the image, bilinearly with half-pixel centres;
            otherwise it keeps the layer's.
    """

    name = "grad-cam"
    needs = frozenset({"capture", "patch", "gradient"})
    reduction = "positive"

    layer: str | None = None
    upsample: bool = True

    def settle(self, model: Model, size: tuple[int, int]) -> Self:
        layer = model.last_map(size) if self.layer is None else model.layer(self.layer, size)
        if not layer.spatial:
            maps = [known.name for known in model.layers(size).values() if known.spatial]
            raise LayerError(
                f"Grad-CAM needs a layer with spatial axes; {layer.name!r} has the shape {layer.shape}. "
                f"Layers that have them: {nearest(layer.name, maps[::-1])}."
            )
        return replace(self, layer=layer.name)

    def step(self, model: Model, images: Array, target: Bound) -> dict[str, Array]:
        xp, layer = model.xp, cast("str", self.layer)  # `settle` has chosen it
        found = gradients(model, images, target, needs=target.needs, at=(layer,), capture=(layer,))
        activation, gradient = found.values[layer], found.layers[layer]
        alpha = xp.mean(gradient, axis=(1, 2), keepdims=True)  # the weight of each map, eq. 1
        values = xp.sum(alpha * activation, axis=-1)  # eq. 2, before its ReLU
        values = resize(xp, values, (images.shape[1], images.shape[2])) if self.upsample else values
        return answer(values, found)
