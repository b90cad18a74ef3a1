"""A network in array-api-strict: arrays that know the array API standard and nothing else.

What runs on them uses no name, argument or promotion that one framework has and another lacks. Gradients are
difference quotients, so that even the code inside a differentiated function meets these arrays only.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import array_api_strict as xp
import numpy as np

from agnoscope import Model, wrap
from agnoscope.backends.reference import Network, forward, product
from agnoscope.model import Outline
from agnoscope.patches import Array, Patch, patched

OPTIONS: dict[str, Any] = {"range": (0.0, 2.0), "mean": (0.5, 0.4, 0.6), "channels": "BGR"}
STEP = 1e-6


class StrictModel(Model):
    """A reference network, in float64, whose arrays are strict."""

    backend = "strict"
    versions = MappingProxyType({"array-api-strict": xp.__version__})
    xp = xp
    can = frozenset({"capture", "patch", "gradient"})
    dtype = "float64"

    def __init__(self, network: Network) -> None:
        self.reference = wrap(network, **OPTIONS)
        super().__init__(self.reference.spec)
        self.network = network

    def discover(self, size: tuple[int, int]) -> Outline:
        return self.reference.discover(size)

    def run(
        self, images: Array, capture: Sequence[str], patch: Mapping[str, Patch] = MappingProxyType({})
    ) -> dict[str, Array]:
        x = before = self.spec.prepare(xp, images)
        values = {}
        for name, operation in self.network.layers.items():
            before, x = x, xp.asarray(forward(operation, np.asarray(x), None))
            values[name] = x = patched(patch[name], x, partial(_product, operation, before)) if name in patch else x
        values |= {"output": x, "scores": before if "head" in self.network.layers else x}
        return {name: values[name] for name in capture}

    def value_and_grad(self, function: Callable[..., tuple[Array, Any]]) -> Callable[..., Any]:
        def differentiated(tree: Any) -> tuple[tuple[Array, Any], Any]:
            def slope(*path: str) -> Any:
                leaf = tree
                for name in path:
                    leaf = leaf[name]
                if isinstance(leaf, dict):
                    return {name: slope(*path, name) for name in leaf}
                plain, found = np.array(leaf), np.empty(leaf.shape)
                for place in np.ndindex(leaf.shape):
                    ahead, behind = (
                        function(_replaced(tree, path, _moved(plain, place, step)))[0] for step in (STEP, -STEP)
                    )
                    found[place] = (float(ahead) - float(behind)) / (2 * STEP)
                return xp.asarray(found)

            return function(tree), slope()

        return differentiated

    def compile(self, program: Callable[..., dict[str, Array]], static: Hashable) -> Callable[..., dict[str, Any]]:
        def compiled(*trees: Any) -> dict[str, Any]:
            found = program(self, static, *(_mapped(tree, xp.asarray) for tree in trees))
            return {name: np.array(value) for name, value in found.items()}

        return compiled


def _product(operation: Any, x: Array, of_input: Patch, of_kernel: Patch) -> Array:
    """What an operation makes of strict arrays."""

    def crossing(patch: Patch) -> Patch:
        return lambda array: np.asarray(patch(xp.asarray(array)))

    return xp.asarray(product(operation, np.asarray(x), crossing(of_input), crossing(of_kernel)))


def _moved(array: Any, place: tuple[int, ...], step: float) -> Array:
    moved = array.copy()
    moved[place] += step
    return xp.asarray(moved)


def _replaced(tree: Any, path: tuple[str, ...], leaf: Array) -> Any:
    if not path:
        return leaf
    return {**tree, path[0]: _replaced(tree[path[0]], path[1:], leaf)}


def _mapped(tree: Any, function: Callable[[Any], Any]) -> Any:
    if isinstance(tree, Mapping):
        return {name: _mapped(branch, function) for name, branch in tree.items()}
    return function(tree)
