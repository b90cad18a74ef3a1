"""FullGrad: the score shared out among the pixels and the biases of every layer."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final, Self, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.arrays import resize
from agnoscope.explainers.base import Attribution, Progress, StepExplainer, answer
from agnoscope.explainers.options import positive
from agnoscope.gradients import gradients
from agnoscope.model import Layer, Model
from agnoscope.patches import Array, Patch
from agnoscope.target import Bound
from agnoscope.tokens import as_map

BIASED: Final = ("conv", "dense", "norm")
"""Kinds of layers that may add something to nothing."""

INCOMPLETE: Final = 1e-3
"""How far, as a share of the score, the parts may miss it before the result tells."""


@final
@dataclass(frozen=True)
class FullGrad(StepExplainer):
    """Full-gradient saliency (Srinivas and Fleuret, NeurIPS 2019).

    A network of linear layers and ReLUs gives input × gradient, summed over the pixels, plus bias × gradient, summed
    over the layers: a complete decomposition of the score. The values are the paper's picture of it: each part's
    absolute value, rescaled to 0 … 1 over each channel, brought to the size of the image bilinearly, all channels and
    layers summed; shape (images, height, width), never negative. Biases of dense layers after the maps have no place
    and are left out of the picture. The input is what the network receives, normalised.

    A layer's bias is what it says to nothing: what it gives when every layer before it is silent. So the biases of
    batch normalisation are among them, and no weight needs to be read. Where the activation is part of the layer, as
    in a Keras layer made with `activation="relu"`, it cuts the bias off, and the part is not the paper's. What is lost
    so, and where other activations than ReLUs bend the score, stands in the extras as "delta": score minus the sum of
    all parts, dense layers included.

    Attributes:
        guard: what is added to a channel's range when it is rescaled; pytorch-grad-cam adds 1e-7. (The authors' code
            adds 1e-6, and rescales all channels of a layer together.)
    """

    name = "full-grad"
    needs = frozenset({"capture", "patch", "gradient"})
    reduction = "positive"

    guard: float = 0.0

    def settle(self, model: Model, size: tuple[int, int]) -> Self:  # noqa: ARG002
        positive("guard", self.guard, or_zero=True)
        return self

    def step(self, model: Model, images: Array, target: Bound) -> dict[str, Array]:
        xp, size = model.xp, (images.shape[1], images.shape[2])
        layers = {layer.name: layer for layer in model.layers(size).values() if layer.kind in BIASED}
        biases = _biases(model, size, images.dtype, layers)
        found = gradients(model, images, target, needs=target.needs, at=tuple(layers), wrt_images=True)
        centre = model.centre(images.dtype)
        pixels = (images - centre) * found.images
        parts = {name: biases[name] * found.layers[name] for name in layers}
        total = sum(xp.sum(part, axis=tuple(range(1, len(part.shape)))) for part in (pixels, *parts.values()))
        maps = [pixels, *(as_map(xp, parts[name], layer) for name, layer in layers.items() if layer.spatial)]
        values = sum(resize(xp, xp.sum(_rescaled(xp, part, self.guard), axis=-1), size) for part in maps)
        return {**answer(values, found), "delta": found.scores - total}

    def attribute(
        self, model: Model, images: NDArray[Any], target: Bound, batch_size: int, progress: Progress
    ) -> Attribution:
        found = super().attribute(model, images, target, batch_size, progress)
        missed = np.abs(found.extras["delta"]) > INCOMPLETE * np.abs(found.scores)
        note = (
            f"For {int(missed.sum())} of {len(missed)} images the parts do not add up to the score (see the extras, "
            "'delta'): activations that are no ReLUs, or stand within a layer, and biases outside of layers are not "
            "shared out."
        )
        return replace(found, notes=(*found.notes, *((note,) if missed.any() else ())))


def _rescaled(xp: Any, part: Array, guard: float) -> Array:
    """ψ of the paper: the absolute value, from 0 to 1 over each channel's map; zeros where it is constant."""
    part = xp.abs(part)
    low = xp.min(part, axis=(1, 2), keepdims=True)
    span = xp.max(part, axis=(1, 2), keepdims=True) - low + guard
    return (part - low) / xp.where(span > 0, span, xp.ones_like(span))


def _biases(model: Model, size: tuple[int, int], dtype: Any, layers: dict[str, Layer]) -> dict[str, Array]:
    """What each of the layers gives when all layers before it, and the image, are zero; shape (1, ...)."""
    xp = model.xp
    heard: dict[str, Array] = {}

    def silenced() -> Iterator[tuple[str, Patch]]:
        # A block's output may be its last layer's: the layer is heard first.
        for name in dict.fromkeys((*layers, *model.layers(size))):

            def silence(activation: Array, name: str = name) -> Array:
                heard[name] = activation
                return xp.zeros_like(activation)

            yield name, silence

    centre = model.centre(dtype)
    nothing = xp.broadcast_to(centre, (1, *size, model.spec.depth))
    model.run(nothing, ("scores",), MappingProxyType(dict(silenced())))
    return {name: heard[name] for name in layers}
