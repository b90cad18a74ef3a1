"""A neuron is one number of a layer, a channel the mean of its map."""

from typing import Any

import numpy as np
import pytest

from agnoscope import LayerError, Model, TargetError, wrap
from agnoscope.targets.units import Channel, Neuron
from agnoscope.testing import deep_network, images
from tests.targets.asking import bind, captured, scored

X = images()


@pytest.fixture(scope="module")
def model() -> Model:
    return wrap(deep_network())


def test_a_neuron_is_a_place_or_the_centre_of_a_channel(model: Model) -> None:
    activation, flat = captured(model, X, "conv2", "gap")
    np.testing.assert_array_equal(scored(model, Neuron("conv2", 3, (1, 4)), X), activation[:, 1, 4, 3])
    np.testing.assert_array_equal(scored(model, Neuron("conv2", 7), X), activation[:, 2, 3, 7])
    np.testing.assert_array_equal(scored(model, Neuron("conv2", 0, (0, 0)), X), activation[:, 0, 0, 0])
    np.testing.assert_array_equal(scored(model, Neuron("gap", 5, (9, 9)), X), flat[:, 5])
    assert bind(model, Neuron("conv2", 7), X).names == ("conv2[7] at (2, 3)",) * 3
    assert bind(model, Neuron("gap", 5), X).names == ("gap[5]",) * 3
    assert bind(model, Neuron("gap", 5), X).space == "activation"


def test_a_channel_is_the_mean_of_its_map(model: Model) -> None:
    activation, flat = captured(model, X, "relu1", "gap")
    np.testing.assert_allclose(scored(model, Channel("relu1", 4), X), activation[..., 4].mean(axis=(1, 2)), rtol=1e-6)
    np.testing.assert_array_equal(scored(model, Channel("gap", 4), X), flat[:, 4])
    assert bind(model, Channel("relu1", 4), X).names == ("mean of relu1[4]",) * 3


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        (Neuron("conv2", 8), TargetError, "Channel 8 of layer 'conv2' was asked for; it has 8, from 0"),
        (Channel("conv2", -1), TargetError, "Channel -1 of layer 'conv2'"),
        (Neuron("conv2", 0, (5, 0)), TargetError, r"positions up to \(5, 7\); \(5, 0\) is not in it"),
        (Neuron("conv2", 0, (0, -1)), TargetError, r"\(0, -1\) is not in it"),
        (Neuron("conv2", 0, (1,)), TargetError, r"\(1,\) is not in it"),  # type: ignore[arg-type]
        (Neuron("conv3", 0), LayerError, "no layer 'conv3'. Near it: 'conv"),
    ],
)
def test_units_that_are_not_there_are_refused(model: Model, asked: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        bind(model, asked, X)
