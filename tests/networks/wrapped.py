"""The real networks, wrapped: in every framework, in float32 and float64, built once."""

import importlib
from contextlib import nullcontext
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import agnoscope as ag
from tests.networks import MOBILENET_V2, RESNET20, labels, load_weights

PACKAGES = {"torch": ("torch",), "linen": ("jax", "flax"), "nnx": ("jax", "flax"), "keras": ("tensorflow", "keras")}
CASES = {case.name: case for case in (MOBILENET_V2, RESNET20)}


@lru_cache(maxsize=8)  # both networks in every framework; with its programs, one may take some hundred megabytes
def network(framework: str, name: str, dtype: str) -> ag.Model:
    """The wrapped network; built once."""
    for package in PACKAGES[framework]:
        pytest.importorskip(package, reason=f"{package} is not installed")
    case, builders = CASES[name], importlib.import_module(f"tests.networks.{framework}")
    weights = load_weights(case.weights)
    with x64(framework, dtype):
        built = getattr(builders, name)(weights, dtype)
        pair = built if isinstance(built, tuple) else (built, None)
        return ag.wrap(*pair, input_size=case.size, mean=case.mean, std=case.std, range=case.range, labels=labels(case))


def x64(framework: str, dtype: str) -> Any:
    """JAX has float64 only where it is switched on."""
    if framework not in ("linen", "nnx"):
        return nullcontext()
    return importlib.import_module("tests.networks.flax").x64(dtype)


def layer(model: ag.Model, name: str) -> str:
    """A layer by the name that torch gives it; Flax writes the same path with slashes."""
    return next(known for known in model.layers() if known.replace("/", ".") == name)


def apart(one: NDArray[Any], other: NDArray[Any]) -> float:
    """The largest difference, as a share of the largest value."""
    return float(np.abs(one - other).max() / np.abs(one).max())
