"""Presets: the numbers of other libraries, under `LIBRARY:METHOD`.

agnoscope's defaults follow the papers. Where a well-known library differs, its recipe stands here under its name, so
that results can be compared and reproduced; `tests/test_presets.py` and `benchmarks/peers.py` hold each against that
library. What such a library calls the input is what the network receives: give that, and wrap the network without
mean, std and range. Random numbers are drawn anew, by the same rule.

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
from agnoscope.explainers.cams.eigen_grad_cam import EigenGradCAM
from agnoscope.explainers.cams.fullgrad import FullGrad
from agnoscope.explainers.cams.grad_cam import GradCAM
from agnoscope.explainers.cams.grad_cam_plus_plus import GradCAMPlusPlus
from agnoscope.explainers.cams.guided_grad_cam import GuidedGradCAM
from agnoscope.explainers.cams.hires_cam import HiResCAM
from agnoscope.explainers.cams.layer_cam import LayerCAM
from agnoscope.explainers.cams.score_cam import ScoreCAM
from agnoscope.explainers.cams.xgrad_cam import XGradCAM
from agnoscope.explainers.finished import Finished
from agnoscope.explainers.gradients.deconvnet import Deconvnet
from agnoscope.explainers.gradients.deep_lift import DeepLift
from agnoscope.explainers.gradients.expected_gradients import ExpectedGradients
from agnoscope.explainers.gradients.guided_backprop import GuidedBackprop
from agnoscope.explainers.gradients.input_x_gradient import InputXGradient
from agnoscope.explainers.gradients.integrated_gradients import IntegratedGradients
from agnoscope.explainers.gradients.saliency import Saliency
from agnoscope.explainers.gradients.smoothgrad import SmoothGrad, SmoothGradSquared
from agnoscope.explainers.perturbation.feature_ablation import FeatureAblation
from agnoscope.explainers.perturbation.occlusion import Occlusion
from agnoscope.explainers.perturbation.shapley import ShapleySampling

_ABSOLUTE: Final = Finished(Saliency(), ("absolute",))
_GILDENBLAT: Final = ("relu", "min-max 1e-7", "resize", "min-max 1e-7")
_KERAS_VIS: Final = ("relu", "resize corners", "min-max 1e-7")
_KERAS: Final = ("relu", "share of the maximum")

_TABLE: Final[dict[str, Explainer]] = {
    # captum: absolute gradients of every channel; zeros as the baseline; Grad-CAM neither rectified nor resized.
    "captum:saliency": _ABSOLUTE,
    "captum:smoothgrad": SmoothGrad(_ABSOLUTE, samples=5, noise=1.0, absolute=True),
    "captum:input-x-gradient": InputXGradient(),
    "captum:integrated-gradients": IntegratedGradients(baseline="zero", steps=50, tolerance=None),
    "captum:gradient-shap": ExpectedGradients(baselines="zero", samples=5),
    "captum:deep-lift": DeepLift(baseline="zero"),  # but for max pooling
    "captum:guided-backprop": GuidedBackprop(),
    "captum:deconvnet": Deconvnet(),
    "captum:grad-cam": GradCAM(upsample=False),
    "captum:guided-grad-cam": GuidedGradCAM(enlarge="nearest"),
    "captum:occlusion": Occlusion(stride=1, fill="zero"),  # captum has no default for the window
    "captum:feature-ablation": FeatureAblation(fill="zero"),  # nor segments: its feature_mask
    "captum:shapley-sampling": ShapleySampling(samples=25, fill="zero"),
    # pytorch-grad-cam: rectified, scaled to 0 … 1, resized, scaled again. The sign of its eigen-cams is left to chance.
    **{
        f"pytorch-grad-cam:{cam.name}": Finished(cam, _GILDENBLAT)
        for cam in (
            *(GradCAM(upsample=False), HiResCAM(upsample=False), LayerCAM(upsample=False), XGradCAM(upsample=False)),
            *(AblationCAM(upsample=False), EigenCAM(upsample=False), EigenGradCAM(upsample=False)),
            *(GradCAMPlusPlus(upsample=False, guard=1e-6), ScoreCAM(upsample=False, enlarge="corners")),
        )
    },
    "pytorch-grad-cam:full-grad": Finished(FullGrad(guard=1e-7), ("min-max 1e-7",)),
    "pytorch-grad-cam:guided-backprop": GuidedBackprop(),
    # tf-keras-vis: scaled to 0 … 1 in the end; SmoothGrad is off by default, 20 samples are its manual's.
    "tf-keras-vis:saliency": Finished(Saliency(), ("absolute", "channel-max", "min-max 1e-7")),
    "tf-keras-vis:smoothgrad": Finished(SmoothGrad(_ABSOLUTE, samples=20, noise=0.2), ("channel-max", "min-max 1e-7")),
    "tf-keras-vis:grad-cam": Finished(GradCAM(upsample=False), _KERAS_VIS),
    "tf-keras-vis:layer-cam": Finished(LayerCAM(upsample=False), _KERAS_VIS),
    # PAIR's saliency: squares are averaged by default; points of a path with both ends, all weighed alike.
    "pair:saliency": Saliency(),
    "pair:smoothgrad": SmoothGradSquared(Saliency(), samples=25, noise=0.15),
    "pair:integrated-gradients": IntegratedGradients(baseline="zero", steps=25, rule="linspace", tolerance=None),
    "pair:grad-cam": Finished(GradCAM(upsample=False), (*_KERAS, "resize mirrored")),
    # xplique: one map for each image, the mean over the channels but for saliency.
    "xplique:saliency": Finished(Saliency(), ("absolute", "channel-max")),
    "xplique:smoothgrad": Finished(SmoothGrad(samples=50, noise=0.2, absolute=True), ("channel-mean",)),
    "xplique:input-x-gradient": Finished(InputXGradient(), ("channel-mean",)),
    "xplique:integrated-gradients": Finished(
        IntegratedGradients(baseline="zero", steps=50, rule="trapezoid", tolerance=None), ("channel-mean",)
    ),
    # F. Chollet's book, of the probability after the softmax, and keras.io: rectified, as a share of the maximum.
    "keras-book:grad-cam": Finished(GradCAM(upsample=False), _KERAS, probability=True),
    "keras-io:grad-cam": Finished(GradCAM(upsample=False), _KERAS),
}

PRESETS: Final[Mapping[str, Finished]] = MappingProxyType(
    {name: replace(made if isinstance(made, Finished) else Finished(made), name=name) for name, made in _TABLE.items()}
)
"""Name to explainer."""


def preset(name: str, /, **options: Any) -> Finished:
    """A library's recipe, with some options changed.

    Args:
        name: `LIBRARY:METHOD`, such as "captum:smoothgrad".
        **options: of the method that the recipe wraps, or of what that one wraps; the recipe's own steps stay.

    Raises:
        OptionError: there is no such preset, or it has no such option.
    """
    if name not in PRESETS:
        raise OptionError(f"There is no preset {name!r}. Near it: {nearest(name, PRESETS)}.")
    made = PRESETS[name]
    known = _options(made)
    for option, value in options.items():
        if option not in known:
            offered = f"Its options: {nearest(option, known)}." if known else "It has no options."
            raise OptionError(f"The preset {name!r} has no option {option!r}. {offered}")
        made = _changed(made, option, value)
    return made


def _options(explainer: Any) -> list[str]:
    """The options of a method and of those that it wraps, outermost first."""
    own = [] if isinstance(explainer, Finished) else [field.name for field in fields(explainer)]
    return [*own, *(_options(explainer.explainer) if hasattr(explainer, "explainer") else [])]


def _changed(explainer: Any, option: str, value: Any) -> Any:
    """The method with another value for an option, its own or else one of those that it wraps."""
    if not isinstance(explainer, Finished) and option in (field.name for field in fields(explainer)):
        return replace(explainer, **{option: value})
    return replace(explainer, explainer=_changed(explainer.explainer, option, value))
