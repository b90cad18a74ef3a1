"""Corrections between steps, by hand."""

from typing import Any

import numpy as np
import pytest

from agnoscope.errors import OptionError
from agnoscope.explainers.synthesis.feature_visualization import FeatureVisualization
from agnoscope.optimisation.canvas import Canvas
from agnoscope.optimisation.corrections import Blur, Decay, ZeroSmallGradients, ZeroSmallPixels
from agnoscope.optimisation.optimisers import Ascent
from agnoscope.optimisation.parameterisations.pixels import Pixels
from tests.explainers.synthesis.frameworks import demo

CANVAS = Canvas((9, 9), 3, (-2.0, 6.0))
GRAY = 2.0
EVERY = [Blur(1), Decay(), ZeroSmallPixels(), ZeroSmallGradients()]


def test_a_dot_is_blurred_to_a_gaussian_of_its_own_channel() -> None:
    images = np.zeros((2, 9, 9, 3))
    images[0, 4, 4, 1] = 1.0
    blurred = Blur(2, 0.8)(2, CANVAS, images, images)
    bell = np.exp(-((np.arange(-3, 4) / 0.8) ** 2) / 2)
    bell /= bell.sum()
    np.testing.assert_allclose(blurred[0, 1:8, 1:8, 1], np.outer(bell, bell), atol=1e-12)
    assert (blurred[0, :, :, [0, 2]] == 0).all()
    assert (blurred[1] == 0).all()


def test_a_blur_leaves_a_flat_image_and_the_steps_between() -> None:
    flat = np.full((1, 9, 9, 3), 5.0)
    np.testing.assert_allclose(Blur(3, 2.0)(3, CANVAS, flat, flat), flat)
    images = np.random.default_rng(0).normal(size=(1, 9, 9, 3))
    changed = [not np.array_equal(Blur(3)(step, CANVAS, images, images), images) for step in range(1, 8)]
    assert changed == [False, False, True, False, False, True, False]


def test_decay_takes_a_share_of_the_way_to_gray() -> None:
    images = np.array([6.0, 2.0, -2.0]).reshape(1, 1, 3, 1) * np.ones((1, 1, 3, 3))
    np.testing.assert_allclose(Decay(0.25)(1, CANVAS, images, images)[0, 0, :, 0], [5, 2, -1])


def test_pixels_near_gray_become_gray() -> None:
    # Ten pixels of norm 1 to 10, and half as much, the other way around.
    norms = np.stack([np.arange(1.0, 11), np.arange(5.0, 0, -0.5)]).reshape(2, 2, 5)
    images = GRAY + norms[..., None] * np.array([0.6, 0, -0.8])
    found = ZeroSmallPixels(30)(1, CANVAS, images, np.zeros_like(images))
    gray = (found == GRAY).all(axis=-1)
    np.testing.assert_array_equal(gray, norms <= np.array([3, 1.5])[:, None, None])
    np.testing.assert_array_equal(found[~gray], images[~gray])


def test_pixels_that_are_not_missed_become_gray() -> None:
    images = GRAY + np.ones((1, 2, 5, 3))
    gradient = np.zeros_like(images)
    gradient[..., 0] = np.array([[1, -2, 3, -4, 5], [6, -7, 8, -9, 10]])
    gradient[0, 1, 4, 1] = -9.5  # the channels of the last one nearly cancel: 0.5
    found = ZeroSmallGradients(20)(1, CANVAS, images, gradient)
    np.testing.assert_array_equal(
        (found == GRAY).all(axis=-1)[0], [[True, False, False, False, False], [False, False, False, False, True]]
    )


@pytest.mark.parametrize("correction", EVERY, ids=repr)
def test_corrections_keep_dtype_and_argument(correction: Any) -> None:
    images = np.random.default_rng(0).uniform(-2, 6, (2, 9, 9, 3)).astype(np.float32)
    before, gradient = images.copy(), np.random.default_rng(1).normal(size=images.shape).astype(np.float32)
    found = correction(1, CANVAS, images, gradient)
    assert found.dtype == np.float32
    assert not np.array_equal(found, images)
    np.testing.assert_array_equal(images, before)


def test_a_run_goes_on_with_what_they_make() -> None:
    def made(*corrections: Any) -> Any:
        method = FeatureVisualization(6, 96, Pixels(0.05), None, Ascent(1e-3), corrections=corrections)
        return [state.images for state in method.steps(demo(), "ball")]

    plain, corrected = made(), made(Decay(0.5), Blur(3))
    np.testing.assert_array_equal(corrected[0], plain[0])
    np.testing.assert_allclose(corrected[1], np.clip(0.5 + (plain[1] - 0.5) * 0.5, 0, 1), atol=1e-6)
    rough = [np.abs(np.diff(images, axis=1)).mean() for images in corrected]
    assert rough[3] < 0.4 * rough[2]


@pytest.mark.parametrize("correction", EVERY, ids=repr)
def test_what_is_no_pixels_is_not_corrected(correction: Any) -> None:
    with pytest.raises(OptionError, match=r"'fourier'.*Pixels\(\)"):
        FeatureVisualization(corrections=(correction,)).begin(demo(), "ball")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Blur(0), "every"),
        (lambda: Blur(sigma=0), "sigma"),
        (lambda: Decay(1), "share"),
        (lambda: ZeroSmallPixels(0), "percentile"),
        (lambda: ZeroSmallGradients(100), "percentile"),
    ],
)
def test_wrong_options_are_refused(make: Any, told: str) -> None:
    with pytest.raises(OptionError, match=told):
        make()
