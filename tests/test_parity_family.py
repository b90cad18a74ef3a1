"""The promise for every method: the same weights, image and seed give the same explanation in every framework.

`test_parity` looks closely at the basic methods; here is the whole family, on ResNet-20 with its own weights. In
float64 all agree to 1e-9. In float32 those that only run forward agree to 1e-5; those that go back through ReLUs may
meet a gate that rounding opens in one framework and not in another, and are judged by the bounds for that.
"""

import gc
from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest

import agnoscope as ag
from agnoscope.plugins import plugins
from tests.family import FORWARD, NAMES, family
from tests.networks import RESNET20
from tests.networks.wrapped import apart, layer, network, x64
from tests.test_parity import LAST, METHODS, MIDDLE

OTHERS = [pytest.param("linen", marks=pytest.mark.jax), pytest.param("keras", marks=pytest.mark.tensorflow)]


@pytest.fixture(scope="module", autouse=True)
def networks_go_at_the_end() -> Iterator[None]:
    """With their programs they take gigabytes."""
    yield
    for kept in (network, explanation):
        kept.cache_clear()
    gc.collect()


@cache
def explanation(framework: str, dtype: str, method: str) -> ag.Explanation:
    """One explanation of one photo's first answer."""
    model = network(framework, "resnet20", dtype)
    with x64(framework, dtype):
        last, middle = (layer(model, names["resnet20"]) for names in (LAST, MIDDLE))
        explainer = family(last, middle, RESNET20.size)[method]()
        return explainer(model, RESNET20.photo("cat.jpg"), batch_size=6)


def test_no_method_is_left_out() -> None:
    ours = {provided.spec.name for provided in plugins().specs("explainer") if provided.provider == "agnoscope"}
    assert ours <= {*NAMES, *METHODS}


@pytest.mark.torch
@pytest.mark.parametrize("framework", OTHERS)
@pytest.mark.parametrize("method", NAMES)
def test_float64_agrees_to_nine_digits(method: str, framework: str) -> None:
    found, other = (explanation(each, "float64", method) for each in ("torch", framework))
    assert found.values.dtype == other.values.dtype == np.float64
    assert apart(found.values, other.values) <= 1e-9
    assert found.provenance.targets == other.provenance.targets
    for name, extra in found.extras.items():
        # A delta is a small difference of large numbers: it is measured by the score.
        scale = max(np.abs(extra).max(), abs(found.provenance.scores[0]))
        assert np.abs(extra - other.extras[name]).max() <= 1e-9 * scale


@pytest.mark.torch
@pytest.mark.parametrize("framework", OTHERS)
@pytest.mark.parametrize("method", NAMES)
def test_float32_agrees_within_rounding_and_flipped_gates(method: str, framework: str) -> None:
    a, b = (explanation(each, "float32", method).values.astype(np.float64) for each in ("torch", framework))
    if method in FORWARD:
        assert apart(a, b) <= 1e-5
        return
    assert np.linalg.norm(a - b) / np.linalg.norm(a) <= 2e-2
    assert np.percentile(np.abs(a - b), 99) / np.abs(a).max() <= 5e-3
