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
        axes = layer.shape[:-1]
        position = tuple(length // 2 for length in axes) if self.position is None else self.position
        whole = isinstance(position, tuple) and all(isinstance(p, int | np.integer) for p in position)
        if axes and not (
            whole and len(position) == len(axes) and all(0 <= p < n for p, n in zip(position, axes, strict=True))
        ):
            raise TargetError(f"The map of layer {layer.name!r} has positions up to {axes}; {position} is not in it.")
        where = "" if not axes else f" at {tuple(position)}"
        # A flat position serves maps and token lists alike.
        flat = int(np.ravel_multi_index(position, axes)) if axes else 0
        return _unit(layer, self.channel, count, flat, f"{layer.name}[{self.channel}]{where}")


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


def _unit(layer: Layer, channel: int, count: int, position: int | None, name: str) -> Bound:
    channels = layer.shape[-1] if layer.shape else 0
    if not isinstance(channel, int | np.integer) or not 0 <= channel < channels:
        raise TargetError(f"Channel {channel!r} of layer {layer.name!r} was asked for; it has {channels}, from 0.")
    arrays = {"channel": np.full(count, channel, dtype=np.int32)}
    if position is not None:
        arrays["position"] = np.full(count, position, dtype=np.int32)
    return Bound(Formula(_unit_score, (layer.name,), (layer.name,)), arrays, "activation", (name,) * count)


def _unit_score(xp: Any, values: Mapping[str, Array], arrays: Mapping[str, Any], name: str) -> Array:
    activation = values[name]
    flat = xp.reshape(activation, (activation.shape[0], -1, activation.shape[-1]))
    channel = pick(xp, flat, arrays["channel"])
    return pick(xp, channel, arrays["position"]) if "position" in arrays else xp.mean(channel, axis=1)
