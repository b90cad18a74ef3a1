"""Trees: arrays in dictionaries, nested at will. What programs take and return."""

from collections.abc import Callable, Mapping
from typing import Any


def mapped(tree: Any, function: Callable[[Any], Any]) -> Any:
    """A tree of the same shape with `function` of every leaf."""
    if isinstance(tree, Mapping):
        return {name: mapped(branch, function) for name, branch in tree.items()}
    return function(tree)


def leaves(tree: Any) -> list[Any]:
    """The leaves, in the order in which `mapped` meets them."""
    return [leaf for branch in tree.values() for leaf in leaves(branch)] if isinstance(tree, Mapping) else [tree]
