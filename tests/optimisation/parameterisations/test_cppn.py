"""A network of coordinates: known for one layer, and of any size."""

from dataclasses import replace

import numpy as np
import pytest

from agnoscope.optimisation.canvas import Canvas
from agnoscope.optimisation.parameterisations.cppn import CPPN, SIZES, coordinates
from tests.optimisation.parameterisations.programs import generators, images

CANVAS = Canvas((9, 15), depth=1, dtype="float64", coloured=False)


def test_coordinates_of_the_longer_side_have_a_deviation_of_one() -> None:
    place = coordinates((300, 200)).reshape(300, 200, 2)
    assert place[..., 1].std() == pytest.approx(1, abs=1e-3)
    assert place[..., 0].std() == pytest.approx(2 / 3, abs=1e-3)
    np.testing.assert_allclose(place.mean(axis=(0, 1)), 0, atol=1e-12)
    assert place[0, 1, 0] > place[0, 0, 0]
    assert place[1, 0, 1] > place[0, 0, 1]


def test_one_layer_by_hand() -> None:
    layer = {"kernel": np.array([[[0.5], [-2.0]]]), "bias": np.array([[[0.3]]])}
    last = {"kernel": np.array([[[1.5], [0.7]]]), "bias": np.array([[[-0.1]]])}
    column, row = coordinates(CANVAS.size).T.reshape(2, *CANVAS.size)
    hidden = np.tanh(0.5 * column - 2.0 * row + 0.3)
    wanted = 1 / (1 + np.exp(-(1.5 * hidden / SIZES[0] + 0.7 * hidden**2 / SIZES[1] - 0.1)))
    made = images(CPPN(layers=1, width=1), CANVAS, {"layer 0": layer, "last": last})
    np.testing.assert_allclose(made[0, ..., 0], wanted, atol=1e-12)


def test_layers_keep_the_size_of_their_values() -> None:
    made = CPPN(layers=12)
    parameters = made.start(CANVAS, generators(20))
    values = images(made, CANVAS, parameters)
    logits = np.log(values) - np.log1p(-values)
    assert 0.5 < logits.std() < 2


def test_the_same_weights_paint_the_same_picture_at_another_size() -> None:
    made = CPPN(layers=3)
    parameters = made.start(CANVAS, generators(2))
    # Each pixel's centre is the middle one's of nine.
    large = images(made, replace(CANVAS, size=(27, 45)), parameters)
    np.testing.assert_allclose(large[:, 1::3, 1::3], images(made, CANVAS, parameters), atol=1e-12)
