"""LRP on a Keras convolution with its normalisation, whose graph TensorFlow's optimiser rewrites."""

import numpy as np
import pytest

import agnoscope as ag

keras = pytest.importorskip("keras")
X = np.random.default_rng(0).uniform(size=(1, 8, 10, 3)).astype(np.float32)


@pytest.mark.parametrize("rule", ["z-plus", "gamma"])
def test_a_convolution_and_a_fresh_normalisation_are_as_the_convolution_alone(rule: str) -> None:
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 10, 3))
    conv, dense, relu = keras.layers.Conv2D(4, 3), keras.layers.Dense(3), keras.layers.ReLU()
    normal, mean = keras.layers.BatchNormalization(epsilon=1e-6), keras.layers.GlobalAveragePooling2D()
    plain = keras.Model(image, dense(mean(relu(conv(image)))))
    normalised = keras.Model(image, dense(mean(relu(normal(conv(image))))))
    found = [ag.explain(ag.wrap(network), X, "lrp", 1, rule=rule).values for network in (normalised, plain)]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-2, atol=1e-6)
