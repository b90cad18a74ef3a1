"""What LRP's rules go by: the linear parts of a network, and how much comes in at each of their units.

Every rule shares a unit's relevance out in proportion to terms h of its inputs, a w or some of them, weighed. As a
gradient that is the one of H = Σ h times z / H', where z is the unit, and H' is H and what the bias adds to it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, TypeAlias, final

import numpy as np

from agnoscope.model import Layer, Model
from agnoscope.patches import Array, LinearPatch, Patch, Product

Rule: TypeAlias = Literal["epsilon", "z-plus", "gamma"]

LINEAR: Final = ("conv", "dense", "norm")
"""Kinds of layers that add up weighted inputs."""

MOVED: Final = 1e-4
"""A change, as a share of the largest value, that is no rounding."""


@final
@dataclass(frozen=True)
class Part:
    """A linear part of a network: one layer, or a convolution and the batch normalisation that it alone feeds.

    Attributes:
        product: name of the layer that has the kernel.
        output: name of the layer that gives z.
        rule: how its relevance goes on.
    """

    product: str
    output: str
    rule: Rule


class Line(NamedTuple):
    """What a part makes of the sum of its terms: scale · sum + bias; shapes (channels,) and (1, ...) as z has it."""

    scale: Array
    bias: Array


class Sums(NamedTuple):
    """What comes in at each unit: the sum of all terms a w, which only gamma asks for, and of those above 0."""

    total: Array
    positive: Array


def linear_parts(model: Model, size: tuple[int, int], rules: Mapping[str, Rule]) -> Iterator[Part]:
    """The linear parts, in order.

    Args:
        model: the network.
        size: height and width of the image.
        rules: kind of layer to rule; epsilon where there is none.
    """
    normalised = normalisations(model, size)
    for layer in model.layers(size).values():
        if layer.kind in LINEAR and layer.name not in normalised.values():
            yield Part(layer.name, normalised.get(layer.name, layer.name), rules.get(layer.kind, "epsilon"))


def normalisations(model: Model, size: tuple[int, int]) -> Mapping[str, str]:
    """Layer to the batch normalisation that receives what it gives and nothing else.

    That one runs right after the other does not tell: a branch or a sum may lie between them. So the layer is held
    still while the image changes, in one run for all, once for a network and size: what changes then hears others, too.
    """
    key = ("normalisations", size, model.binding)
    if key not in model.measured:
        pairs = pairwise(model.layers(size).values())
        named = tuple((layer.name, after.name) for layer, after in pairs if _normalises(after, layer))
        low, high = model.spec.bounds
        images = np.random.default_rng(0).uniform(low, high, (2, *size, model.spec.depth)).astype(model.dtype)
        moved = model.compile(_held_program, named)(images) if named else {}
        model.measured[key] = {layer: norm for layer, norm in named if moved[norm][0] <= MOVED}
    return MappingProxyType(model.measured[key])


def _held_program(model: Model, named: tuple[tuple[str, str], ...], images: Array) -> dict[str, Array]:
    """How far each normalisation differs between two images, relative to its largest value."""
    xp = model.xp
    moved: dict[str, Array] = {}

    def held(activation: Array) -> Array:
        return xp.concat([activation[:1, ...], activation[:1, ...]], axis=0)

    def hearing(name: str) -> Patch:
        def hear(activation: Array) -> Array:
            one, other = activation[:1, ...], activation[1:, ...]
            moved[name] = xp.reshape(xp.max(xp.abs(other - one)) / xp.max(xp.abs(one)), (1,))
            return xp.concat([one, 1 - one], axis=0)  # so that the images differ from here on, too

        return hear

    patches = {layer: held for layer, _ in named} | {norm: hearing(norm) for _, norm in named}
    model.run(images, ("scores",), patches)
    return moved


def lines_of(model: Model, size: tuple[int, int], dtype: Any, parts: Sequence[Part]) -> dict[str, Line]:
    """Scale and bias of each part, by the name of its output.

    They show in two examples in which every layer is silent, but that in the second one a convolution with a
    normalisation after it says one more. So no weight needs to be read.
    """
    xp = model.xp
    heard: dict[str, Array] = {}

    def louder(activation: Array) -> Array:
        # Not a sum with two constants, which TensorFlow's optimiser takes for a bias of the convolution.
        return xp.concat([activation[:1, ...], activation[1:, ...] + 1], axis=0)

    def hearing(name: str) -> Patch:
        def hear(activation: Array) -> Array:
            heard[name] = activation
            return xp.zeros_like(activation)

        return hear

    patches = {part.product: louder for part in parts} | {part.output: hearing(part.output) for part in parts}
    # A block's output may be its last layer's: the part is heard first.
    patches = {name: patches.get(name, xp.zeros_like) for name in dict.fromkeys((*patches, *model.layers(size)))}
    centre = model.centre(dtype)
    nothing = xp.broadcast_to(centre, (2, *size, model.spec.depth))
    model.run(nothing, tuple(part.output for part in parts), patches)
    found = {}
    for part in parts:
        y = heard[part.output]
        rows = xp.reshape(y, (2, -1, y.shape[-1]))
        scale = rows[1, 0, :] - rows[0, 0, :]
        found[part.output] = Line(scale if part.product != part.output else xp.ones_like(scale), y[:1, ...])
    return found


def listener(xp: Any, part: Part, line: Line, into: dict[str, Sums]) -> LinearPatch:
    """A patch that changes nothing, and notes the sums of a part under the name of its output."""

    def listen(activation: Array, product: Product) -> Array:
        into[part.output] = _sums(xp, part.rule, product, line.scale)
        return activation

    return LinearPatch(listen)


def weighed(xp: Any, rule: Rule, gamma: float, z: Array, bias: Array, sums: Sums) -> tuple[Array, Array]:
    """H, in proportion to whose terms the relevance of z is shared out, and H', which is H and the bias's part."""
    if rule == "z-plus":
        return sums.positive, sums.positive + _above(xp, bias)
    favoured = xp.where(z > 0, sums.positive, sums.total - sums.positive)
    # An activation within the layer may have cut a bias below 0 off; that one does not matter, z being cut off, too.
    whole = z + gamma * (favoured + xp.where(z > 0, _above(xp, bias), _below(xp, bias)))
    return sums.total + gamma * favoured, whole


def _normalises(after: Layer, layer: Layer) -> bool:
    batch_norm = after.kind == "norm" and "batch" in after.type.lower()
    return batch_norm and layer.kind in ("conv", "dense") and after.shape == layer.shape


def _sums(xp: Any, rule: Rule, product: Product, scale: Array) -> Sums:
    # Positive terms are those of positive inputs and weights, and of negative ones.
    positive = product(lambda a: _above(xp, a), lambda w: _above(xp, w * scale))
    positive = positive + product(lambda a: _below(xp, a), lambda w: _below(xp, w * scale))
    return Sums(product(lambda a: a, lambda w: w * scale) if rule == "gamma" else None, positive)


def _above(xp: Any, x: Array) -> Array:
    return xp.where(x > 0, x, xp.zeros_like(x))


def _below(xp: Any, x: Array) -> Array:
    return xp.where(x < 0, x, xp.zeros_like(x))
