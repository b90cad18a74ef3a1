"""Presets: the numbers of other libraries, under `LIBRARY:METHOD`.

agnoscope's defaults follow the papers. Where a well-known library differs, its recipe stands here under its name, so
that results can be compared and reproduced; each is tested or benchmarked against that library. Images must reach the
network as they do there: what such libraries call the input is what the network receives.

    ag.explain(network, "photo.jpg", method="pytorch-grad-cam:grad-cam")
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from types import MappingProxyType
from typing import Any, Final

from agnoscope.errors import OptionError, nearest
from agnoscope.explainers.base import Explainer
from agnoscope.explainers.cams.ablation_cam import AblationCAM
from agnoscope.explainers.cams.eigen_cam import EigenCAM
from agnoscope.explainers.cams.grad_cam import GradCAM
from agnoscope.explainers.cams.grad_cam_plus_plus import GradCAMPlusPlus
from agnoscope.explainers.cams.hires_cam import HiResCAM
from agnoscope.explainers.cams.layer_cam import LayerCAM
from agnoscope.explainers.cams.score_cam import ScoreCAM
from agnoscope.explainers.cams.xgrad_cam import XGradCAM
from agnoscope.explainers.finished import Finished
from agnoscope.explainers.gradients.deep_lift import DeepLift
from agnoscope.explainers.gradients.input_x_gradient import InputXGradient
from agnoscope.explainers.gradients.integrated_gradients import IntegratedGradients
from agnoscope.explainers.gradients.saliency import Saliency
from agnoscope.explainers.gradients.smoothgrad import SmoothGrad, SmoothGradSquared
from agnoscope.explainers.perturbation.feature_ablation import FeatureAblation
from agnoscope.explainers.perturbation.occlusion import Occlusion

_SCALED: Final = ("relu", "min-max 1e-7", "resize", "relu", "min-max 1e-7")
"""pytorch-grad-cam scales each layer's map, resizes it, averages over the layers, and scales again."""
_BOOK: Final = ("relu", "share of the maximum")

PRESETS: Final[Mapping[str, Explainer]] = MappingProxyType(
    {
        # captum: absolute gradients of every channel; Grad-CAM neither rectified nor resized; zeros as the baseline.
        "captum:saliency": Finished(Saliency(), ("absolute",)),
        "captum:input-x-gradient": InputXGradient(),
        "captum:smoothgrad": SmoothGrad(Finished(Saliency(), ("absolute",)), samples=5, noise=1.0, absolute=True),
        "captum:integrated-gradients": IntegratedGradients(baseline="zero", steps=50, tolerance=None),
        "captum:deep-lift": DeepLift(baseline="zero"),
        "captum:grad-cam": GradCAM(upsample=False),
        "captum:occlusion": Occlusion(stride=1, fill="zero"),
        "captum:feature-ablation": FeatureAblation(fill="zero"),
        # pytorch-grad-cam: every map rectified and scaled to 0 … 1.
        **{
            f"pytorch-grad-cam:{cam.name}": Finished(cam, _SCALED)
            for cam in (
                *(GradCAM(upsample=False), HiResCAM(upsample=False), LayerCAM(upsample=False)),
                *(XGradCAM(upsample=False), ScoreCAM(upsample=False), AblationCAM(upsample=False)),
                *(GradCAMPlusPlus(upsample=False), EigenCAM(upsample=False)),
            )
        },
        # tf-keras-vis: scaled to 0 … 1; maps resized with their corners on one another.
        "tf-keras-vis:saliency": Finished(Saliency(), ("absolute", "channel-max", "min-max")),
        "tf-keras-vis:smoothgrad": Finished(
            SmoothGrad(Finished(Saliency(), ("absolute",)), samples=20, noise=0.2), ("channel-max", "min-max")
        ),
        "tf-keras-vis:grad-cam": Finished(GradCAM(upsample=False), ("relu", "resize by corners", "min-max")),
        "tf-keras-vis:grad-cam++": Finished(GradCAMPlusPlus(upsample=False), ("relu", "resize by corners", "min-max")),
        # PAIR's saliency: squares are averaged by default; 25 points with both ends, all weighed alike.
        "pair:smoothgrad": SmoothGradSquared(Saliency(), samples=25, noise=0.15),
        "pair:integrated-gradients": IntegratedGradients(baseline="black", steps=25, rule="linspace", tolerance=None),
        # F. Chollet's book and keras.io: the probability after the softmax, rectified, as a share of the maximum.
        "keras-book:grad-cam": Finished(GradCAM(upsample=False), _BOOK, probability=True),
        "keras-io:grad-cam": Finished(GradCAM(upsample=False), _BOOK),
    }
)
"""Name to explainer."""


def preset(name: str, **options: Any) -> Explainer:
    """A library's recipe, with some options changed.

    Args:
        name: `LIBRARY:METHOD`, such as "captum:smoothgrad".
        **options: of the explainer, or of the one that it wraps.

    Raises:
        OptionError: there is no such preset, or it has no such option.
    """
    if name not in PRESETS:
        raise OptionError(f"There is no preset {name!r}. Near it: {nearest(name, PRESETS)}.")
    found = PRESETS[name]
    for option, value in options.items():
        found = _changed(name, found, option, value)
    return found


def _changed(name: str, explainer: Explainer, option: str, value: Any) -> Explainer:
    known = [field.name for field in fields(explainer)]  # type: ignore[arg-type]
    if option in known:
        return replace(explainer, **{option: value})  # type: ignore[type-var]
    if "explainer" in known:
        inner = _changed(name, explainer.explainer, option, value)  # type: ignore[attr-defined]
        return replace(explainer, explainer=inner)  # type: ignore[type-var, call-arg]
    raise OptionError(f"The preset {name!r} has no option {option!r}. Near it: {nearest(option, known)}.")
