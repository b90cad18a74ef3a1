"""The demo network built in PyTorch, Flax and Keras: same layers, same names, same scores.

All three take normalised pictures and give scores before softmax. Each framework is imported only
when its network is built.
"""

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from agnoscope.demo.architecture import CLASS_NAMES, CONVOLUTIONS, FEATURES, INPUT_SIZE, Weights

if TYPE_CHECKING:
    import flax.linen
    import keras
    import torch


def torch_network(weights: Weights) -> "torch.nn.Sequential":
    """Build the network in PyTorch.

    Args:
        weights: As `load_weights` returns them.

    Returns:
        A module in evaluation mode, from N×3×96×96 to N×3 scores. Its layers are conv1, relu1, ...
        conv5, relu5, pool, flatten, dense.
    """
    import torch

    layers: OrderedDict[str, torch.nn.Module] = OrderedDict()
    for name, inputs, outputs, kernel, stride in CONVOLUTIONS:
        layers[name] = torch.nn.Conv2d(inputs, outputs, kernel, stride, padding=1)
        layers[name.replace("conv", "relu")] = torch.nn.ReLU()
    layers["pool"] = torch.nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = torch.nn.Flatten()
    layers["dense"] = torch.nn.Linear(FEATURES, len(CLASS_NAMES))
    return torch_sequential(layers, weights)


def torch_sequential(layers: "OrderedDict[str, torch.nn.Module]", weights: Weights) -> "torch.nn.Sequential":
    """Layers of PyTorch one after the other, with these weights, in evaluation mode.

    Args:
        layers: By name.
        weights: As `load_weights` returns them.
    """
    import torch

    network = torch.nn.Sequential(layers)
    # PyTorch puts outputs and inputs first: (outputs, inputs, height, width), (outputs, inputs).
    turned = {name: array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T for name, array in weights.items()}
    renamed = {name.replace("/kernel", ".weight").replace("/", "."): array for name, array in turned.items()}
    network.load_state_dict({name: torch.tensor(array) for name, array in renamed.items()})
    return network.eval()


def flax_network(weights: Weights) -> tuple["flax.linen.Module", dict[str, Any]]:
    """Build the network in Flax (Linen).

    Args:
        weights: As `load_weights` returns them.

    Returns:
        A module and its variables; `module.apply(variables, x)` goes from N×96×96×3 to N×3 scores.
        Its submodules are conv1, relu1, ... conv5, relu5, dense.
    """
    from flax import linen
    from flax.traverse_util import unflatten_dict

    class ReLU(linen.Module):  # type: ignore[misc]  # Flax is not typed here.
        """A module, so that its output can be captured by name."""

        def __call__(self, x: Any) -> Any:
            return linen.relu(x)

    class DemoNetwork(linen.Module):  # type: ignore[misc]
        @linen.compact  # type: ignore[untyped-decorator]
        def __call__(self, x: Any) -> Any:
            for name, _, outputs, kernel, stride in CONVOLUTIONS:
                x = linen.Conv(outputs, (kernel, kernel), stride, padding=1, name=name)(x)
                x = ReLU(name=name.replace("conv", "relu"))(x)
            return linen.Dense(len(CLASS_NAMES), name="dense")(x.mean(axis=(1, 2)))

    return DemoNetwork(), {"params": unflatten_dict(weights, sep="/")}


def keras_network(weights: Weights) -> "keras.Sequential":
    """Build the network in Keras, whichever backend it runs on.

    Args:
        weights: As `load_weights` returns them.

    Returns:
        A model from N×96×96×3 to N×3 scores. Its layers are conv1, relu1, ... conv5, relu5, pool,
        dense.
    """
    import keras

    network = keras.Sequential([keras.Input((*INPUT_SIZE, 3))])
    for name, _, outputs, kernel, stride in CONVOLUTIONS:
        # With these kernels on even sides, "same" is one zero on every side.
        network.add(keras.layers.Conv2D(outputs, kernel, stride, padding="same", name=name))
        network.add(keras.layers.ReLU(name=name.replace("conv", "relu")))
    network.add(keras.layers.GlobalAveragePooling2D(name="pool"))
    network.add(keras.layers.Dense(len(CLASS_NAMES), name="dense"))
    for name in {key.split("/")[0] for key in weights}:
        network.get_layer(name).set_weights([weights[f"{name}/kernel"], weights[f"{name}/bias"]])
    return network
