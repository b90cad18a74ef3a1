"""agnoscope's own backends, methods, renderers, sources and engines, through the hooks that third parties use."""

from collections.abc import Iterator
from typing import Final

from agnoscope.plugins import (
    BackendSpec,
    EngineSpec,
    ExplainerSpec,
    RendererSpec,
    SourceSpec,
    SynthesizerSpec,
    hookimpl,
)

METHODS: Final = {
    # Gradients with respect to the image or to a layer.
    "blur-ig": "gradients.blur_ig:BlurIG",
    "deconvnet": "gradients.deconvnet:Deconvnet",
    "deep-lift": "gradients.deep_lift:DeepLift",
    "expected-gradients": "gradients.expected_gradients:ExpectedGradients",
    "guided-backprop": "gradients.guided_backprop:GuidedBackprop",
    "guided-ig": "gradients.guided_ig:GuidedIG",
    "input-x-gradient": "gradients.input_x_gradient:InputXGradient",
    "integrated-gradients": "gradients.integrated_gradients:IntegratedGradients",
    "saliency": "gradients.saliency:Saliency",
    "smoothgrad": "gradients.smoothgrad:SmoothGrad",
    "smoothgrad-squared": "gradients.smoothgrad:SmoothGradSquared",
    "vargrad": "gradients.smoothgrad:VarGrad",
    "xrai": "gradients.xrai:XRAI",
    # Class activation maps.
    "ablation-cam": "cams.ablation_cam:AblationCAM",
    "cam": "cams.cam:CAM",
    "channel-mean": "cams.channel_mean:ChannelMean",
    "eigen-cam": "cams.eigen_cam:EigenCAM",
    "eigen-grad-cam": "cams.eigen_grad_cam:EigenGradCAM",
    "full-grad": "cams.fullgrad:FullGrad",
    "grad-cam": "cams.grad_cam:GradCAM",
    "grad-cam++": "cams.grad_cam_plus_plus:GradCAMPlusPlus",
    "guided-grad-cam": "cams.guided_grad_cam:GuidedGradCAM",
    "hires-cam": "cams.hires_cam:HiResCAM",
    "layer-cam": "cams.layer_cam:LayerCAM",
    "score-cam": "cams.score_cam:ScoreCAM",
    "several-layers": "cams.several_layers:SeveralLayers",
    "xgrad-cam": "cams.xgrad_cam:XGradCAM",
    # The image is changed, and the score watched.
    "extremal-perturbation": "perturbation.extremal:ExtremalPerturbation",
    "feature-ablation": "perturbation.feature_ablation:FeatureAblation",
    "kernel-shap": "perturbation.kernel_shap:KernelSHAP",
    "lime": "perturbation.lime:LIME",
    "occlusion": "perturbation.occlusion:Occlusion",
    "rise": "perturbation.rise:RISE",
    "shapley-sampling": "perturbation.shapley:ShapleySampling",
    # The score handed back.
    "lrp": "relevance.lrp:LRP",
    # Controls, and wrappers.
    "random": "controls:RandomMap",
    "edge-filter": "controls:EdgeFilter",
    "constant": "controls:ConstantMap",
}
"""Name to module and class."""

IMAGINED: Final = {
    "caricature": "caricature:Caricature",
    "deep-dream": "deep_dream:DeepDream",
    "feature-accentuation": "feature_accentuation:FeatureAccentuation",
    "feature-inversion": "feature_inversion:FeatureInversion",
    "feature-visualization": "feature_visualization:FeatureVisualization",
    "fooling": "fooling:Fooling",
    "multifaceted": "multifaceted:Multifaceted",
    "style-transfer": "style_transfer:StyleTransfer",
    "texture": "texture:Texture",
}
"""Of the methods that make images: name to module and class."""


@hookimpl
def agnoscope_backends() -> Iterator[BackendSpec]:
    """One adapter per framework, and the NumPy oracle."""
    yield BackendSpec(
        "torch",
        "agnoscope.backends.torch:wrap",
        "agnoscope[torch]",
        model_types=("torch.nn.Module", "torch.export.ExportedProgram"),
        needs=("torch",),
    )
    yield BackendSpec(
        "jax",
        "agnoscope.backends.jax:wrap",
        "agnoscope[jax]",
        model_types=("flax.linen.Module", "flax.nnx.Module"),
        needs=("jax",),
    )
    yield BackendSpec(
        "tensorflow",
        "agnoscope.backends.tensorflow:wrap",
        "agnoscope[tensorflow]",
        model_types=("tensorflow.Module", "tf_keras.Model"),
        needs=("tensorflow",),
    )
    yield BackendSpec(
        "keras",
        "agnoscope.backends.keras:wrap",
        "agnoscope[tensorflow]",
        model_types=("keras.Layer",),
        needs=("keras",),
    )
    yield BackendSpec(
        "reference",
        "agnoscope.backends.reference:wrap",
        model_types=("agnoscope.backends.reference.Network",),
    )


@hookimpl
def agnoscope_explainers() -> Iterator[ExplainerSpec]:
    """One method per class of `agnoscope.explainers`."""
    for name, factory in METHODS.items():
        yield ExplainerSpec(name, f"agnoscope.explainers.{factory}")


@hookimpl
def agnoscope_synthesizers() -> Iterator[SynthesizerSpec]:
    """One method per class of `agnoscope.explainers.synthesis`."""
    for name, factory in IMAGINED.items():
        yield SynthesizerSpec(name, f"agnoscope.explainers.synthesis.{factory}")


@hookimpl
def agnoscope_renderers() -> Iterator[RendererSpec]:
    """The map over its photo, the map alone, and the look of the Keras book."""
    yield RendererSpec("overlay", "agnoscope.render.figures:overlay")
    yield RendererSpec("heatmap", "agnoscope.render.figures:heatmap")
    yield RendererSpec("keras-book", "agnoscope.render.figures:keras_book")


@hookimpl
def agnoscope_sources() -> Iterator[SourceSpec]:
    """Where the command line takes networks from."""
    yield SourceSpec("demo", "agnoscope.sources:demo")
    yield SourceSpec(
        "torchvision", "agnoscope.sources:torchvision", "torchvision agnoscope[torch]", needs=("torchvision",)
    )
    yield SourceSpec("keras", "agnoscope.sources:keras_applications", "agnoscope[tensorflow]", needs=("keras",))
    yield SourceSpec("py", "agnoscope.sources:python")
    yield SourceSpec("file", "agnoscope.sources:keras_file", "agnoscope[tensorflow]", needs=("keras",))


@hookimpl
def agnoscope_engines() -> Iterator[EngineSpec]:
    """Where a scan computes."""
    yield EngineSpec("local", "agnoscope.scan.engines:local")
    yield EngineSpec("ray", "agnoscope.scan.ray_engine:Ray", "agnoscope[ray]", needs=("ray",))
