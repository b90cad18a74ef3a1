"""Robustness: explanations whose change can be written down."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agnoscope.errors import OptionError
from agnoscope.metrics import max_sensitivity

IMAGES = np.random.default_rng(0).uniform(0.2, 0.8, size=(3, 5, 4, 2))


def steep(images: NDArray[Any]) -> NDArray[Any]:
    return 7 * images


def test_a_constant_explanation_does_not_move() -> None:
    values = np.ones(IMAGES.shape)
    np.testing.assert_array_equal(max_sensitivity(lambda images: values, IMAGES, values), 0)


def test_a_linear_explanation_moves_as_the_image_does() -> None:
    asked: list[NDArray[Any]] = []

    def explain(images: NDArray[Any]) -> NDArray[Any]:
        asked.append(images)
        return steep(images)

    found = max_sensitivity(explain, IMAGES, steep(IMAGES), radius=0.1, samples=6)
    assert len(asked) == 6
    moves = [np.linalg.norm((images - IMAGES).reshape(3, -1), axis=1) for images in asked]
    np.testing.assert_allclose(found, np.max(moves, axis=0) / np.linalg.norm(IMAGES.reshape(3, -1), axis=1))
    for images in asked:
        assert 0.05 < (images - IMAGES).max() <= 0.1
        assert -0.1 <= (images - IMAGES).min() < -0.05


def test_more_samples_find_no_less() -> None:
    few, many = (max_sensitivity(steep, IMAGES, steep(IMAGES), samples=samples) for samples in (2, 20))
    assert (many > few).any()
    assert (many >= few).all()


def test_samples_stay_within_the_bounds() -> None:
    def explain(images: NDArray[Any]) -> NDArray[Any]:
        assert images.dtype == np.float32
        assert images.max() <= 1
        return images

    white = np.ones((2, 3, 3, 1), dtype=np.float32)
    max_sensitivity(explain, white, white)
    with pytest.raises(AssertionError):
        max_sensitivity(explain, white, white, bounds=None)
    with pytest.raises(OptionError, match="leave the bounds"):
        max_sensitivity(explain, 2 * white, white)


def test_an_explanation_of_zeros_is_undefined() -> None:
    values = IMAGES * np.array([1, 0, 1])[:, None, None, None]
    np.testing.assert_array_equal(np.isnan(max_sensitivity(steep, IMAGES, values)), [False, True, False])


def test_shuffled_images_give_shuffled_values() -> None:
    found = max_sensitivity(np.square, IMAGES, np.square(IMAGES))
    shuffled = IMAGES[[2, 0, 1]]
    np.testing.assert_array_equal(max_sensitivity(np.square, shuffled, np.square(shuffled)), found[[2, 0, 1]])
    assert len(set(found)) == 3


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(OptionError, match="3 explanations and 2 images"):
        max_sensitivity(steep, IMAGES[:2], IMAGES)
    with pytest.raises(OptionError, match="explain gave the shape"):
        max_sensitivity(lambda images: images.sum(axis=3), IMAGES, IMAGES)
    with pytest.raises(OptionError, match="explained values hold NaN"):
        max_sensitivity(lambda images: images * np.nan, IMAGES, IMAGES)
    for options in ({"radius": -1.0}, {"samples": 0}):
        with pytest.raises(OptionError, match="radius="):
            max_sensitivity(steep, IMAGES, IMAGES, **options)
