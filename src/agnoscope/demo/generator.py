"""A small generator of demo scenes, the same in PyTorch, Flax and Keras: from a code to a picture.

The decoder of an autoencoder that `benchmarks/train_generator.py` trains on scenes made simple: the thing in the middle
of a ground of one colour. To agnoscope it is a network as any other, whose image is the code, one pixel of `CODE`
channels, and whose output is the picture. Each layer is a convolution: the first one lays its kernel out around the one
pixel, the others follow an enlargement by two.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from agnoscope.api import wrap
from agnoscope.demo.architecture import Weights, load_weights
from agnoscope.demo.networks import torch_sequential
from agnoscope.errors import OptionError
from agnoscope.model import Model
from agnoscope.plugins import plugins

if TYPE_CHECKING:
    import flax.linen
    import keras
    import torch

CODE: Final = 16
"""Numbers of a code; the autoencoder is trained to have them normally distributed, with a deviation of 1."""

REACH: Final = 3.0
"""Codes lie between -3 and 3."""


class Enlargement(NamedTuple):
    """One convolution: name, channels, kernel side, zeros around its input, enlargement before it."""

    name: str
    inputs: int
    outputs: int
    kernel: int
    padding: int
    factor: int


# 1 pixel, then 6 × 6, 12 × 12, 24 × 24, 48 × 48 and 96 × 96.
CONVOLUTIONS: Final = (
    Enlargement("conv1", CODE, 48, 6, 5, 1),
    Enlargement("conv2", 48, 40, 3, 1, 2),
    Enlargement("conv3", 40, 32, 3, 1, 2),
    Enlargement("conv4", 32, 24, 3, 1, 2),
    Enlargement("conv5", 24, 3, 3, 1, 2),
)


def load(backend: str) -> Model:
    """The generator in one framework, for `agnoscope.optimisation.parameterisations.generator.Generator`.

    Args:
        backend: "jax", "torch" or "tensorflow".

    Raises:
        OptionError: it cannot be built for this backend.
        MissingFrameworkError: the framework is not installed.
    """
    if backend not in BUILDERS:
        raise OptionError(f"The demo generator is built for {', '.join(BUILDERS)}, not for {backend!r}.")
    plugins().use("backend", backend)  # says what to install where the framework is missing
    network, variables = BUILDERS[backend](load_weights("generator"))
    return wrap(network, variables, input_size=(1, 1), channels=CODE, bounds=(-REACH, REACH))


def torch_network(weights: Weights) -> "torch.nn.Sequential":
    """Build it in PyTorch.

    Args:
        weights: As `load_weights` returns them.

    Returns:
        A module in evaluation mode, from codes N×16×1×1 to pictures N×3×96×96 in 0..1.
    """
    import torch

    layers: OrderedDict[str, torch.nn.Module] = OrderedDict()
    for name, inputs, outputs, kernel, padding, factor in CONVOLUTIONS:
        if factor > 1:
            layers[name.replace("conv", "larger")] = torch.nn.Upsample(scale_factor=factor)
        layers[name] = torch.nn.Conv2d(inputs, outputs, kernel, padding=padding)
        layers[name.replace("conv", "relu")] = torch.nn.ReLU()
    layers.popitem()
    layers["sigmoid"] = torch.nn.Sigmoid()
    return torch_sequential(layers, weights)


def flax_network(weights: Weights) -> tuple["flax.linen.Module", dict[str, Any]]:
    """Build it in Flax (Linen).

    Args:
        weights: As `load_weights` returns them.

    Returns:
        A module and its variables, from codes N×1×1×16 to pictures N×96×96×3 in 0..1.
    """
    from flax import linen
    from flax.traverse_util import unflatten_dict

    class DemoGenerator(linen.Module):  # type: ignore[misc]  # Flax is not typed here.
        @linen.compact  # type: ignore[untyped-decorator]
        def __call__(self, x: Any) -> Any:
            for name, _, outputs, kernel, padding, factor in CONVOLUTIONS:
                x = linen.relu(x) if factor > 1 else x
                x = x.repeat(factor, axis=1).repeat(factor, axis=2)
                x = linen.Conv(outputs, (kernel, kernel), padding=padding, name=name)(x)
            return linen.sigmoid(x)

    return DemoGenerator(), {"params": unflatten_dict(weights, sep="/")}


def keras_network(weights: Weights) -> "keras.Sequential":
    """Build it in Keras.

    Args:
        weights: As `load_weights` returns them.

    Returns:
        A model from codes N×1×1×16 to pictures N×96×96×3 in 0..1.
    """
    import keras

    network = keras.Sequential([keras.Input((1, 1, CODE))])
    for name, _, outputs, kernel, padding, factor in CONVOLUTIONS:
        if factor > 1:
            network.add(keras.layers.ReLU(name=name.replace("conv", "relu")))
            network.add(keras.layers.UpSampling2D(factor, name=name.replace("conv", "larger")))
        network.add(keras.layers.ZeroPadding2D(padding))
        network.add(keras.layers.Conv2D(outputs, kernel, name=name))
        network.get_layer(name).set_weights([weights[f"{name}/kernel"], weights[f"{name}/bias"]])
    network.add(keras.layers.Activation("sigmoid"))
    return network


BUILDERS: Final[Mapping[str, Callable[[Weights], tuple[Any, Any]]]] = {
    "jax": flax_network,
    "torch": lambda weights: (torch_network(weights), None),
    "tensorflow": lambda weights: (keras_network(weights), None),
}
