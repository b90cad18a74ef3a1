"""The bundled networks, wrapped and ready to be explained, in any framework."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from agnoscope.api import wrap
from agnoscope.backends.reference import Conv, Dense, GlobalAverage, Network, Operation, Relu
from agnoscope.demo.architecture import CLASS_NAMES, CONVOLUTIONS, INPUT_SIZE, MEAN, STD, Weights, load_weights
from agnoscope.demo.networks import flax_network, keras_network, torch_network
from agnoscope.errors import OptionError
from agnoscope.model import Model
from agnoscope.plugins import plugins

NAMES: Final = ("honest", "cheater", "memoriser")


def load(name: str, backend: str) -> Model:
    """One of the bundled networks in one framework.

    Args:
        name: "honest", "cheater" or "memoriser".
        backend: "jax", "torch", "tensorflow" or "reference".

    Raises:
        OptionError: there is no such network, or it cannot be built for this backend.
        MissingFrameworkError: the framework is not installed.
    """
    if name not in NAMES:
        raise OptionError(f"There is no demo network {name!r}; there are {', '.join(NAMES)}.")
    if backend not in BUILDERS:
        raise OptionError(f"The demo networks are built for {', '.join(BUILDERS)}, not for {backend!r}.")
    plugins().use("backend", backend)  # says what to install where the framework is missing
    network, variables = BUILDERS[backend](load_weights(name))
    return wrap(network, variables, input_size=INPUT_SIZE, mean=MEAN, std=STD, labels=CLASS_NAMES)


def reference_network(weights: Weights) -> Network:
    """The network for the NumPy backend, with the layers' names that it has in the frameworks."""
    layers: dict[str, Operation] = {}
    for name, _, _, _, stride in CONVOLUTIONS:
        layers[name] = Conv(weights[f"{name}/kernel"], weights[f"{name}/bias"], stride, padding=1)
        layers[name.replace("conv", "relu")] = Relu()
    layers["pool"] = GlobalAverage()
    layers["dense"] = Dense(weights["dense/kernel"], weights["dense/bias"])
    return Network(layers)


BUILDERS: Final[Mapping[str, Callable[[Weights], tuple[Any, Any]]]] = {
    "jax": flax_network,
    "torch": lambda weights: (torch_network(weights), None),
    "tensorflow": lambda weights: (keras_network(weights), None),
    "reference": lambda weights: (reference_network(weights), None),
}
