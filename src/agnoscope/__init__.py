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
        WorkerError,
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
    from agnoscope.explainers.meanings import Meaning, meaning
    from agnoscope.explainers.perturbation.extremal import ExtremalPerturbation
    from agnoscope.explainers.perturbation.feature_ablation import FeatureAblation
    from agnoscope.explainers.perturbation.kernel_shap import KernelSHAP
    from agnoscope.explainers.perturbation.lime import LIME
    from agnoscope.explainers.perturbation.occlusion import Occlusion
    from agnoscope.explainers.perturbation.rise import RISE
    from agnoscope.explainers.perturbation.shapley import ShapleySampling
    from agnoscope.explainers.relevance.lrp import LRP
    from agnoscope.explainers.synthesis.base import Synthesizer
    from agnoscope.explainers.synthesis.caricature import Caricature
    from agnoscope.explainers.synthesis.deep_dream import DeepDream
    from agnoscope.explainers.synthesis.feature_accentuation import FeatureAccentuation
    from agnoscope.explainers.synthesis.feature_inversion import FeatureInversion
    from agnoscope.explainers.synthesis.feature_visualization import FeatureVisualization
    from agnoscope.explainers.synthesis.fooling import Fooling
    from agnoscope.explainers.synthesis.multifaceted import Multifaceted
    from agnoscope.explainers.synthesis.series import channels, interpolated
    from agnoscope.explainers.synthesis.style_transfer import StyleTransfer
    from agnoscope.explainers.synthesis.texture import Texture
    from agnoscope.explanation import Explanation, Provenance
    from agnoscope.fast_style.style_network import StyleNetwork
    from agnoscope.fast_style.training import FastStyle
    from agnoscope.feature_space.embedding import Embedding, embed
    from agnoscope.feature_space.neighbours import Neighbours
    from agnoscope.feature_space.projections import PCA, TSNE, UMAP, Projection
    from agnoscope.inspection.feature_maps import FeatureMaps, feature_maps
    from agnoscope.inspection.filters import Filters, filters
    from agnoscope.inspection.kernels import kernel
    from agnoscope.inspection.receptive_fields import ReceptiveField, receptive_fields
    from agnoscope.model import Layer, Model
    from agnoscope.optimisation.corrections import Blur, Decay, ZeroSmallGradients, ZeroSmallPixels
    from agnoscope.optimisation.lbfgs import LBFGS
    from agnoscope.optimisation.optimisers import Adam, Ascent
    from agnoscope.optimisation.parameterisations.cppn import CPPN
    from agnoscope.optimisation.parameterisations.fixed_magnitude import FixedMagnitude
    from agnoscope.optimisation.parameterisations.fourier import Fourier
    from agnoscope.optimisation.parameterisations.generator import Generator
    from agnoscope.optimisation.parameterisations.pixels import Pixels
    from agnoscope.optimisation.parameterisations.pyramid import Pyramid
    from agnoscope.optimisation.regularisers import L1, L2, Diversity, PNorm, Spectrum, TotalVariation
    from agnoscope.optimisation.transformations import Crop, Jitter, Rotate, Scale, Views
    from agnoscope.presets import preset
    from agnoscope.report.contents import Report
    from agnoscope.report.making import make_report
    from agnoscope.runs import Run, explain_all
    from agnoscope.scan.run import Loader, scan_all
    from agnoscope.scan.scan import Scan, Top
    from agnoscope.scan.views.class_features import ClassFeatures, class_features
    from agnoscope.scan.views.classes import ClassView, class_view
    from agnoscope.scan.views.neighbours import NearImages, neighbours
    from agnoscope.scan.views.patches import Patches, top_patches
    from agnoscope.segmentation import object_mask
    from agnoscope.synthesis import Making, Synthesis, animate
    from agnoscope.target import ClassScore, Score, Target
    from agnoscope.targets.contrast import Contrast
    from agnoscope.targets.detection import Box
    from agnoscope.targets.embedding import Similarity
    from agnoscope.targets.features import Activity, CovarianceDistance, Direction, Distance, GramDistance
    from agnoscope.targets.guided import Guided
    from agnoscope.targets.likeness import Likeness
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
        "WorkerError",
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
    "agnoscope.explainers.meanings": ("Meaning", "meaning"),
    "agnoscope.explainers.perturbation.extremal": ("ExtremalPerturbation",),
    "agnoscope.explainers.perturbation.feature_ablation": ("FeatureAblation",),
    "agnoscope.explainers.perturbation.kernel_shap": ("KernelSHAP",),
    "agnoscope.explainers.perturbation.lime": ("LIME",),
    "agnoscope.explainers.perturbation.occlusion": ("Occlusion",),
    "agnoscope.explainers.perturbation.rise": ("RISE",),
    "agnoscope.explainers.perturbation.shapley": ("ShapleySampling",),
    "agnoscope.explainers.relevance.lrp": ("LRP",),
    "agnoscope.explainers.synthesis.base": ("Synthesizer",),
    "agnoscope.explainers.synthesis.caricature": ("Caricature",),
    "agnoscope.explainers.synthesis.deep_dream": ("DeepDream",),
    "agnoscope.explainers.synthesis.feature_accentuation": ("FeatureAccentuation",),
    "agnoscope.explainers.synthesis.feature_inversion": ("FeatureInversion",),
    "agnoscope.explainers.synthesis.feature_visualization": ("FeatureVisualization",),
    "agnoscope.explainers.synthesis.fooling": ("Fooling",),
    "agnoscope.explainers.synthesis.multifaceted": ("Multifaceted",),
    "agnoscope.explainers.synthesis.series": ("channels", "interpolated"),
    "agnoscope.explainers.synthesis.style_transfer": ("StyleTransfer",),
    "agnoscope.explainers.synthesis.texture": ("Texture",),
    "agnoscope.explanation": ("Explanation", "Provenance"),
    "agnoscope.fast_style.style_network": ("StyleNetwork",),
    "agnoscope.fast_style.training": ("FastStyle",),
    "agnoscope.feature_space.embedding": ("Embedding", "embed"),
    "agnoscope.feature_space.neighbours": ("Neighbours",),
    "agnoscope.feature_space.projections": ("PCA", "Projection", "TSNE", "UMAP"),
    "agnoscope.inspection.feature_maps": ("FeatureMaps", "feature_maps"),
    "agnoscope.inspection.filters": ("Filters", "filters"),
    "agnoscope.inspection.kernels": ("kernel",),
    "agnoscope.inspection.receptive_fields": ("ReceptiveField", "receptive_fields"),
    "agnoscope.model": ("Layer", "Model"),
    "agnoscope.optimisation.corrections": ("Blur", "Decay", "ZeroSmallGradients", "ZeroSmallPixels"),
    "agnoscope.optimisation.lbfgs": ("LBFGS",),
    "agnoscope.optimisation.optimisers": ("Adam", "Ascent"),
    "agnoscope.optimisation.parameterisations.cppn": ("CPPN",),
    "agnoscope.optimisation.parameterisations.fixed_magnitude": ("FixedMagnitude",),
    "agnoscope.optimisation.parameterisations.fourier": ("Fourier",),
    "agnoscope.optimisation.parameterisations.generator": ("Generator",),
    "agnoscope.optimisation.parameterisations.pixels": ("Pixels",),
    "agnoscope.optimisation.parameterisations.pyramid": ("Pyramid",),
    "agnoscope.optimisation.regularisers": ("Diversity", "L1", "L2", "PNorm", "Spectrum", "TotalVariation"),
    "agnoscope.optimisation.transformations": ("Crop", "Jitter", "Rotate", "Scale", "Views"),
    "agnoscope.presets": ("preset",),
    "agnoscope.report.contents": ("Report",),
    "agnoscope.report.making": ("make_report",),
    "agnoscope.runs": ("Run", "explain_all"),
    "agnoscope.scan.run": ("Loader", "scan_all"),
    "agnoscope.scan.scan": ("Scan", "Top"),
    "agnoscope.scan.views.class_features": ("ClassFeatures", "class_features"),
    "agnoscope.scan.views.classes": ("ClassView", "class_view"),
    "agnoscope.scan.views.neighbours": ("NearImages", "neighbours"),
    "agnoscope.scan.views.patches": ("Patches", "top_patches"),
    "agnoscope.segmentation": ("object_mask",),
    "agnoscope.synthesis": ("Making", "Synthesis", "animate"),
    "agnoscope.target": ("ClassScore", "Score", "Target"),
    "agnoscope.targets.contrast": ("Contrast",),
    "agnoscope.targets.detection": ("Box",),
    "agnoscope.targets.embedding": ("Similarity",),
    "agnoscope.targets.features": ("Activity", "CovarianceDistance", "Direction", "Distance", "GramDistance"),
    "agnoscope.targets.guided": ("Guided",),
    "agnoscope.targets.likeness": ("Likeness",),
    "agnoscope.targets.regression": ("Output",),
    "agnoscope.targets.segmentation": ("Segment",),
    "agnoscope.targets.units": ("Channel", "Neuron"),
}
_HOME = {name: module for module, names in HOMES.items() for name in names}

