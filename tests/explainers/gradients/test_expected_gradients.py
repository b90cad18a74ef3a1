"""Expected gradients against closed forms, and against the loop that the paper describes."""

from typing import Any

import numpy as np
import pytest

from agnoscope import OptionError, Saliency, wrap
from agnoscope.explainers.gradients.expected_gradients import ExpectedGradients
from agnoscope.explainers.gradients.integrated_gradients import IntegratedGradients
from agnoscope.testing import deep_network
from tests.explainers.gradients.closed_forms import (
    PAIR,
    TARGETS,
    X,
    double,
    linear_model,
    linear_weights,
    pair_model,
    product,
    rectified_model,
    without_red,
)


@pytest.mark.parametrize(
    ("baselines", "mean"), [("black", 0.0), (("black", "white"), 0.5), ((0.2, 0.4, 0.9), (0.2, 0.4, 0.9))]
)
def test_of_a_linear_score_it_is_weight_times_mean_change(baselines: Any, mean: Any) -> None:
    found = ExpectedGradients(baselines, samples=10)(linear_model(), X, TARGETS)
    np.testing.assert_allclose(found.values, linear_weights() * (X - mean), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.extras["delta"], 0, atol=1e-10)


def test_it_is_the_mean_of_change_times_gradient_at_random_points() -> None:
    model, pictures = wrap(double(deep_network()), bounds=(-9, 9)), [np.zeros_like(X[0]), X[2], X[1] / 2]
    found = ExpectedGradients(pictures, samples=8, seed=3)(model, X[0], 1, batch_size=3)
    rng = np.random.default_rng(3)
    first, shares = rng.integers(3), rng.random(8, dtype=np.float32).astype(float)
    starts = np.stack([pictures[(first + i) % 3] for i in range(8)])
    points = starts + shares[:, None, None, None] * (X[0] - starts)
    expected = ((X[0] - starts) * Saliency()(model, points, 1).values).mean(axis=0)
    np.testing.assert_allclose(found.values[0], expected, rtol=1e-9, atol=1e-12)
    scores = np.array(Saliency()(model, starts, 1).provenance.scores)
    rise = found.provenance.scores[0] - scores.mean()
    np.testing.assert_allclose(found.extras["delta"], expected.sum() - rise, rtol=1e-9)


def test_noise_is_added_to_the_image_at_every_sample() -> None:
    model = wrap(double(deep_network()), bounds=(-9, 9))
    method = ExpectedGradients("black", samples=7, noise=0.3)
    rng = np.random.default_rng(0)
    rng.integers(1)
    shares = rng.random(7, dtype=np.float32).astype(float)
    ends = X[0] + 0.3 * np.ptp(X[0]) * rng.standard_normal((7, *X[0].shape), dtype=np.float32) + 9
    expected = (ends * Saliency()(model, shares[:, None, None, None] * ends - 9, 1).values).mean(axis=0)
    for batch_size in (3, 100):
        found = method(model, X[0], 1, batch_size=batch_size)
        np.testing.assert_allclose(found.values[0], expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


def test_it_comes_near_to_integrated_gradients_as_samples_grow() -> None:
    model = wrap(double(deep_network()))
    exact = IntegratedGradients(("black", "white"), tolerance=None, steps=2000, rule="middle")(model, X, 1).values
    few, many = (
        np.abs(ExpectedGradients(samples=samples)(model, X, 1).values - exact).mean() / np.abs(exact).mean()
        for samples in (20, 5000)
    )
    assert many < 0.02 < few


def test_of_a_product_each_factor_gets_one_half() -> None:
    found = ExpectedGradients("black", samples=20_000)(pair_model(), PAIR, product)
    np.testing.assert_allclose(found.values.ravel(), [0.75, 0.75], rtol=0.02)
    assert found.extras["delta"].item() == pytest.approx(found.values.sum() - 1.5)


def test_baselines_take_turns() -> None:
    model, black = linear_model(), np.zeros_like(X[0])
    many = [black] * 3 + [np.ones_like(black)]
    found = ExpectedGradients(many, samples=40)(model, X, TARGETS)
    np.testing.assert_allclose(found.values, linear_weights() * (X - 0.25), rtol=1e-9, atol=1e-12)
    fewer = ExpectedGradients(many, samples=1, seed=1)(model, X, TARGETS)
    np.testing.assert_allclose(fewer.extras["delta"], 0, atol=1e-10)  # against the baseline that was taken


def test_paths_within_a_layer() -> None:
    one = ExpectedGradients("black", samples=4, layer="relu")(rectified_model(), X, 1)
    other = IntegratedGradients("black", steps=4, layer="relu")(rectified_model(), X, 1)
    np.testing.assert_allclose(one.values, other.values, rtol=1e-9, atol=1e-12)  # beyond the layer all is linear
    with pytest.raises(OptionError, match=r"noise=0\.1 is for images: with layer='relu' use noise=0"):
        ExpectedGradients(noise=0.1, layer="relu")(rectified_model(), X, 1)


def test_what_counts_for_nothing_gets_exactly_nothing() -> None:
    found = ExpectedGradients()(without_red(), X, 1)
    assert (found.values[..., 0] == 0).all()
    assert (found.values[..., 1:] != 0).any()


def test_no_image_sees_another() -> None:
    model = wrap(double(deep_network()))
    whole = ExpectedGradients(samples=9)(model, X, 1)
    np.testing.assert_array_equal(ExpectedGradients(samples=9)(model, X[1], 1).values[0], whole.values[1])
    assert (ExpectedGradients(samples=9, seed=1)(model, X, 1).values != whole.values).any()
    assert whole.provenance.seed == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "samples=0 must be a whole number, at least 1"),
        ({"noise": -1}, "noise=-1 must be"),
        ({"baselines": "pink"}, "baselines='pink' is unknown"),
        ({"baselines": ()}, r"baselines=\(\) must be one number or 3"),
        ({"baselines": (np.zeros((2, 2, 3)), "black")}, r"must be of shape \(5, 7, 3\)"),
    ],
)
def test_it_refuses_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        ExpectedGradients(**options)(rectified_model(), X)
