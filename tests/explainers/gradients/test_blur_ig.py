"""Blur IG against its sum, written down in NumPy with SciPy's Gaussians."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from agnoscope import OptionError, wrap
from agnoscope.explainers.gradients.blur_ig import BlurIG
from agnoscope.testing import SIZE, deep_network, images, linear_network, parametrize_with_checks, rectified_network
from agnoscope.testing.networks import Rectified

X = images().astype(np.float64)
KERNEL: Any = linear_network().layers["conv"].kernel  # type: ignore[union-attr]


def blurred(x: NDArray[Any], sigma: float) -> NDArray[Any]:
    return np.asarray(gaussian_filter(x, (0, sigma, sigma, 0), mode="nearest")) if sigma else x


def test_on_a_linear_network_the_values_are_the_kernel_times_what_the_blur_takes_away() -> None:
    for steps in (1, 3, 50):
        found = BlurIG(steps, max_sigma=2.0)(wrap(linear_network()), X, [1, 0, 3])
        expected = np.stack([KERNEL[..., c] for c in (1, 0, 3)]) * (X - blurred(X, 2.0))
        np.testing.assert_allclose(found.values, expected, atol=1e-5)
        np.testing.assert_allclose(found.extras["delta"], 0, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_it_sums_the_mean_gradient_of_a_step_times_the_step(batch_size: int) -> None:
    path = np.stack([blurred(X, sigma) for sigma in np.linspace(0, 3, 8)])
    gradients = np.stack([Rectified(x).at_image(2) for x in path])
    expected = ((gradients[:-1] + gradients[1:]) / 2 * (path[:-1] - path[1:])).sum(axis=0)
    found = BlurIG(steps=7, max_sigma=3)(wrap(rectified_network()), X, 2, batch_size=batch_size)
    np.testing.assert_allclose(found.values, expected, atol=1e-5 * np.abs(expected).max())
    fall = (Rectified(path[0]).scores - Rectified(path[-1]).scores)[:, 2]
    np.testing.assert_allclose(found.extras["delta"], expected.sum(axis=(1, 2, 3)) - fall, atol=1e-5)


def test_finer_steps_come_nearer_to_the_fall_of_the_score() -> None:
    model = wrap(deep_network())
    coarse, fine = (np.abs(BlurIG(steps)(model, X, 1).extras["delta"]).max() for steps in (2, 300))
    assert fine < coarse / 20


@pytest.mark.parametrize(("size", "sigma"), [((224, 224), 50), ((224, 300), 50), ((112, 100), 50 * 100 / 224)])
def test_the_strongest_blur_goes_with_the_size_of_the_image(size: tuple[int, int], sigma: float) -> None:
    assert BlurIG().settle(wrap(linear_network()), size).max_sigma == pytest.approx(sigma)


def test_an_image_of_one_colour_has_nothing_to_take_away() -> None:
    flat = np.full((1, *SIZE, 3), 0.3)
    np.testing.assert_allclose(BlurIG(3)(wrap(deep_network()), flat).values, 0, atol=1e-7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps=0 must be a whole number, at least 1"),
        ({"max_sigma": 0}, "max_sigma=0 must be a finite number above 0"),
        ({"max_sigma": float("nan")}, "max_sigma=nan must be"),
    ],
)
def test_it_refuses_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        BlurIG(**options)(wrap(linear_network()), X)


@parametrize_with_checks([BlurIG(steps=5)])
def test_it_keeps_the_contract(check: Any) -> None:
    check()
