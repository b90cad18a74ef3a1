"""Explainers and targets use the array API standard and nothing else, so that any backend can run them."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from agnoscope import Channel, ClassScore, Explainer, GradCAM, Neuron, Occlusion, Saliency, wrap
from agnoscope.backends.reference import Network, Sigmoid
from agnoscope.explainers.base import StepExplainer, input_gradient
from agnoscope.model import Model
from agnoscope.patches import Array
from agnoscope.target import Bound
from agnoscope.testing import deep_network, images
from tests.strict import OPTIONS, StrictModel

X = images(2).astype(np.float64)


def network(units: int = 4, head: Any = None) -> Network:
    """The kit's deep network in float64, with smaller maps and as many units as wanted."""
    layers: dict[str, Any] = dict(deep_network().layers)
    layers["conv1"] = replace(layers["conv1"], stride=3)
    layers["dense"] = replace(layers["dense"], kernel=layers["dense"].kernel[:, :units], bias=np.zeros(units))
    for name, operation in layers.items():
        if hasattr(operation, "kernel"):
            layers[name] = replace(operation, kernel=operation.kernel.astype(float), bias=operation.bias.astype(float))
    return Network(layers | ({"head": head} if head else {}))


TARGETS = {
    "first answer": None,
    "one each": [2, None],
    "probability": ClassScore(1, "probability"),
    "neuron": Neuron("conv2", 1),
    "channel": Channel("relu2", 3),
    "sum": 2 * ClassScore() - Channel("conv2", 1),
    "function": lambda run: run["scores"][:, 0] ** 2,
}


@pytest.mark.parametrize(
    "explainer", [Saliency(), GradCAM("relu1"), Occlusion(window=3, stride=2)], ids=lambda explainer: explainer.name
)
@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_methods_and_targets_keep_to_the_standard(explainer: Explainer, target: Any) -> None:
    strict = explainer(StrictModel(network()), X, target)
    oracle = explainer(wrap(network(), **OPTIONS), X, target)
    np.testing.assert_allclose(strict.values, oracle.values, rtol=1e-5, atol=1e-6 * np.abs(oracle.values).max())
    assert np.abs(oracle.values).max() > 0
    assert strict.provenance.targets == oracle.provenance.targets


@pytest.mark.parametrize("target", [0, None, ClassScore(1, "probability")], ids=["class 0", "first", "probability"])
@pytest.mark.parametrize(("units", "head"), [(1, None), (3, Sigmoid())], ids=["one unit", "sigmoids"])
def test_so_do_the_probabilities_of_sigmoids(target: Any, units: int, head: Any) -> None:
    found, oracle = (
        Occlusion(window=3)(model, X, target)
        for model in (
            StrictModel(network(units, head)),
            wrap(network(units, head), **OPTIONS),
        )
    )
    np.testing.assert_allclose(found.values, oracle.values, rtol=1e-9, atol=1e-12)


@dataclass(frozen=True)
class Careless(StepExplainer):
    """Uses a name that NumPy has and the standard lacks."""

    name, reduction = "careless", "max-abs"

    def step(self, model: Model, images: Array, target: Bound) -> dict[str, Array]:
        found = input_gradient(model, images, target)
        return {**found, "values": model.xp.nan_to_num(found["values"])}


def test_what_does_not_keep_to_it_is_caught() -> None:
    with pytest.raises(AttributeError, match="nan_to_num"):
        Careless()(StrictModel(network()), X)
