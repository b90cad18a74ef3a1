"""A plain border: Lucid's formula pixel by pixel, the same in every framework."""

import array_api_compat.numpy as xp
import numpy as np
import pytest
from numpy.typing import NDArray

from agnoscope.errors import OptionError
from agnoscope.explainers.synthesis.feature_visualization import FeatureVisualization
from agnoscope.optimisation.border import PlainBorder
from agnoscope.optimisation.canvas import Canvas
from agnoscope.optimisation.parameterisations.pixels import Pixels
from tests.explainers.synthesis.frameworks import demo, demo64
from tests.optimisation.test_regularisers import CANVAS, FRAMEWORKS, drawn, measured, sloped

WINDOW = np.array([[1, 1, 1, 1, 1], [1, 2, 2, 2, 1], [1, 2, 2, 2, 1], [1, 2, 2, 2, 1], [1, 1, 1, 1, 1]]) / 2


def told(images: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """By Lucid's formula of pixels between 0 and 1, for each image, pixel by pixel: a sum over the border."""
    height, across = images.shape[1:3]
    found = np.zeros(len(images))
    for row, column in np.ndindex(height, across):
        if min(row, column, height - 1 - row, across - 1 - column) >= width:
            continue
        near = [
            (WINDOW[i, j], images[:, row + i - 2, column + j - 2])
            for i, j in np.ndindex(5, 5)
            if 0 <= row + i - 2 < height and 0 <= column + j - 2 < across
        ]
        blurred = sum(weight * pixel for weight, pixel in near) / sum(weight for weight, _ in near)
        pixel = images[:, row, column]
        found += (np.square(blurred - pixel) + 0.8 * np.square(pixel - 0.5)).sum(axis=-1)
    return found


@pytest.mark.parametrize("width", [1, 2, 3, 50])
def test_lucids_formula(width: int) -> None:
    images = drawn(3)
    sums = told((images + 2) / 8, width)
    # Means over pixels and channels of numbers twice as large.
    np.testing.assert_allclose(measured(PlainBorder(width=width), images), 4 * sums / (6 * 8 * 3), rtol=1e-10)


def test_the_inside_does_not_count_and_a_gray_border_costs_nothing() -> None:
    images = np.full((2, 20, 20, 3), 2.0)
    images[:, 8:12, 8:12] = 6.0
    images[1, 0, 0] = 6.0
    found = PlainBorder(width=4)(xp, Canvas((20, 20), 3, (-2.0, 6.0), "float64"), images, {})
    assert found[0] == pytest.approx(0, abs=1e-15)
    assert found[1] > 0.8 / 400


def test_gradients_are_difference_quotients() -> None:
    images, direction = drawn(), np.random.default_rng(1).normal(size=(2, *CANVAS.size, 3))
    ahead, behind = (measured(PlainBorder(width=2), images + sign * 1e-6 * direction) for sign in (1, -1))
    slope = sloped(demo64(), PlainBorder(width=2), images)["gradient"]
    np.testing.assert_allclose((slope * direction).sum(axis=(1, 2, 3)), (ahead - behind) / 2e-6, rtol=1e-6)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_frameworks_agree(framework: str) -> None:
    images = drawn(dtype="float32")
    found, expected = (sloped(demo(name), PlainBorder(width=2), images) for name in (framework, "reference"))
    for name in ("value", "gradient"):
        np.testing.assert_allclose(found[name], expected[name], atol=1e-6 * np.abs(expected[name]).max(), err_msg=name)
        assert found[name].dtype == np.float32


def test_a_run_leaves_the_border_plain() -> None:
    made = [
        FeatureVisualization(30, 48, Pixels(0.1), views=None, penalties=penalties)(demo(), "ball").images[0] - 0.5
        for penalties in ((), (PlainBorder(1000.0, width=6),))
    ]
    border = [np.abs(np.concatenate([image[:6].ravel(), image[:, -6:].ravel()])).mean() for image in made]
    assert border[1] < 0.3 * border[0]


def test_a_border_has_a_width() -> None:
    with pytest.raises(OptionError, match="width=0"):
        PlainBorder(width=0)
