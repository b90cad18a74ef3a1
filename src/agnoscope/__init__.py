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
        PluginError,
        TargetError,
    )
    from agnoscope.explainers.base import Explainer
    from agnoscope.explainers.deconvnet import Deconvnet
    from agnoscope.explainers.grad_cam import GradCAM
    from agnoscope.explainers.guided_backprop import GuidedBackprop
    from agnoscope.explainers.occlusion import Occlusion
    from agnoscope.explainers.saliency import Saliency
    from agnoscope.explanation import Explanation, Provenance
    from agnoscope.model import Layer, Model
    from agnoscope.target import Channel, ClassScore, Neuron, Score, Target

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
        "PluginError",
        "TargetError",
    ),
    "agnoscope.explainers.base": ("Explainer",),
    "agnoscope.explainers.deconvnet": ("Deconvnet",),
    "agnoscope.explainers.grad_cam": ("GradCAM",),
    "agnoscope.explainers.guided_backprop": ("GuidedBackprop",),
    "agnoscope.explainers.occlusion": ("Occlusion",),
    "agnoscope.explainers.saliency": ("Saliency",),
    "agnoscope.explanation": ("Explanation", "Provenance"),
    "agnoscope.model": ("Layer", "Model"),
    "agnoscope.target": ("Channel", "ClassScore", "Neuron", "Score", "Target"),
}
_HOME = {name: module for module, names in HOMES.items() for name in names}

__all__ = [
    "AgnoscopeError",
    "Answer",
    "CapabilityError",
    "Channel",
    "ClassScore",
    "Deconvnet",
    "Explainer",
    "Explanation",
    "FileError",
    "GradCAM",
    "GuidedBackprop",
    "ImageError",
    "Layer",
    "LayerError",
    "MissingFrameworkError",
    "Model",
    "ModelError",
    "Neuron",
    "NonFiniteError",
    "Occlusion",
    "OptionError",
    "PluginError",
    "Provenance",
    "Saliency",
    "Score",
    "Target",
    "TargetError",
    "explain",
    "predict",
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
