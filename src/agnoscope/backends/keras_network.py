"""The inputs and the weights of a Keras network, whatever it runs on. Keras is not imported."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from agnoscope.inputs import Input, Inputs
from agnoscope.weights import unused


def declared(network: Any) -> list[Any]:
    """The inputs that a functional or sequential model declares; none of other networks."""
    return list(getattr(network, "inputs", None) or ())


def inputs_of(network: Any) -> Inputs:
    """The declared inputs by their names, else the parameters of the network's `call`."""
    if tensors := declared(network):
        return Inputs({tensor.name: Input(shape=tuple(tensor.shape[1:])) for tensor in tensors})
    return Inputs.of(network.call, ("training", "mask"))


def arguments(network: Any, inputs: Inputs, images: Any, bound: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of the network's call by place and by name: declared inputs come as it has them arranged."""
    by_place, by_name = inputs.arguments(images, bound)
    if inputs.places or not inputs.known:
        return by_place, by_name
    arranged = getattr(network, "input", None)
    if len(inputs.known) == 1 and not isinstance(arranged, Mapping):
        return [images], {}
    return [_filled(arranged, by_name)], {}


def _filled(arranged: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(arranged, Mapping):
        return {key: _filled(part, values) for key, part in arranged.items()}
    if isinstance(arranged, list | tuple):
        return [_filled(part, values) for part in arranged]
    if arranged.name not in values:
        raise ValueError(f"The input {arranged.name!r} was not given.")
    return values[arranged.name]


def weights_of(*layers: Any) -> dict[str, Any]:
    """Name to the variable of each floating weight of these layers and those inside, a shared one once.

    A name is the path of layers, as `layers()` of the model has it, and the variable's own name. The outermost
    layer is no part of it where there is one alone, the network.
    """
    uses: Counter[str] = Counter()
    seen: dict[int, Any] = {}
    found = {}
    for layer in layers:
        for path, weight in _walk(layer, "" if len(layers) == 1 else layer.name):
            if id(weight) not in seen and "float" in str(weight.dtype):
                seen[id(weight)] = weight
                own = weight.name.rpartition("/")[2].partition(":")[0]
                found[unused(f"{path}.{own}" if path else own, uses)] = weight
    return found


def _walk(layer: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Weights with the path of the layer that holds them: first its own ones, then those of the layers inside."""
    children = list(layer._flatten_layers(include_self=False, recursive=False))
    inner = {id(weight) for child in children for weight in child.weights}
    yield from ((path, weight) for weight in layer.weights if id(weight) not in inner)
    for child in children:
        yield from _walk(child, f"{path}/{child.name}" if path else child.name)
