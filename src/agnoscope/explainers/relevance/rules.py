"""What LRP's rules go by: the linear parts of a network, and how much comes in at each of their units.

Every rule shares a unit's relevance out in proportion to terms h of its inputs, a w or some of them, weighed. As a
gradient that is the one of H = Σ h times z / H', where z is the unit, and H' is H and what the bias adds to it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Literal, NamedTuple, TypeAlias, final

from agnoscope.model import Layer, Model
from agnoscope.patches import Array, LinearPatch, Patch, Product

Rule: TypeAlias = Literal["epsilon", "z-plus", "gamma"]

LINEAR: Final = ("conv", "dense", "norm")
"""Kinds of layers that add up weighted inputs."""


@final
@dataclass(frozen=True)
class Part:
    """A linear part of a network: one layer, or a convolution and the batch normalisation right after it.

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
    merged = ""
    for layer, after in pairwise([*model.layers(size).values(), None]):
        if layer is None or layer.kind not in LINEAR or layer.name == merged:
            continue
        merged = after.name if after is not None and _normalises(after, layer) else ""
        yield Part(layer.name, merged or layer.name, rules.get(layer.kind, "epsilon"))


def lines_of(model: Model, size: tuple[int, int], dtype: Any, parts: Sequence[Part]) -> dict[str, Line]:
    """Scale and bias of each part, by the name of its output.

    They show in two examples in which every layer is silent, but that in the second one a convolution with a
    normalisation after it says one more. So no weight needs to be read.
    """
    xp = model.xp
    heard: dict[str, Array] = {}
    steps = xp.asarray([0.0, 1.0], dtype=dtype)

    def louder(activation: Array) -> Array:
        return activation + xp.reshape(steps, (2, *(1,) * (len(activation.shape) - 1)))

    def hearing(name: str) -> Patch:
        def hear(activation: Array) -> Array:
            heard[name] = activation
            return xp.zeros_like(activation)

        return hear

    patches = {part.product: louder for part in parts} | {part.output: hearing(part.output) for part in parts}
    # A block's output may be its last layer's: the part is heard first.
    patches = {name: patches.get(name, xp.zeros_like) for name in dict.fromkeys((*patches, *model.layers(size)))}
    centre = xp.asarray(model.spec.centre, dtype=dtype)  # which the network receives as zeros
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
    return batch_norm and layer.kind != "norm" and after.shape == layer.shape


def _sums(xp: Any, rule: Rule, product: Product, scale: Array) -> Sums:
    # Positive terms are those of positive inputs and weights, and of negative ones.
    positive = product(lambda a: _above(xp, a), lambda w: _above(xp, w * scale))
    positive = positive + product(lambda a: _below(xp, a), lambda w: _below(xp, w * scale))
    return Sums(product(lambda a: a, lambda w: w * scale) if rule == "gamma" else None, positive)


def _above(xp: Any, x: Array) -> Array:
    return xp.where(x > 0, x, xp.zeros_like(x))


def _below(xp: Any, x: Array) -> Array:
    return xp.where(x < 0, x, xp.zeros_like(x))
