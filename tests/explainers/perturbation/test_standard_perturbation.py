"""These methods use the array API standard and nothing else, so that any backend can run them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from agnoscope import ClassScore, Explainer, wrap
from agnoscope.backends.reference import Network
from agnoscope.explainers.perturbation.extremal import ExtremalPerturbation
from agnoscope.explainers.perturbation.feature_ablation import FeatureAblation
from agnoscope.explainers.perturbation.kernel_shap import KernelSHAP
from agnoscope.explainers.perturbation.lime import LIME
from agnoscope.explainers.perturbation.rise import RISE
from agnoscope.explainers.perturbation.shapley import ShapleySampling
from agnoscope.testing import deep_network, images
from tests.explainers.perturbation.closed_forms import LABELS
from tests.strict import OPTIONS, StrictModel

X = images(2).astype(np.float64)
METHODS: list[Explainer] = [
    RISE(samples=10, grid=3, fill="mean"),
    FeatureAblation(LABELS),
    ShapleySampling(2, LABELS),
    LIME(10, LABELS),
    KernelSHAP(32, LABELS),
    ExtremalPerturbation((0.2, 0.4), "preserve", steps=3, cell=2),
    ExtremalPerturbation(0.3, "delete", steps=2, cell=2),
]


def network() -> Network:
    """The kit's deep network in float64, with smaller maps."""
    layers: dict[str, Any] = dict(deep_network().layers)
    layers["conv1"] = replace(layers["conv1"], stride=3)
    for name, operation in layers.items():
        if hasattr(operation, "kernel"):
            layers[name] = replace(operation, kernel=operation.kernel.astype(float), bias=operation.bias.astype(float))
    return Network(layers)


@pytest.mark.parametrize("explainer", METHODS, ids=repr)
@pytest.mark.parametrize("target", [None, ClassScore(1, "probability")], ids=["first answer", "probability"])
def test_methods_keep_to_the_standard(explainer: Explainer, target: Any) -> None:
    strict = explainer(StrictModel(network()), X, target, batch_size=3)
    oracle = explainer(wrap(network(), **OPTIONS), X, target, batch_size=3)
    np.testing.assert_allclose(strict.values, oracle.values, rtol=1e-5, atol=1e-6 * np.abs(oracle.values).max())
    assert np.ptp(oracle.values) > 0
