"""What a TensorFlow network tells of itself before it runs: its layers, its library, its input.

Keras 3 and tf_keras are both served, and neither is imported; layers are known by what they can do.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import tensorflow as tf

from agnoscope.errors import ModelError
from agnoscope.images import InputSpec


def layers_of(network: Any) -> list[Any]:
    """Every layer and Keras operation in a network, itself included, each once."""
    roots = [network] if hasattr(network, "_flatten_layers") else list(_held_by(network))
    layers = [layer for root in roots for layer in root._flatten_layers()]
    operations = [operation for layer in layers for operation in getattr(layer, "operations", ())]
    return list({id(layer): layer for layer in [*layers, *operations] if hasattr(layer, "call")}.values())


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
    dtypes = {tf.as_dtype(tensor.dtype) for tensor in weights or _inputs(network)}
    return "float64" if {dtype for dtype in dtypes if dtype.is_floating} == {tf.float64} else "float32"


def calling(network: Any) -> Callable[[Any], Any]:
    """The network as a function of its one input, in inference mode."""
    if hasattr(network, "_flatten_layers"):
        # Keras 3 hands `training` on to inner layers even where the network's own call does not take it.
        function, takes = network, library_of(network) == "keras" or _takes_training(network.call)
    else:
        call = network if hasattr(network, "python_function") or inspect.isfunction(network) else network.__call__
        function, takes = inlined(call), _takes_training(call)
    training = {"training": False} if takes else {}
    declared = getattr(network, "input", None) if _inputs(network) else None
    names = tuple(declared) if isinstance(declared, Mapping) else ()
    return lambda x: function(dict.fromkeys(names, x) if names else x, **training)


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
    for tensor in _inputs(network):
        if len(tensor.shape) == 4 and (tensor.shape[1] == depth) != (tensor.shape[3] == depth):
            return bool(tensor.shape[1] == depth)
    return any(getattr(layer, "data_format", None) == "channels_first" for layer in layers_of(network))


def fitted(network: Any, spec: InputSpec) -> InputSpec:
    """The spec with the size that the network declares.

    Raises:
        ModelError: the network declares that it takes something else.
    """
    inputs = _inputs(network)
    if not inputs:
        return spec
    if len(inputs) > 1:
        raise ModelError(
            f"The network takes {len(inputs)} inputs, {', '.join(str(tensor.name) for tensor in inputs)}; "
            "one is explained. Give a function of the image that binds the others: lambda x: network([x, other])."
        )
    shape = tuple(inputs[0].shape)
    if len(shape) != 4:
        raise ModelError(f"The network takes inputs of shape {shape}; a batch of images has four axes.")
    height, width, depth = (shape[i] for i in ((2, 3, 1) if channels_first(network, spec.depth) else (1, 2, 3)))
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


def build(network: Any, spec: InputSpec) -> None:
    """Have a network that has no weights yet make them, by running it once.

    Raises:
        ModelError: it has layers to build, and the images' size is not known or does not fit.
    """
    if all(getattr(layer, "built", True) for layer in layers_of(network)):
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
        calling(network)(images)
    except Exception as error:
        raise ModelError(f"The network cannot be built on images of shape {tuple(images.shape)}: {error}") from error


def _inputs(network: Any) -> list[Any]:
    """The inputs that a functional or sequential model declares."""
    return list(getattr(network, "inputs", None) or ())


def _takes_training(function: Any) -> bool:
    return "training" in inspect.signature(getattr(function, "python_function", function)).parameters
