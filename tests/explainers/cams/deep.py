"""A network of two convolutions in float64, what its layers give, and maps as shares of their largest value."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import agnoscope as ag
from agnoscope.backends.reference import Network
from agnoscope.testing import deep_network, images

X = images().astype(np.float64)
TARGETS = [2, 0, 3]
CENTRE = np.array([0.5, 0.4, 0.6])


def double(network: Network, **changes: Any) -> Network:
    """The network in float64, with other operations under some names, or without them (None)."""
    layers: dict[str, Any] = {**network.layers, **changes}
    for name, op in layers.items():
        if hasattr(op, "kernel"):
            layers[name] = replace(op, kernel=op.kernel.astype(np.float64), bias=op.bias.astype(np.float64))
    return Network({name: op for name, op in layers.items() if op is not None})


DEEP = double(deep_network())
HEAD: Any = DEEP.layers["dense"]


def capture(model: ag.Model, layer: str, x: Any) -> dict[str, Any]:
    """A program that gives what a layer does."""
    return {"found": model.run(x, (layer,))[layer]}


def captured(network: Network, layer: str, x: NDArray[Any] = X) -> NDArray[Any]:
    """What a layer gives."""
    return ag.wrap(network).compile(capture, layer)(x)["found"]


def scaled(values: NDArray[Any]) -> NDArray[Any]:
    """What is positive of each map, as a share of its largest value."""
    positive = np.maximum(values, 0)
    return positive / positive.max(axis=(1, 2), keepdims=True)