__all__ = [
    "CAM",
    "CPPN",
    "L1",
    "L2",
    "LBFGS",
    "LIME",
    "LRP",
    "PCA",
    "RISE",
    "TSNE",
    "UMAP",
    "XRAI",
    "AblationCAM",
    "Activity",
    "Adam",
    "AgnoscopeError",
    "Answer",
    "Ascent",
    "Blur",
    "BlurIG",
    "Box",
    "CapabilityError",
    "Caricature",
    "Channel",
    "ChannelMean",
    "ClassFeatures",
    "ClassScore",
    "ClassView",
    "ConstantMap",
    "Contrast",
    "CovarianceDistance",
    "Crop",
    "Decay",
    "Deconvnet",
    "DeepDream",
    "DeepLift",
    "Direction",
    "Distance",
    "Diversity",
    "EdgeFilter",
    "EigenCAM",
    "EigenGradCAM",
    "Embedding",
    "ExpectedGradients",
    "Explainer",
    "Explanation",
    "ExtremalPerturbation",
    "FastStyle",
    "FeatureAblation",
    "FeatureAccentuation",
    "FeatureInversion",
    "FeatureMaps",
    "FeatureVisualization",
    "FileError",
    "Filters",
    "Finished",
    "FixedMagnitude",
    "Fooling",
    "Fourier",
    "FullGrad",
    "Generator",
    "GradCAM",
    "GradCAMPlusPlus",
    "GramDistance",
    "Guided",
    "GuidedBackprop",
    "GuidedGradCAM",
    "GuidedIG",
    "HiResCAM",
    "ImageError",
    "InputXGradient",
    "IntegratedGradients",
    "Jitter",
    "KernelSHAP",
    "Layer",
    "LayerCAM",
    "LayerError",
    "Likeness",
    "Loader",
    "Making",
    "Meaning",
    "MissingFrameworkError",
    "Model",
    "ModelError",
    "Multifaceted",
    "NearImages",
    "Neighbours",
    "Neuron",
    "NonFiniteError",
    "Occlusion",
    "OptionError",
    "OutOfMemoryError",
    "Output",
    "PNorm",
    "Patches",
    "Pixels",
    "PluginError",
    "Projection",
    "Provenance",
    "Pyramid",
    "RandomMap",
    "ReceptiveField",
    "Report",
    "Rotate",
    "Run",
    "Saliency",
    "Scale",
    "Scan",
    "Score",
    "ScoreCAM",
    "Segment",
    "SeveralLayers",
    "ShapleySampling",
    "Similarity",
    "SmoothGrad",
    "SmoothGradSquared",
    "Spectrum",
    "StyleNetwork",
    "StyleTransfer",
    "Synthesis",
    "Synthesizer",
    "Target",
    "TargetError",
    "Texture",
    "Top",
    "TotalVariation",
    "VarGrad",
    "Views",
    "WorkerError",
    "XGradCAM",
    "ZeroSmallGradients",
    "ZeroSmallPixels",
    "animate",
    "channels",
    "class_features",
    "class_view",
    "compare",
    "diagnose",
    "embed",
    "explain",
    "explain_all",
    "feature_maps",
    "filters",
    "interpolated",
    "kernel",
    "make_report",
    "meaning",
    "neighbours",
    "object_mask",
    "predict",
    "preset",
    "receptive_fields",
    "scan_all",
    "top_patches",
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
