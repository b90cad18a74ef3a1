"""What a TensorFlow network tells of itself before it runs: its layers, its library, its input.

Keras 3 and tf_keras are both served, and neither is imported; layers are known by what they can do.
"""

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import tensorflow as tf

from agnoscope.backends.keras_network import arguments, declared, inputs_of
from agnoscope.errors import ModelError
from agnoscope.images import InputSpec
from agnoscope.inputs import Inputs


def layers_of(network: Any) -> list[Any]:
    """Every layer and Keras operation in a network, itself included, each once."""
    layers = [layer for root in roots_of(network) for layer in root._flatten_layers()]
    operations = [operation for layer in layers for operation in getattr(layer, "operations", ())]
    return list({id(layer): layer for layer in [*layers, *operations] if hasattr(layer, "call")}.values())


def roots_of(network: Any) -> list[Any]:
    """The network, or the Keras layers that it holds where it is none itself."""
    return [network] if hasattr(network, "_flatten_layers") else list(_held_by(network))


def _held_by(network: Any) -> Iterator[Any]:
    """The Keras layers among an object's attributes, or among what a function refers to."""
    network = getattr(network, "python_function", network)
    if inspect.isfunction(network):
        seen = inspect.getclosurevars(network)
        held: list[Any] = [*seen.nonlocals.values(), *seen.globals.values()]
    else:
        held = list(getattr(network, "__dict__", {}).values())
    while held:
        item = held.pop(0)
        if hasattr(item, "_flatten_layers"):
            yield item
        elif isinstance(item, list | tuple | Mapping):
            held += item.values() if isinstance(item, Mapping) else item


def library_of(network: Any) -> str:
    """The name of the Keras that the layers are made of: "keras" or "tf_keras", or nothing without layers."""
    bases = [base for layer in layers_of(network) for base in type(layer).__mro__]
    names = (base.__module__.split(".")[0] for base in bases)
    return next((name for name in names if name in ("keras", "tf_keras")), "")


def dtype_of(network: Any) -> str:
    """The dtype in which images are given: "float64" where all weights have it, else "float32"."""
    weights = [weight for layer in layers_of(network) for weight in getattr(layer, "weights", ())]
    weights += getattr(network, "variables", ())
    dtypes = {tf.as_dtype(tensor.dtype) for tensor in weights or declared(network)}
    return "float64" if {dtype for dtype in dtypes if dtype.is_floating} == {tf.float64} else "float32"


def taking(network: Any) -> Inputs:
    """The inputs of which the images are one."""
    if hasattr(network, "_flatten_layers"):
        return inputs_of(network)
    return Inputs.of(_called(network), ("training", "mask"))


def calling(network: Any) -> Callable[[Any, Mapping[str, Any]], Any]:
    """The network as a function of the images and the bound inputs, in inference mode."""
    if hasattr(network, "_flatten_layers"):
        # Keras 3 hands `training` on to inner layers even where the network's own call does not take it.
        function, takes = network, library_of(network) == "keras" or _takes_training(network.call)
    else:
        function, takes = inlined(_called(network)), _takes_training(_called(network))
    training = {"training": False} if takes else {}
    inputs = taking(network)

    def call(images: Any, bound: Mapping[str, Any]) -> Any:
        by_place, by_name = arguments(network, inputs, images, bound)
        return function(*by_place, **by_name, **training)

    return call


def _called(network: Any) -> Any:
    """The function that a call of something other than a Keras network runs."""
    plain = hasattr(network, "python_function") or inspect.isfunction(network)
    return network if plain else network.__call__


def inlined(call: Callable[..., Any]) -> Callable[..., Any]:
    """The Python function inside a `tf.function`: a graph of its own would hide what runs in it."""
    function: Callable[..., Any] | None = getattr(call, "python_function", None)
    if function is None:
        return call
    try:
        converted: Callable[..., Any] = tf.autograph.to_graph(function)
    except Exception:  # no source, for example; then it runs as it is written
        return function
    return converted


def channels_first(network: Any, depth: int) -> bool:
    """Whether the network takes images with their channels first."""
    for tensor in declared(network):
        if len(tensor.shape) == 4 and (tensor.shape[1] == depth) != (tensor.shape[3] == depth):
            return bool(tensor.shape[1] == depth)
    return any(getattr(layer, "data_format", None) == "channels_first" for layer in layers_of(network))


def fitted(network: Any, spec: InputSpec, bound: Collection[str] = ()) -> InputSpec:
    """The spec with the size that the network declares for its images, once only these are not bound.

    Raises:
        ModelError: the network declares that it takes something else.
    """
    inputs = taking(network)
    shape = inputs.known[name].shape if (name := inputs.image(bound)) is not None else None
    if shape is None or inputs.missing(bound):
        return spec
    if len(shape) != 3:
        raise ModelError(f"The network takes inputs of shape {(None, *shape)}; a batch of images has four axes.")
    height, width, depth = (shape[i] for i in ((1, 2, 0) if channels_first(network, spec.depth) else (0, 1, 2)))
    if depth not in (None, spec.depth):
        raise ModelError(
            f"The network takes {depth} channels, and an image was said to have {spec.depth} "
            f"(channels={spec.channels!r}): give channels='L' for one, 'RGB' or 'BGR' for three, or their number."
        )
    if height is None or width is None:
        return spec
    if spec.size not in (None, (height, width)):
        raise ModelError(f"The network takes images of height and width {(height, width)}; input_size={spec.size}.")
    return replace(spec, size=(height, width))


def build(network: Any, spec: InputSpec, bound: Mapping[str, Any] = MappingProxyType({})) -> None:
    """Have a network that has no weights yet make them, by running it once as soon as all its inputs are bound.

    Args:
        network: the network.
        spec: what it expects of an image.
        bound: name to array of one example.

    Raises:
        ModelError: it has layers to build, and the images' size is not known or does not fit.
    """
    if all(getattr(layer, "built", True) for layer in layers_of(network)) or taking(network).missing(bound):
        return
    if spec.size is None:
        raise ModelError(
            "The network is not built, it has no weights yet: run it once on an image, "
            "or give input_size=(height, width)."
        )
    images = tf.zeros((1, *spec.size, spec.depth))
    if channels_first(network, spec.depth):
        images = tf.transpose(images, (0, 3, 1, 2))
    try:
        calling(network)(images, {name: tf.convert_to_tensor(array)[None] for name, array in bound.items()})
    except Exception as error:
        raise ModelError(f"The network cannot be built on images of shape {tuple(images.shape)}: {error}") from error


def _takes_training(function: Any) -> bool:
    return "training" in inspect.signature(getattr(function, "python_function", function)).parameters
