"""Every method once, small enough to be run on real networks in every framework."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import agnoscope as ag

FORWARD = frozenset(
    {
        *("grad-cam++", "hires-cam", "layer-cam", "xgrad-cam", "eigen-cam", "eigen-grad-cam", "channel-mean", "cam"),
        *("score-cam", "ablation-cam", "rise", "feature-ablation", "shapley-sampling", "lime", "kernel-shap"),
        *("random", "edge-filter", "constant"),
    }
)
"""Methods that meet no ReLU on their way back, at the last layer at least."""


def family(layer: str, middle: str, size: int) -> Mapping[str, Callable[[], ag.Explainer]]:
    """Name to a maker of every method.

    Args:
        layer: the last one with maps.
        middle: one in the middle of the network.
        size: of the image, in pixels.
    """
    segments = np.kron(np.arange(16).reshape(4, 4), np.ones((size // 4, size // 4))).astype(int)
    cams = (ag.GradCAMPlusPlus, ag.HiResCAM, ag.LayerCAM, ag.XGradCAM, ag.EigenCAM, ag.EigenGradCAM, ag.ChannelMean)
    found: dict[str, Callable[[], ag.Explainer]] = {cam.name: (lambda cam=cam: cam(layer)) for cam in cams}
    wrapped = {"smoothgrad": ag.SmoothGrad, "smoothgrad-squared": ag.SmoothGradSquared, "vargrad": ag.VarGrad}
    for name, wrapper in wrapped.items():
        found[name] = lambda wrapper=wrapper: wrapper(samples=3)
    few: dict[str, Any] = {"segments": segments, "fill": "blur"}
    return found | {
        "input-x-gradient": ag.InputXGradient,
        "saliency at a layer": lambda: ag.Saliency(middle),
        "integrated-gradients": lambda: ag.IntegratedGradients(steps=4, tolerance=None),
        "integrated-gradients at a layer": lambda: ag.IntegratedGradients("blur", 4, tolerance=None, layer=middle),
        "expected-gradients": lambda: ag.ExpectedGradients(samples=4),
        "deep-lift": ag.DeepLift,
        "blur-ig": lambda: ag.BlurIG(steps=3),
        "guided-ig": lambda: ag.GuidedIG(steps=4),
        "xrai": lambda: ag.XRAI(ag.Saliency()),
        "guided-grad-cam": lambda: ag.GuidedGradCAM(layer),
        "cam": lambda: ag.CAM(layer),
        "score-cam": lambda: ag.ScoreCAM(layer, channels=6),
        "ablation-cam": lambda: ag.AblationCAM(layer),
        "full-grad": ag.FullGrad,
        "several-layers": lambda: ag.SeveralLayers(ag.GradCAM(), (middle, layer)),
        "smoothgrad of grad-cam": lambda: ag.SmoothGrad(ag.GradCAM(layer), samples=3),
        "rise": lambda: ag.RISE(samples=6),
        "feature-ablation": lambda: ag.FeatureAblation(**few),
        "shapley-sampling": lambda: ag.ShapleySampling(samples=1, **few),
        "lime": lambda: ag.LIME(samples=12),
        "kernel-shap": lambda: ag.KernelSHAP(samples=24),
        "extremal-perturbation": lambda: ag.ExtremalPerturbation(steps=5),
        "lrp": lambda: ag.LRP(1e-2),
        "lrp epsilon-plus": lambda: ag.LRP(1e-2, rule="epsilon-plus"),
        "lrp epsilon-gamma": lambda: ag.LRP(1e-2, rule="epsilon-gamma"),
        "random": ag.RandomMap,
        "edge-filter": ag.EdgeFilter,
        "constant": ag.ConstantMap,
    }


NAMES = tuple(family("", "", 32))
