"""Channel mean: the plain mean of a layer's maps, before any weighting."""

from dataclasses import dataclass
from typing import final

from agnoscope.explainers.base import StepExplainer, answer
from agnoscope.explainers.cams.base import LayerMaps
from agnoscope.model import Model
from agnoscope.patches import Array
from agnoscope.target import Bound


@final
@dataclass(frozen=True)
class ChannelMean(LayerMaps, StepExplainer):
    """The mean of a layer's maps, which Chollet's "Deep Learning with Python" sets beside Grad-CAM.

    It shows where the layer is active at all, whatever the target: what of a Grad-CAM looks like it says nothing
    about the class. Needs no gradient.

    Attributes:
        layer: whose maps are averaged; by default the end of the last convolutional stage.
        upsample: whether the map is brought to the size of the image.
        grid: how tokens lie in the image, where it is not recognised: (height, width, tokens skipped).
    """

    name = "channel-mean"

    def step(self, model: Model, images: Array, target: Bound) -> dict[str, Array]:
        maps, found = self.look(model, images, target)
        values = model.xp.mean(maps, axis=-1)
        return answer(self.brought_up(model.xp, values, (images.shape[1], images.shape[2])), found)
