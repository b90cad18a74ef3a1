"""The promise for made images: in float64 the same run in every framework, in float32 the same first step.

A run in float32 on a real network is chaotic, a change in the last bit growing within a few steps; so float64 proves
the code, and float32 is held at its first step.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

import agnoscope as ag
from agnoscope.demo.architecture import CLASS_NAMES, INPUT_SIZE, MEAN, STD, load_weights
from agnoscope.demo.models import BUILDERS, load
from agnoscope.explainers.synthesis.base import Synthesizer
from agnoscope.synthesis import Synthesis
from tests.networks.wrapped import apart, network, x64

STEPS = 10
OTHERS = [
    pytest.param("linen", marks=pytest.mark.jax),
    pytest.param("keras", marks=pytest.mark.tensorflow),
]
"""Frameworks that are held against PyTorch, for `parametrize`."""


@cache
def demo(backend: str = "reference", name: str = "honest") -> ag.Model:
    """A bundled network in one framework, float32."""
    return load(name, backend)


@cache
def demo64() -> ag.Model:
    """The honest one in NumPy and float64."""
    weights = {name: array.astype(np.float64) for name, array in load_weights("honest").items()}
    built, _ = BUILDERS["reference"](weights)
    return ag.wrap(built, input_size=INPUT_SIZE, mean=MEAN, std=STD, labels=CLASS_NAMES)


def assert_frameworks_agree(method: Synthesizer, asked: Callable[[ag.Model], tuple[Any, ...]], framework: str) -> None:
    """Hold a framework's run on ResNet-20 against PyTorch's.

    Args:
        method: of some ten steps.
        asked: what it is called with after the network, made for a network.
        framework: of `OTHERS`.
    """
    one, other = (_made(each, "float64", method, asked) for each in ("torch", framework))
    assert one.images.dtype == other.images.dtype == np.float64
    assert one.making.targets == other.making.targets or framework == "linen"  # whose layers have slashes
    assert apart(one.history, other.history) <= 1e-6
    assert apart(one.images, other.images) <= 1e-6
    one, other = (_made(each, "float32", method, asked) for each in ("torch", framework))
    assert one.images.dtype == other.images.dtype == np.float32
    assert apart(one.history[0], other.history[0]) <= 1e-4


def layer(model: ag.Model, name: str) -> str:
    """A layer of ResNet-20 by the name that torch gives it; Flax writes the same path with slashes."""
    return next(known for known in model.layers() if known.replace("/", ".") == name)


def _made(framework: str, dtype: str, method: Synthesizer, asked: Callable[[ag.Model], tuple[Any, ...]]) -> Synthesis:
    model = network(framework, "resnet20", dtype)
    with x64(framework, dtype):
        return method(model, *asked(model))
