"""The methods that sum up gradients keep to the array API standard and to what the conformance kit asks."""

from typing import Any

import numpy as np
import pytest

from agnoscope import Explainer, wrap
from agnoscope.explainers.gradients.deep_lift import DeepLift, rescale
from agnoscope.explainers.gradients.expected_gradients import ExpectedGradients
from agnoscope.explainers.gradients.input_x_gradient import InputXGradient
from agnoscope.explainers.gradients.integrated_gradients import IntegratedGradients
from agnoscope.explainers.gradients.smoothgrad import SmoothGrad, SmoothGradSquared, VarGrad
from agnoscope.testing import parametrize_with_checks
from tests.strict import OPTIONS, StrictModel, xp
from tests.test_standard import X, network

METHODS: list[Explainer] = [
    InputXGradient(),
    InputXGradient("relu1"),
    IntegratedGradients(steps=2, tolerance=None),
    IntegratedGradients(("blur", 0.3), steps=2, tolerance=None, layer="relu1"),
    ExpectedGradients(samples=3),
    ExpectedGradients(samples=2, noise=0.1),
    ExpectedGradients(samples=2, layer="conv2"),
    SmoothGrad("grad-cam", samples=2, noise=0.05),
]


@pytest.mark.parametrize("explainer", METHODS, ids=repr)
@pytest.mark.parametrize("target", [1, None], ids=["class", "first answer"])
def test_methods_keep_to_the_standard(explainer: Explainer, target: Any) -> None:
    strict = explainer(StrictModel(network()), X, target)
    oracle = explainer(wrap(network(), **OPTIONS), X, target)
    np.testing.assert_allclose(strict.values, oracle.values, rtol=1e-4, atol=1e-6 * np.abs(oracle.values).max())
    assert np.abs(oracle.values).max() > 0


def test_so_does_the_rescale_rule() -> None:
    x = np.random.default_rng(0).normal(size=(6, 2, 3, 4))
    x[0, 0] = x[3, 0]
    y, g = np.maximum(x, 0), np.random.default_rng(1).normal(size=x.shape)
    given = (x, y, g, g * (x > 0))
    found = np.asarray(rescale(xp, *map(xp.asarray, given)))
    np.testing.assert_array_equal(found, rescale(np, *given))
    np.testing.assert_allclose(found[:3] * (x[:3] - x[3:]), g[:3] * (y[:3] - y[3:]), atol=1e-12)


CONTRACT: list[Explainer] = [
    InputXGradient(),
    IntegratedGradients(steps=8, most=16),
    ExpectedGradients(samples=5, noise=0.1),
    DeepLift("blur"),
    SmoothGrad(samples=5),
    SmoothGradSquared("grad-cam", samples=5),
    VarGrad("occlusion", samples=3),
]


@parametrize_with_checks(CONTRACT)
def test_they_keep_the_contract(check: Any) -> None:
    check()
