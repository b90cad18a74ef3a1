"""Small networks in float64 whose attributions can be written down, for the methods that have a baseline."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agnoscope import Model, wrap
from agnoscope.backends.reference import Conv, Dense, GlobalAverage, Network, Relu
from agnoscope.testing import images, linear_network, rectified_network

X = images().astype(np.float64)
TARGETS = [2, 0, 3]


def double(network: Network) -> Network:
    """The network with weights in float64."""
    layers: dict[str, Any] = dict(network.layers)
    for name, operation in layers.items():
        if isinstance(operation, Conv | Dense):
            weights = operation.kernel.astype(np.float64), operation.bias.astype(np.float64)
            layers[name] = replace(operation, kernel=weights[0], bias=weights[1])
    return Network(layers)


def linear_model() -> Model:
    return wrap(double(linear_network()))


def linear_weights() -> NDArray[np.float64]:
    """The gradient of the scores `TARGETS`, one image each."""
    return np.moveaxis(linear_network().layers["conv"].kernel, -1, 0)[TARGETS].astype(np.float64)


def always_open() -> Network:
    """The linear network behind a ReLU whose units are all far above zero."""
    layers: dict[str, Any] = dict(double(linear_network()).layers)
    lifted = Conv(layers["conv"].kernel, layers["conv"].bias + 100)
    return Network({"conv": lifted, "relu": Relu(), "gap": GlobalAverage()})


def rectified_model() -> Model:
    return wrap(double(rectified_network()))


def rectified_path(x: NDArray[Any], baseline: float, index: int) -> NDArray[Any]:
    """(x - b) times the gradient's mean on the way from the baseline, where a gate is open for a share of the way."""
    layers = double(rectified_network()).layers
    w, bias, v = layers["conv"].kernel[0, 0], layers["conv"].bias, layers["dense"].kernel
    z, z0 = x @ w + bias, np.full_like(x, baseline) @ w + bias
    share = (np.maximum(z, 0) - np.maximum(z0, 0)) / (z - z0)
    return (x - baseline) * ((share * v[:, index] / (x.shape[1] * x.shape[2])) @ w.T)


def saturated_model() -> Model:
    """f = 1 - relu(1 - x), on an image of one gray pixel within (0, 2)."""
    one = np.ones((1, 1))
    layers = {"conv": Conv(-one[None, None], np.ones(1)), "relu": Relu(), "gap": GlobalAverage()}
    return wrap(Network({**layers, "dense": Dense(-one, np.ones(1))}), channels="L", bounds=(0, 2), input_size=(1, 1))


SATURATED = np.full((1, 1, 1, 1), 2.0)


def only(run: Any) -> Any:
    """The only score there is."""
    return run["scores"][:, 0]


def pair_model() -> Model:
    """Scores (x1, x2): the two gray pixels themselves, within (0, 4)."""
    pixels = np.eye(2).reshape(1, 2, 1, 2)
    return wrap(Network({"conv": Conv(pixels, np.zeros(2)), "gap": GlobalAverage()}), channels="L", bounds=(0, 4))


PAIR = np.array([3.0, 0.5]).reshape(1, 1, 2, 1)


def product(run: Any) -> Any:
    """The first score times the second."""
    return run["scores"][:, 0] * run["scores"][:, 1]


def equal_models() -> tuple[Model, Model]:
    """One function as two networks: a linear layer in one piece or in two, a ReLU once or twice."""
    layers: dict[str, Any] = dict(double(rectified_network()).layers)
    conv, dense = layers["conv"], layers["dense"]
    half = np.random.default_rng(0).normal(size=(3, 3))
    first = Conv(half[None, None], np.zeros(3))
    second = Conv(np.linalg.solve(half, conv.kernel[0, 0])[None, None], conv.bias)
    ends = {"gap": GlobalAverage(), "dense": dense}
    other = Network({"first": first, "second": second, "relu": Relu(), "again": Relu(), **ends})
    return wrap(Network(layers)), wrap(other)


def without_red() -> Model:
    """A network that does not look at the first channel."""
    layers: dict[str, Any] = dict(double(rectified_network()).layers)
    layers["conv"].kernel[:, :, 0] = 0
    return wrap(Network(layers))
