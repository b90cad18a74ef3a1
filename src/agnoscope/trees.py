"""Trees: arrays in dictionaries, nested at will. What programs take and return."""

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

import numpy as np


def mapped(tree: Any, function: Callable[[Any], Any]) -> Any:
    """A tree of the same shape with `function` of every leaf."""
    if isinstance(tree, Mapping):
        return {name: mapped(branch, function) for name, branch in tree.items()}
    return function(tree)


def joined(function: Callable[..., Any], first: Any, *others: Any) -> Any:
    """A tree of `function` of the leaves at the same place of several trees."""
    if isinstance(first, Mapping):
        return {name: joined(function, first[name], *(other[name] for other in others)) for name in first}
    return function(first, *others)


def leaves(tree: Any) -> list[Any]:
    """The leaves, in the order in which `mapped` meets them."""
    return [leaf for branch in tree.values() for leaf in leaves(branch)] if isinstance(tree, Mapping) else [tree]


def flat(tree: Any, path: str = "") -> dict[str, Any]:
    """Every leaf under its path, the names on the way joined by slashes."""
    if not isinstance(tree, Mapping):
        return {path: tree}
    branches = [flat(branch, f"{path}/{name}" if path else name) for name, branch in tree.items()]
    return {name: leaf for branch in branches for name, leaf in branch.items()}


def nested(leaves_by_path: Mapping[str, Any]) -> dict[str, Any]:
    """The tree of which `flat` made these."""
    tree: dict[str, Any] = {}
    for path, leaf in leaves_by_path.items():
        *branches, name = path.split("/")
        place = tree
        for branch in branches:
            place = place.setdefault(branch, {})
        place[name] = leaf
    return tree


def for_json(tree: Any) -> Any:
    """A record as JSON can hold it: NumPy's numbers as Python's, and None for what is not finite."""
    if isinstance(tree, Mapping):
        return {key: for_json(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [for_json(item) for item in tree]
    value = tree.item() if isinstance(tree, np.generic) else tree
    return None if isinstance(value, float) and not isfinite(value) else value


def tupled(stored: Any) -> Any:
    """A record read from JSON, which has lists where the record has tuples."""
    if isinstance(stored, Mapping):
        return {key: tupled(value) for key, value in stored.items()}
    return tuple(tupled(value) for value in stored) if isinstance(stored, list) else stored
