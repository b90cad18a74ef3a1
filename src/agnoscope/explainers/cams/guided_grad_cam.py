"""Guided Grad-CAM: the fine picture of guided backprop, where Grad-CAM says that the class is."""

from dataclasses import dataclass, replace
from typing import Self, final

from agnoscope.explainers.base import StepExplainer
from agnoscope.explainers.cams.grad_cam import GradCAM
from agnoscope.explainers.gradients.guided_backprop import GuidedBackprop
from agnoscope.model import Model
from agnoscope.patches import Array
from agnoscope.resizing import check_rule, resized
from agnoscope.target import Bound


@final
@dataclass(frozen=True)
class GuidedGradCAM(StepExplainer):
    """Guided Grad-CAM (Selvaraju et al., ICCV 2017).

    The values are guided backprop times what is positive of Grad-CAM's map, brought to the size of the image
    bilinearly, as in the paper. They are signed, shape (images, height, width, channels).

    Attributes:
        layer: whose maps Grad-CAM weighs; by default the end of the last convolutional stage.
        enlarge: how Grad-CAM's map is brought to the size of the image: "linear", or a rule of `agnoscope.resizing`,
            such as captum's "nearest".
    """

    name = "guided-grad-cam"
    needs = GradCAM.needs | GuidedBackprop.needs
    reduction = "max-abs"

    layer: str | None = None
    enlarge: str = "linear"

    def settle(self, model: Model, size: tuple[int, int]) -> Self:
        check_rule("enlarge", self.enlarge)
        return replace(self, layer=GradCAM(self.layer).settle(model, size).layer)

    def step(self, model: Model, images: Array, target: Bound) -> dict[str, Array]:
        xp = model.xp
        cam = GradCAM(self.layer, upsample=False).step(model, images, target)
        positive = xp.maximum(cam["values"], xp.zeros_like(cam["values"]))
        where = resized(xp, positive, (images.shape[1], images.shape[2]), self.enlarge)
        guided = GuidedBackprop().step(model, images, target)
        return {**cam, "values": where[..., None] * guided["values"]}

    def doubts(self, model: Model, size: tuple[int, int]) -> tuple[str, ...]:
        return GuidedBackprop().doubts(model, size)
