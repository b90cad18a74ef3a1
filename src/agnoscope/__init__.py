"""agnoscope: explain what a convolutional network sees, the same in PyTorch, JAX and TensorFlow.

    model = ag.wrap(network, input_size=(224, 224), mean=..., std=..., labels=...)
    explanation = ag.GradCAM()(model, "elephant.jpg")
    explanation.save("elephant.png")

Importing agnoscope loads no framework; each name below is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agnoscope.answers import Answer, predict
    from agnoscope.api import explain, wrap
    from agnoscope.errors import (
        AgnoscopeError,
        CapabilityError,
        FileError,
        ImageError,
        LayerError,
        MissingFrameworkError,
        ModelError,
        NonFiniteError,
        OptionError,
        OutOfMemoryError,
        PluginError,
        TargetError,
    )
    from agnoscope.evaluation.comparison import compare
    from agnoscope.evaluation.diagnosis import diagnose
    from agnoscope.explainers.base import Explainer
    from agnoscope.explainers.cams.ablation_cam import AblationCAM
    from agnoscope.explainers.cams.cam import CAM
    from agnoscope.explainers.cams.channel_mean import ChannelMean
    from agnoscope.explainers.cams.eigen_cam import EigenCAM
    from agnoscope.explainers.cams.eigen_grad_cam import EigenGradCAM
    from agnoscope.explainers.cams.fullgrad import FullGrad
    from agnoscope.explainers.cams.grad_cam import GradCAM
    from agnoscope.explainers.cams.grad_cam_plus_plus import GradCAMPlusPlus
    from agnoscope.explainers.cams.guided_grad_cam import GuidedGradCAM
    from agnoscope.explainers.cams.hires_cam import HiResCAM
    from agnoscope.explainers.cams.layer_cam import LayerCAM
    from agnoscope.explainers.cams.score_cam import ScoreCAM
    from agnoscope.explainers.cams.several_layers import SeveralLayers
    from agnoscope.explainers.cams.xgrad_cam import XGradCAM
    from agnoscope.explainers.controls import ConstantMap, EdgeFilter, RandomMap
    from agnoscope.explainers.finished import Finished
    from agnoscope.explainers.gradients.blur_ig import BlurIG
    from agnoscope.explainers.gradients.deconvnet import Deconvnet
    from agnoscope.explainers.gradients.deep_lift import DeepLift
    from agnoscope.explainers.gradients.expected_gradients import ExpectedGradients
    from agnoscope.explainers.gradients.guided_backprop import GuidedBackprop
    from agnoscope.explainers.gradients.guided_ig import GuidedIG
    from agnoscope.explainers.gradients.input_x_gradient import InputXGradient
    from agnoscope.explainers.gradients.integrated_gradients import IntegratedGradients
    from agnoscope.explainers.gradients.saliency import Saliency
    from agnoscope.explainers.gradients.smoothgrad import SmoothGrad, SmoothGradSquared, VarGrad
    from agnoscope.explainers.gradients.xrai import XRAI
    from agnoscope.explainers.perturbation.extremal import ExtremalPerturbation
    from agnoscope.explainers.perturbation.feature_ablation import FeatureAblation
    from agnoscope.explainers.perturbation.kernel_shap import KernelSHAP
    from agnoscope.explainers.perturbation.lime import LIME
    from agnoscope.explainers.perturbation.occlusion import Occlusion
    from agnoscope.explainers.perturbation.rise import RISE
    from agnoscope.explainers.perturbation.shapley import ShapleySampling
    from agnoscope.explainers.relevance.lrp import LRP
    from agnoscope.explanation import Explanation, Provenance
    from agnoscope.model import Layer, Model
    from agnoscope.presets import preset
    from agnoscope.runs import Run, explain_all
    from agnoscope.segmentation import object_mask
    from agnoscope.target import ClassScore, Score, Target
    from agnoscope.targets.contrast import Contrast
    from agnoscope.targets.detection import Box
    from agnoscope.targets.embedding import Similarity
    from agnoscope.targets.regression import Output
    from agnoscope.targets.segmentation import Segment
    from agnoscope.targets.units import Channel, Neuron

HOMES = {
    "agnoscope.answers": ("Answer", "predict"),
    "agnoscope.api": ("explain", "wrap"),
    "agnoscope.errors": (
        "AgnoscopeError",
        "CapabilityError",
        "FileError",
        "ImageError",
        "LayerError",
        "MissingFrameworkError",
        "ModelError",
        "NonFiniteError",
        "OptionError",
        "OutOfMemoryError",
        "PluginError",
        "TargetError",
    ),
    "agnoscope.evaluation.comparison": ("compare",),
    "agnoscope.evaluation.diagnosis": ("diagnose",),
    "agnoscope.explainers.base": ("Explainer",),
    "agnoscope.explainers.cams.ablation_cam": ("AblationCAM",),
    "agnoscope.explainers.cams.cam": ("CAM",),
    "agnoscope.explainers.cams.channel_mean": ("ChannelMean",),
    "agnoscope.explainers.cams.eigen_cam": ("EigenCAM",),
    "agnoscope.explainers.cams.eigen_grad_cam": ("EigenGradCAM",),
    "agnoscope.explainers.cams.fullgrad": ("FullGrad",),
    "agnoscope.explainers.cams.grad_cam": ("GradCAM",),
    "agnoscope.explainers.cams.grad_cam_plus_plus": ("GradCAMPlusPlus",),
    "agnoscope.explainers.cams.guided_grad_cam": ("GuidedGradCAM",),
    "agnoscope.explainers.cams.hires_cam": ("HiResCAM",),
    "agnoscope.explainers.cams.layer_cam": ("LayerCAM",),
    "agnoscope.explainers.cams.score_cam": ("ScoreCAM",),
    "agnoscope.explainers.cams.several_layers": ("SeveralLayers",),
    "agnoscope.explainers.cams.xgrad_cam": ("XGradCAM",),
    "agnoscope.explainers.controls": ("ConstantMap", "EdgeFilter", "RandomMap"),
    "agnoscope.explainers.finished": ("Finished",),
    "agnoscope.explainers.gradients.blur_ig": ("BlurIG",),
    "agnoscope.explainers.gradients.deconvnet": ("Deconvnet",),
    "agnoscope.explainers.gradients.deep_lift": ("DeepLift",),
    "agnoscope.explainers.gradients.expected_gradients": ("ExpectedGradients",),
    "agnoscope.explainers.gradients.guided_backprop": ("GuidedBackprop",),
    "agnoscope.explainers.gradients.guided_ig": ("GuidedIG",),
    "agnoscope.explainers.gradients.input_x_gradient": ("InputXGradient",),
    "agnoscope.explainers.gradients.integrated_gradients": ("IntegratedGradients",),
    "agnoscope.explainers.gradients.saliency": ("Saliency",),
    "agnoscope.explainers.gradients.smoothgrad": ("SmoothGrad", "SmoothGradSquared", "VarGrad"),
    "agnoscope.explainers.gradients.xrai": ("XRAI",),
    "agnoscope.explainers.perturbation.extremal": ("ExtremalPerturbation",),
    "agnoscope.explainers.perturbation.feature_ablation": ("FeatureAblation",),
    "agnoscope.explainers.perturbation.kernel_shap": ("KernelSHAP",),
    "agnoscope.explainers.perturbation.lime": ("LIME",),
    "agnoscope.explainers.perturbation.occlusion": ("Occlusion",),
    "agnoscope.explainers.perturbation.rise": ("RISE",),
    "agnoscope.explainers.perturbation.shapley": ("ShapleySampling",),
    "agnoscope.explainers.relevance.lrp": ("LRP",),
    "agnoscope.explanation": ("Explanation", "Provenance"),
    "agnoscope.model": ("Layer", "Model"),
    "agnoscope.presets": ("preset",),
    "agnoscope.runs": ("Run", "explain_all"),
    "agnoscope.segmentation": ("object_mask",),
    "agnoscope.target": ("ClassScore", "Score", "Target"),
    "agnoscope.targets.contrast": ("Contrast",),
    "agnoscope.targets.detection": ("Box",),
    "agnoscope.targets.embedding": ("Similarity",),
    "agnoscope.targets.regression": ("Output",),
    "agnoscope.targets.segmentation": ("Segment",),
    "agnoscope.targets.units": ("Channel", "Neuron"),
}
_HOME = {name: module for module, names in HOMES.items() for name in names}

__all__ = [
    "CAM",
    "LIME",
    "LRP",
    "RISE",
    "XRAI",
    "AblationCAM",
    "AgnoscopeError",
    "Answer",
    "BlurIG",
    "Box",
    "CapabilityError",
    "Channel",
    "ChannelMean",
    "ClassScore",
    "ConstantMap",
    "Contrast",
    "Deconvnet",
    "DeepLift",
    "EdgeFilter",
    "EigenCAM",
    "EigenGradCAM",
    "ExpectedGradients",
    "Explainer",
    "Explanation",
    "ExtremalPerturbation",
    "FeatureAblation",
    "FileError",
    "Finished",
    "FullGrad",
    "GradCAM",
    "GradCAMPlusPlus",
    "GuidedBackprop",
    "GuidedGradCAM",
    "GuidedIG",
    "HiResCAM",
    "ImageError",
    "InputXGradient",
    "IntegratedGradients",
    "KernelSHAP",
    "Layer",
    "LayerCAM",
    "LayerError",
    "MissingFrameworkError",
    "Model",
    "ModelError",
    "Neuron",
    "NonFiniteError",
    "Occlusion",
    "OptionError",
    "OutOfMemoryError",
    "Output",
    "PluginError",
    "Provenance",
    "RandomMap",
    "Run",
    "Saliency",
    "Score",
    "ScoreCAM",
    "Segment",
    "SeveralLayers",
    "ShapleySampling",
    "Similarity",
    "SmoothGrad",
    "SmoothGradSquared",
    "Target",
    "TargetError",
    "VarGrad",
    "XGradCAM",
    "compare",
    "diagnose",
    "explain",
    "explain_all",
    "object_mask",
    "predict",
    "preset",
    "wrap",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("agnoscope")
    if name not in _HOME:
        raise AttributeError(f"module 'agnoscope' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
