"""Input × gradient against the closed forms of small networks."""

import numpy as np
import pytest

from agnoscope import LayerError, wrap
from agnoscope.explainers.gradients.input_x_gradient import InputXGradient
from agnoscope.testing import SIZE, images, linear_network, rectified_network
from agnoscope.testing.networks import Rectified

X = images()


def test_of_a_linear_score_it_is_weight_times_input() -> None:
    found = InputXGradient()(wrap(linear_network()), X, [2, 0, 3])
    kernel = linear_network().layers["conv"].kernel
    np.testing.assert_allclose(found.values, X * np.moveaxis(kernel, -1, 0)[[2, 0, 3]], rtol=1e-6)


@pytest.mark.parametrize("channels", ["RGB", "BGR"])
def test_the_input_is_what_the_network_receives(channels: str) -> None:
    options = {"range": (0.0, 2.0), "mean": (0.5, 0.4, 0.6), "std": (0.5, 0.2, 0.1), "channels": channels}
    model = wrap(rectified_network(), **options)
    prepared = model.spec.prepare(np, X.astype(np.float64))
    expected = prepared * Rectified(prepared).at_image(1)
    found = InputXGradient()(model, X, 1).values
    np.testing.assert_allclose(found, expected[..., ::-1] if channels == "BGR" else expected, rtol=1e-4, atol=1e-5)
    assert np.abs(found - X * Rectified(prepared).at_image(1)).max() > 0.1


def test_at_a_layer_it_is_activation_times_gradient() -> None:
    found = InputXGradient("relu")(wrap(rectified_network()), X, 1)
    closed = Rectified(X)
    np.testing.assert_allclose(found.values, closed.activation * closed.at_relu(1), rtol=1e-5, atol=1e-7)
    assert found.values.shape == (3, *SIZE, 6)
    assert found.provenance.layer == "relu"
    with pytest.raises(LayerError, match="no layer 'reluu'"):
        InputXGradient("reluu")(wrap(rectified_network()), X, 1)


def test_without_biases_the_values_add_up_to_the_score() -> None:
    network = rectified_network()
    for name in ("conv", "dense"):
        network.layers[name].bias[...] = 0
    found = InputXGradient()(wrap(network), X, 1)
    np.testing.assert_allclose(found.values.sum(axis=(1, 2, 3)), found.provenance.scores, rtol=1e-5)
