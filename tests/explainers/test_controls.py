"""Controls give exactly what they say, whatever the network."""

from typing import Any

import numpy as np
import pytest
from scipy.ndimage import sobel

from agnoscope import Explainer, wrap
from agnoscope.explainers.controls import ConstantMap, EdgeFilter, RandomMap
from agnoscope.testing import SIZE, deep_network, images, linear_network, parametrize_with_checks

X = images()
CONTROLS = [RandomMap(), EdgeFilter(), ConstantMap()]


def test_constant_is_one_everywhere() -> None:
    np.testing.assert_array_equal(ConstantMap()(wrap(linear_network()), X).values, np.ones((3, *SIZE)))


def test_random_is_even_between_0_and_1_and_follows_its_seed() -> None:
    draw = RandomMap(4).map_of(np.zeros((100, 100, 3)))
    assert draw.min() >= 0
    assert draw.max() < 1
    np.testing.assert_allclose(np.quantile(draw, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.02)
    np.testing.assert_array_equal(draw, np.random.default_rng(4).random((100, 100), dtype=np.float32))
    assert not np.array_equal(draw, RandomMap(5).map_of(np.zeros((100, 100, 3))))
    assert RandomMap(4)(wrap(linear_network()), X).provenance.seed == 4


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_edges_are_the_magnitude_of_the_gray_images_slope(channels: int) -> None:
    image = np.random.default_rng(0).uniform(-1, 1, (9, 11, channels))
    gray = image @ [0.2125, 0.7154, 0.0721] if channels == 3 else image.mean(axis=-1)
    expected = np.hypot(sobel(gray, 0), sobel(gray, 1)) / 4 / np.sqrt(2)
    np.testing.assert_allclose(EdgeFilter().map_of(image), expected, atol=1e-12)


@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: control.name)
@pytest.mark.parametrize("batch_size", [1, 2, None])
def test_the_network_gives_the_target_and_nothing_else(control: Explainer, batch_size: Any) -> None:
    model = wrap(deep_network())
    model.can = frozenset()
    found = control(model, X, batch_size=batch_size)
    assert found.provenance.targets == ("class 1", "class 2", "class 1")
    assert found.output is not None
    np.testing.assert_allclose(np.array(found.provenance.scores), found.output.max(axis=1), rtol=1e-6)
    assert found.provenance.warnings == (f"The map {control.name!r} is a control: it does not depend on the network.",)
    asked = control(model, X, [3, 0, 1], batch_size=batch_size).provenance.scores
    np.testing.assert_allclose(np.array(asked), found.output[range(3), [3, 0, 1]], rtol=1e-6)
    other = control(wrap(linear_network()), X, batch_size=batch_size)
    np.testing.assert_array_equal(found.values, other.values)


@parametrize_with_checks(CONTROLS)
def test_they_keep_the_contract(check: Any) -> None:
    check()
