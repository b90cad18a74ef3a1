"""FullGrad: the score shared out among the pixels and the biases of every layer."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final, Self, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.arrays import resize
from agnoscope.errors import CapabilityError
from agnoscope.explainers.base import Attribution, Progress, StepExplainer, answer
from agnoscope.explainers.options import positive
from agnoscope.gradients import gradients
from agnoscope.model import Layer, Model
from agnoscope.patches import Array, LinearPatch, Patch, Product
from agnoscope.target import Bound
from agnoscope.tokens import as_map

BIASED: Final = ("conv", "dense", "norm")
"""Kinds of layers that may add something to nothing."""

INCOMPLETE: Final = 1e-3
"""How far, as a share of the score, the parts may miss it before the result tells."""

PROBED: Final = 8
"""Images of noise by which layers with a ReLU of their own are found."""


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
    batch normalisation are among them, and no weight needs to be read. Where a ReLU is part of the layer, as in a Keras
    layer made with `activation="relu"`, it would cut the bias off: there the bias is what the layer gives beyond the
    product of its input and kernel, where it gives anything. What is lost where other activations bend the score stands
    in the extras as "delta": score minus the sum of all parts, dense layers included.

    Attributes:
        guard: what is added to a channel's range when it is rescaled; pytorch-grad-cam adds 1e-7. (The authors' code
            adds 1e-6, and rescales all channels of a layer together.)
    """

    name = "full-grad"
    needs = frozenset({"capture", "patch", "gradient"})
    reduction = "positive"

    guard: float = 0.0

    def settle(self, model: Model, size: tuple[int, int]) -> Self:
        positive("guard", self.guard, or_zero=True)
        _rectified(model, size)  # found before anything is traced
        return self

    def step(self, model: Model, images: Array, target: Bound) -> dict[str, Array]:
        xp, size = model.xp, (images.shape[1], images.shape[2])
        layers = {layer.name: layer for layer in model.layers(size).values() if layer.kind in BIASED}
        biases = _biases(model, size, images.dtype, layers) | _added(model, images, _rectified(model, size))
        found = gradients(model, images, target, needs=target.needs, at=tuple(layers), wrt_images=True)
        centre = model.centre(images.dtype)
        pixels = (images - centre) * found.images
        parts = {name: biases[name] * found.layers[name] for name in layers}
        if "scores" in found.values:  # to which a last layer that holds its softmax says its bias
            parts["scores"] = biases["scores"] * _slope_of_scores(model, target, found.values)
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
            "'delta'): activations that are no ReLUs and biases outside of layers are not shared out."
        )
        return replace(found, notes=(*found.notes, *((note,) if missed.any() else ())))


def _rescaled(xp: Any, part: Array, guard: float) -> Array:
    """ψ of the paper: the absolute value, from 0 to 1 over each channel's map; zeros where it is constant."""
    part = xp.abs(part)
    low = xp.min(part, axis=(1, 2), keepdims=True)
    span = xp.max(part, axis=(1, 2), keepdims=True) - low + guard
    return (part - low) / xp.where(span > 0, span, xp.ones_like(span))


def _biases(model: Model, size: tuple[int, int], dtype: Any, layers: dict[str, Layer]) -> dict[str, Array]:
    """What each of the layers, and the scores, are when all layers before, and the image, are zero; shape (1, ...)."""
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
    said = model.run(nothing, (*layers, "scores"), MappingProxyType(dict(silenced())))
    return {name: heard[name] for name in layers} | {"scores": said["scores"]}


def _slope_of_scores(model: Model, target: Bound, values: Mapping[str, Array]) -> Array:
    """The gradient of the target with respect to the network's scores."""
    _, slopes = model.value_and_grad(lambda leaves: (model.xp.sum(target(model.xp, {**values, **leaves})), {}))(
        {"scores": values["scores"]}
    )
    return slopes["scores"]


def _added(model: Model, images: Array, layers: tuple[str, ...]) -> dict[str, Array]:
    """What each of the layers gives beyond the product of its input and kernel, where it gives anything.

    One number for each channel of an image: roundings would else make a pattern of what is the same everywhere.
    """
    xp = model.xp
    heard: dict[str, Array] = {}

    def hearing(name: str) -> LinearPatch:
        def hear(activation: Array, product: Product) -> Array:
            given, zeros = activation != 0, xp.zeros_like(activation)
            beyond = xp.where(given, activation - product(_itself, _itself), zeros)
            places = tuple(range(1, len(activation.shape) - 1))
            count = xp.sum(xp.astype(given, activation.dtype), axis=places, keepdims=True)
            mean = xp.sum(beyond, axis=places, keepdims=True) / xp.where(count > 0, count, xp.ones_like(count))
            heard[name] = xp.where(given, mean, zeros)
            return activation

        return LinearPatch(hear)

    if layers:
        model.run(images, ("scores",), {name: hearing(name) for name in layers})
    return heard


def _rectified(model: Model, size: tuple[int, int]) -> tuple[str, ...]:
    """The linear layers that end in a ReLU of their own: what they make of noise goes down to 0 and not below.

    Looked for once for a network and size; layers that cannot be asked for a product are left out.
    """
    key = ("rectified", size, model.binding)
    if key not in model.measured:
        names = tuple(layer.name for layer in model.layers(size).values() if layer.kind in ("conv", "dense"))
        low, high = np.clip(model.spec.bounds, -1e3, 1e3)  # bounds may be infinite
        noise = np.random.default_rng(0).uniform(low, high, (PROBED, *size, model.spec.depth)).astype(model.dtype)
        lowest = model.compile(_lowest_program, names)(noise)
        model.measured[key] = tuple(name for name in names if name in lowest and (lowest[name] == 0).all())
    return model.measured[key]


def _lowest_program(model: Model, names: tuple[str, ...], images: Array) -> dict[str, Array]:
    """The smallest activation of each layer that can be asked for a product."""
    xp = model.xp
    lowest: dict[str, Array] = {}

    def hearing(name: str) -> LinearPatch:
        def hear(activation: Array, product: Product) -> Array:
            with suppress(CapabilityError):
                product(_itself, _itself)
                lowest[name] = xp.reshape(xp.min(activation), (1,))
            return activation

        return LinearPatch(hear)

    model.run(images, ("scores",), {name: hearing(name) for name in names})
    return lowest


def _itself(array: Array) -> Array:
    return array
