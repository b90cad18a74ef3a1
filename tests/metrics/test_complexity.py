"""Complexity: closed forms of the constant map, of the single pixel, and four pixels by hand."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agnoscope.errors import OptionError
from agnoscope.metrics import COMPLEXITY, entropy, histogram_entropy, sparseness

Metric = Callable[[NDArray[Any]], NDArray[np.float64]]
MAPS = np.random.default_rng(0).normal(size=(4, 6, 7))
ALL = pytest.mark.parametrize("metric", COMPLEXITY.values(), ids=COMPLEXITY)


def test_four_pixels_by_hand() -> None:
    # 1 - 2 × (1 × 3.5 + 2 × 2.5 + 3 × 1.5 + 4 × 0.5) / (4 × 10)
    assert sparseness(np.array([[[4, -2], [1, 3]]])) == pytest.approx(1 / 4)
    assert entropy(np.array([[[1, -1], [2, 0]]])) == pytest.approx(1.5 * np.log(2))
    assert histogram_entropy(np.array([[[0.0, 0.1], [0.2, 1.0]]]), bins=2) == pytest.approx(
        -0.75 * np.log(0.75) - 0.25 * np.log(0.25)
    )


def test_a_single_pixel_and_a_constant_map() -> None:
    single, constant = np.zeros((1, 4, 5)), np.full((1, 4, 5), -0.3)
    single[0, 1, 1] = 2
    assert sparseness(single) == pytest.approx(1 - 1 / 20)
    assert sparseness(constant) == pytest.approx(0)
    assert entropy(single) == 0
    assert entropy(constant) == pytest.approx(np.log(20))
    assert histogram_entropy(constant) == 0
    assert histogram_entropy(np.arange(100.0).reshape(1, 10, 10)) == pytest.approx(np.log(100))


def test_zeros_are_undefined() -> None:
    assert np.isnan(sparseness(np.zeros((1, 2, 2)))).all()
    assert np.isnan(entropy(np.zeros((1, 2, 2)))).all()


@ALL
def test_scale_does_not_count_and_shuffled_images_give_shuffled_values(metric: Metric) -> None:
    np.testing.assert_allclose(metric(4 * MAPS), metric(MAPS), rtol=1e-12)
    np.testing.assert_array_equal(metric(MAPS[[2, 0, 3, 1]]), metric(MAPS)[[2, 0, 3, 1]])
    assert len(set(metric(MAPS))) == 4


@ALL
def test_maps_of_another_shape_are_refused(metric: Metric) -> None:
    with pytest.raises(OptionError, match="must have the shape"):
        metric(MAPS[0])
    with pytest.raises(OptionError, match="must be numbers"):
        metric(np.array([[["a"]]]))


def test_a_map_that_is_constant_but_for_rounding_or_tiny_has_a_histogram() -> None:
    near = 1 + np.spacing(1.0) * np.arange(3.0).reshape(1, 1, 3)
    assert histogram_entropy(near) == pytest.approx(np.log(3))
    assert histogram_entropy(np.array([[[5e-324, 0]]])) == pytest.approx(np.log(2))
    with pytest.raises(OptionError, match="bins=0"):
        histogram_entropy(near, bins=0)
