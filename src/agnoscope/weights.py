"""Weights by name: their order, and the check of those that are to replace others."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import OptionError, nearest


def in_order_of(layers: Iterable[str], named: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Weights in the order in which their layers run.

    Weights of no layer, which are the network's own, come first; one whose layer did not run stays behind the one
    that it follows.

    Args:
        layers: names of the layers, in execution order; without any, the weights stay as they are.
        named: `<layer name>.<own name>` to weight, in the framework's order.
    """
    places = {name: place for place, name in enumerate(layers)}
    place, found = -1, {}
    for name in named:
        prefixes = list(_prefixes(name))
        place = next((places[layer] for layer in prefixes if layer in places), place)
        found[name] = place if prefixes else -1
    return {name: named[name] for name in sorted(named, key=found.__getitem__)}


def fitting(changed: Mapping[str, Any], known: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Weights that are to replace known ones, in their dtype.

    Raises:
        OptionError: a name is unknown, or a shape is another one.
    """
    found = {}
    for name, value in changed.items():
        if name not in known:
            raise OptionError(
                f"The network has no weight {name!r}. Near it: {nearest(name, known)}. model.parameters() has them all."
            )
        array = np.asarray(value)
        if array.shape != known[name].shape:
            raise OptionError(f"The weight {name!r} has shape {known[name].shape}, and {array.shape} was given.")
        if array.dtype.kind not in "fiu":
            raise OptionError(f"The weight {name!r} is made of numbers, and an array of dtype {array.dtype} was given.")
        found[name] = array.astype(known[name].dtype)
    return found


def unused(name: str, uses: Counter[str]) -> str:
    """The name, or `name@1`, `name@2` at its further uses, which are counted."""
    use = uses[name]
    uses[name] += 1
    return f"{name}@{use}" if use else name


def _prefixes(name: str) -> Iterable[str]:
    """What may be the layer in a weight's name: "a/b.c" gives "a/b", then "a"."""
    while (end := max(name.rfind("."), name.rfind("/"))) > 0:
        name = name[:end]
        yield name
