"""agnoscope's own backends, explainers, renderers and sources, through the hooks that third parties use."""

from collections.abc import Iterator

from agnoscope.plugins import BackendSpec, ExplainerSpec, RendererSpec, SourceSpec, hookimpl


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
    """One method per file of `agnoscope.explainers`."""
    yield ExplainerSpec("saliency", "agnoscope.explainers.saliency:Saliency")
    yield ExplainerSpec("guided-backprop", "agnoscope.explainers.guided_backprop:GuidedBackprop")
    yield ExplainerSpec("deconvnet", "agnoscope.explainers.deconvnet:Deconvnet")
    yield ExplainerSpec("grad-cam", "agnoscope.explainers.grad_cam:GradCAM")
    yield ExplainerSpec("occlusion", "agnoscope.explainers.occlusion:Occlusion")


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
