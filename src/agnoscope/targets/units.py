"""Parts of a layer as targets: one neuron, or a whole channel."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from agnoscope.errors import TargetError
from agnoscope.model import Layer, Model
from agnoscope.patches import Array
from agnoscope.target import Bound, Formula, Target
from agnoscope.targets.classes import pick


@final
@dataclass(frozen=True)
class Neuron(Target):
    """One unit of a layer.

    Attributes:
        layer: the layer's name.
        channel: which channel, from 0.
        position: (row, column) of a map; by default its centre. Ignored in a layer without spatial axes.
    """

    layer: str
    channel: int
    position: tuple[int, int] | None = None

    def bind(self, model: Model, count: int, size: tuple[int, int]) -> Bound:
        layer = model.layer(self.layer, size)
        place, where = place_of(layer, self.position)
        return _unit(layer, self.channel, count, place, f"{layer.name}[{self.channel}]{where}")


@final
@dataclass(frozen=True)
class Channel(Target):
    """The mean of a layer's channel over its map.

    Attributes:
        layer: the layer's name.
        channel: which channel, from 0.
    """

    layer: str
    channel: int

    def bind(self, model: Model, count: int, size: tuple[int, int]) -> Bound:
        layer = model.layer(self.layer, size)
        return _unit(layer, self.channel, count, None, f"mean of {layer.name}[{self.channel}]")


def place_of(layer: Layer, position: tuple[int, ...] | None) -> tuple[int, str]:
    """The number of a position in a layer's map, counted row by row, and how to say it.

    Args:
        layer: the layer.
        position: one number for each axis; None is the centre, below and right of it where there is none.

    Raises:
        TargetError: the map has no such position.
    """
    axes = layer.shape[:-1]
    if not axes:
        return 0, ""
    found = tuple(length // 2 for length in axes) if position is None else position
    whole = isinstance(found, tuple) and all(isinstance(p, int | np.integer) for p in found)
    if not (whole and len(found) == len(axes) and all(0 <= p < n for p, n in zip(found, axes, strict=True))):
        raise TargetError(f"The map of layer {layer.name!r} has positions up to {axes}; {found} is not in it.")
    # A flat position serves maps and token lists alike.
    return int(np.ravel_multi_index(found, axes)), f" at {found}"


def _unit(layer: Layer, channel: int, count: int, position: int | None, name: str) -> Bound:
    channels = layer.shape[-1] if layer.shape else 0
    if not isinstance(channel, int | np.integer) or not 0 <= channel < channels:
        raise TargetError(f"Channel {channel!r} of layer {layer.name!r} was asked for; it has {channels}, from 0.")
    arrays = {"channel": np.full(count, channel, dtype=np.int32)}
    if position is not None:
        arrays["position"] = np.full(count, position, dtype=np.int32)
    formula = Formula(_unit_score, (layer.name,), (layer.name, position is None))
    return Bound(formula, arrays, "activation", (name,) * count)


def _unit_score(xp: Any, values: Mapping[str, Array], arrays: Mapping[str, Any], name: str, whole: bool) -> Array:
    activation = values[name]
    flat = xp.reshape(activation, (activation.shape[0], -1, activation.shape[-1]))
    channel = pick(xp, flat, arrays["channel"])
    return xp.mean(channel, axis=1) if whole else pick(xp, channel, arrays["position"])
