"""Faithfulness: the exact explanation of a linear score, and errors worked out by hand."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agnoscope.errors import OptionError
from agnoscope.metrics import completeness, infidelity, mu_fidelity, sensitivity_n
from tests.metrics.linear import IMAGES, WEIGHTS, linear

FILL = np.array([0.2, 0.4])
CONTRIBUTIONS = WEIGHTS * (IMAGES - FILL)
PIXEL = np.ones((1, 1, 1, 1))
CORRELATIONS = pytest.mark.parametrize(
    "measure",
    [partial(sensitivity_n, n=4), partial(mu_fidelity, grid=4)],
    ids=["sensitivity-n", "mu-fidelity"],
)
Measure = Callable[..., NDArray[np.float64]]


@pytest.mark.parametrize("bounds", [(0.0, 1.0), None])
def test_the_gradient_of_a_linear_score_is_faithful(bounds: tuple[float, float] | None) -> None:
    found = infidelity(linear(), IMAGES, WEIGHTS, samples=20, bounds=bounds)
    np.testing.assert_allclose(found, 0, atol=1e-24)
    assert (infidelity(linear(), IMAGES, 1.1 * WEIGHTS, samples=20, bounds=bounds) > 1e-4).all()


def test_one_pixel_by_hand() -> None:
    # The score falls by 1 as the pixel goes to 0, and the forecast is 3.
    assert infidelity(linear(PIXEL), PIXEL, 3 * PIXEL, noise=0, samples=5) == pytest.approx(4)
    # Half the fall if the baseline is half way: half the error.
    assert infidelity(linear(PIXEL), PIXEL, 3 * PIXEL, baseline=0.5, noise=0, samples=5) == pytest.approx(1)
    assert infidelity(linear(PIXEL), PIXEL, 3 * PIXEL, noise=0, samples=5, scaled=True) == pytest.approx(0)
    assert np.isnan(infidelity(linear(PIXEL), PIXEL, 0 * PIXEL, samples=5, scaled=True))


def test_the_best_scale_is_that_of_least_squares() -> None:
    np.testing.assert_allclose(infidelity(linear(), IMAGES, -3 * WEIGHTS, samples=20, scaled=True), 0, atol=1e-24)
    values = np.abs(WEIGHTS)
    best = infidelity(linear(), IMAGES, values, samples=20, scaled=True)
    np.testing.assert_allclose(infidelity(linear(), IMAGES, 9 * values, samples=20, scaled=True), best)
    # Infidelity is a parabola in the scale: its lowest point follows from any three others.
    left, middle, right = (infidelity(linear(), IMAGES, scale * values, samples=20) for scale in (-1, 0, 1))
    np.testing.assert_allclose(best, middle - (right - left) ** 2 / (8 * (left + right - 2 * middle)))


def test_noise_adds_its_variance() -> None:
    found = infidelity(linear(PIXEL), PIXEL, 2 * PIXEL, noise=0.5, bounds=None, samples=4000)
    assert found == pytest.approx(1 + 0.25, rel=0.05)


def test_the_noisy_baseline_stays_within_the_bounds() -> None:
    seen: list[float] = []

    def scores(images: NDArray[Any], owners: NDArray[np.intp]) -> NDArray[Any]:
        seen.extend([images.min(), images.max()])
        return images.sum(axis=(1, 2, 3))

    infidelity(scores, IMAGES, WEIGHTS, noise=5.0, samples=3)
    assert (min(seen), max(seen)) == (0, 1)


@CORRELATIONS
def test_contributions_to_a_linear_score_correlate_fully(measure: Measure) -> None:
    for values in (CONTRIBUTIONS, CONTRIBUTIONS.sum(axis=3), 5 * CONTRIBUTIONS):
        np.testing.assert_allclose(measure(linear(), IMAGES, values, fill=FILL), 1)
    np.testing.assert_allclose(measure(linear(), IMAGES, -CONTRIBUTIONS, fill=FILL), -1)
    assert (measure(linear(), IMAGES, CONTRIBUTIONS[:, ::-1], fill=FILL) < 0.9).all()


@CORRELATIONS
def test_constant_sides_are_undefined(measure: Measure) -> None:
    assert np.isnan(measure(linear(0 * WEIGHTS), IMAGES, CONTRIBUTIONS)).all()
    assert np.isnan(measure(linear(), IMAGES, 0 * CONTRIBUTIONS)).all()
    assert np.isnan(sensitivity_n(linear(), IMAGES, CONTRIBUTIONS, 30)).all()


def test_sets_have_n_pixels_or_a_share_of_the_cells() -> None:
    seen: list[NDArray[Any]] = []

    def scores(images: NDArray[Any], owners: NDArray[np.intp]) -> NDArray[Any]:
        seen.extend(images[..., 0] == 0)
        return images.sum(axis=(1, 2, 3))

    images = np.ones((1, 8, 12, 1))
    sensitivity_n(scores, images, images, 7, samples=10)
    assert {gone.sum() for gone in seen[1:]} == {7}
    assert len({gone.tobytes() for gone in seen[1:]}) > 5
    seen.clear()
    mu_fidelity(scores, images, images, grid=4, share=0.5, samples=10)
    for gone in seen[1:]:
        cells = gone.reshape(4, 2, 4, 3)
        assert gone.sum() == 8 * 6
        assert (cells == cells[:, :1, :, :1]).all()


@pytest.mark.parametrize(
    "measure",
    [sensitivity_n, mu_fidelity, infidelity],
)
def test_shuffled_images_give_shuffled_values(measure: Measure) -> None:
    order, options = [1, 2, 0], {"n": 3} if measure is sensitivity_n else {"grid": 3} if measure is mu_fidelity else {}
    values = np.random.default_rng(0).normal(size=IMAGES.shape)
    straight = measure(linear(), IMAGES, values, samples=20, batch_size=7, **options)
    shuffled = measure(linear(WEIGHTS[order]), IMAGES[order], values[order], samples=20, batch_size=999, **options)
    np.testing.assert_allclose(shuffled, straight[order], rtol=1e-9)
    assert not np.allclose(straight, measure(linear(), IMAGES, values, samples=20, seed=1, **options))


def test_completeness_by_hand() -> None:
    values = np.array([[[1.0, 2.0]], [[3.0, -1.0]], [[0.0, 0.0]], [[1.0, 1.0]]])
    found = completeness(values, np.array([5.0, 1.0, 2.0, 3.0]), np.array([2.0, 2.0, 1.0, 3.0]))
    np.testing.assert_allclose(found, [0, 3, 1, np.nan])
    np.testing.assert_allclose(completeness(values, np.full(4, 4.0), np.array(1.0))[:2], [0, 1 / 3])


def test_contributions_to_a_linear_score_are_complete() -> None:
    score = linear()(IMAGES, np.arange(3))
    np.testing.assert_allclose(completeness(IMAGES * WEIGHTS, score, np.array(0.0)), 0, atol=1e-12)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(OptionError, match="one per channel"):
        infidelity(linear(), IMAGES, WEIGHTS[..., 0])
    with pytest.raises(OptionError, match="do not fit images"):
        sensitivity_n(linear(), IMAGES, WEIGHTS[..., :1], 2)
    with pytest.raises(OptionError, match="noise=-1"):
        infidelity(linear(), IMAGES, WEIGHTS, noise=-1)
    for n in (0, 31):
        with pytest.raises(OptionError, match="between 1 and 30"):
            sensitivity_n(linear(), IMAGES, WEIGHTS, n)
    with pytest.raises(OptionError, match="grid=9"):
        mu_fidelity(linear(), IMAGES, WEIGHTS)
    with pytest.raises(OptionError, match="share=1"):
        mu_fidelity(linear(), IMAGES, WEIGHTS, grid=2, share=1)
    with pytest.raises(OptionError, match="3 finite numbers"):
        completeness(WEIGHTS, np.zeros(2), np.array(0.0))


def test_bounds_that_the_images_leave_are_refused() -> None:
    images = np.full((1, 2, 2, 1), -0.5)
    with pytest.raises(OptionError, match="leave the bounds"):
        infidelity(lambda x, _: x.sum((1, 2, 3)), images, images)
