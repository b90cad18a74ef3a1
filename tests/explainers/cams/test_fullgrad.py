"""FullGrad shares the score out among the pixels and the biases."""

from functools import partial
from typing import Any

import numpy as np
import pytest

import agnoscope as ag
from agnoscope.backends.reference import Relu, Sigmoid
from agnoscope.explainers.cams.fullgrad import FullGrad
from agnoscope.testing import SIZE, deep_network
from tests.explainers.cams.deep import CENTRE, DEEP, TARGETS, X, double


def test_fullgrad_shares_out_the_whole_score() -> None:
    found = FullGrad()(ag.wrap(DEEP, mean=tuple(CENTRE), std=(0.2, 0.3, 0.25), channels="BGR"), X, TARGETS)
    np.testing.assert_allclose(found.extras["delta"], 0, atol=1e-12)
    assert np.abs(found.provenance.scores).min() > 0.1
    assert not any("add up" in warning for warning in found.provenance.warnings)


@pytest.mark.parametrize("activation", [Relu(), Sigmoid()])  # a sigmoid says 0.5 to nothing, which is no bias
def test_fullgrad_draws_the_pixels_and_the_biases_of_all_channels(activation: Any) -> None:
    model = ag.wrap(double(deep_network(), relu1=activation), mean=tuple(CENTRE))
    parts = [(X - CENTRE) * ag.Saliency()(model, X, TARGETS).values]
    for layer in ("conv1", "conv2"):
        bias: Any = DEEP.layers[layer].bias  # type: ignore[union-attr]
        parts.append(bias * ag.Saliency(layer)(model, X, TARGETS).values)
    expected = np.zeros((3, *SIZE))
    for part in parts:
        for channel in np.moveaxis(np.abs(part), -1, 0):
            low, high = (f(channel, axis=(1, 2), keepdims=True) for f in (np.min, np.max))
            expected += (channel - low) / np.where(high > low, high - low, 1)
    np.testing.assert_allclose(FullGrad()(model, X, TARGETS).values, expected, rtol=1e-9)


@pytest.mark.tensorflow
def test_fullgrad_knows_the_biases_that_an_activation_within_a_layer_cuts_off() -> None:
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    layers, found = keras.layers, []
    for within in (True, False):
        stack: list[Any] = [keras.Input((*SIZE, 3), dtype="float64")]
        for linear in (partial(layers.Conv2D, 6, 3), partial(layers.DepthwiseConv2D, 2), partial(layers.Dense, 5)):
            stack.append(linear(activation="relu" if within else None, dtype="float64"))
            stack += [] if within else [layers.ReLU(dtype="float64")]
        last = layers.Dense(4, activation="softmax" if within else None, dtype="float64")
        stack += [layers.GlobalAveragePooling2D(dtype="float64"), last]
        network = keras.Sequential(stack)
        rng = np.random.default_rng(0)
        network.set_weights([rng.normal(size=weight.shape) for weight in network.get_weights()])
        found.append(FullGrad()(ag.wrap(network), X, TARGETS))
    one, other = found
    assert np.abs(one.provenance.scores).min() > 0.1
    np.testing.assert_allclose([one.extras["delta"], other.extras["delta"]], 0, atol=1e-12)
    np.testing.assert_allclose(one.values, other.values, rtol=1e-9)


def test_fullgrad_says_where_the_parts_do_not_add_up() -> None:
    bent = ag.wrap(double(deep_network(), relu1=Relu(0.3)))  # what is cut off is in no part
    found = FullGrad()(bent, X, TARGETS)
    assert np.abs(found.extras["delta"]).min() > 1e-3
    assert "For 3 of 3 images the parts do not add up to the score" in found.provenance.warnings[0]
