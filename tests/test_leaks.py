"""A thousand explanations in a loop leave nothing behind: no memory, no compiled programs, no living models."""

import gc
import sys
import weakref
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest

import agnoscope as ag
from agnoscope.testing import deep_network, images
from tests.backends import test_conformance as others
from tests.frameworks import FRAMEWORKS

X = images(1)
CALLS = 1000
ROUNDS = 3
SLOPE = 1500
"""Bytes that a call may leave at the most; caches and allocators settle in the calls before."""


def torch(network: Any, **options: Any) -> ag.Model:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from tests.backends.torch_builder import build

    return build(network, **options)


BUILDERS = [
    pytest.param(torch, marks=pytest.mark.torch, id="torch"),
    pytest.param(others.linen, marks=pytest.mark.jax, id="jax"),
    pytest.param(others.keras, marks=pytest.mark.tensorflow, id="tensorflow"),
]
# Fresh explainers, equal from turn to turn: one for every way to run a network.
MAKERS: list[Callable[[], ag.Explainer]] = [
    ag.Saliency,
    ag.GuidedBackprop,
    ag.GradCAM,
    lambda: ag.Occlusion(window=3, stride=2),
    lambda: ag.IntegratedGradients(steps=3, tolerance=None),
    lambda: ag.SmoothGrad(samples=2),
    lambda: ag.RISE(samples=4, grid=2),
    ag.AblationCAM,
    lambda: ag.LRP(0.1),
]


def resident() -> int:
    """Memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize("build", BUILDERS)
def test_a_thousand_calls_leave_nothing(build: Callable[..., ag.Model]) -> None:
    model = build(deep_network())
    calls = cycle(MAKERS)

    def explain(times: int) -> None:
        for number, make in enumerate(islice(calls, times)):
            make()(model, X, number % 4)
        gc.collect()

    explain(30 * len(MAKERS))
    grown = []
    for _ in range(ROUNDS):
        before = resident()
        explain(CALLS)
        grown.append((resident() - before) / CALLS)
        if grown[-1] < SLOPE:
            break  # a leak shows in every round, an allocator's new block of some megabytes only in one
    assert min(grown) < SLOPE, grown


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize("backend", FRAMEWORKS)
def test_a_long_run_needs_no_more_memory_than_a_short_one(backend: str) -> None:
    pytest.importorskip(backend, reason=f"{backend} is not installed")
    steps = ag.FeatureVisualization(iterations=700).steps(load(backend), "ball")
    seen = {state.step: resident() for state in steps if state.step in (300, 700)}
    # A step's images take 110 kB: held, or lying between what is held, they would be 44 MB.
    assert seen[700] - seen[300] < 15e6


def load(backend: str) -> ag.Model:
    from agnoscope.demo.models import load

    return load("honest", backend)


@pytest.mark.parametrize("build", BUILDERS)
def test_a_model_that_nobody_holds_is_gone(build: Callable[..., ag.Model]) -> None:
    model = build(deep_network())
    for make in MAKERS:
        make()(model, X, 1)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None
