"""LIME against the regression that its paper describes, solved another way."""

from typing import Any

import numpy as np
import pytest

from agnoscope import OptionError, wrap
from agnoscope.backends.reference import Dense, Network
from agnoscope.explainers.perturbation.lime import LIME, ridge_regression
from agnoscope.testing import linear_network, rectified_network
from tests.explainers.perturbation.closed_forms import LABELS, LAYERS, X, of_segments, squared, won


def fitted(x: Any, y: Any, weights: Any, ridge: float) -> Any:
    """Coefficients and intercept at once; the penalty as further samples, of which the intercept sees nothing."""
    root = np.sqrt(weights)
    rows = np.concatenate(
        [root[:, None] * np.column_stack([x, np.ones(len(x))]), np.eye(x.shape[1] + 1)[:-1] * ridge**0.5]
    )
    return np.linalg.lstsq(rows, np.concatenate([root * y, np.zeros(x.shape[1])]))[0]


@pytest.mark.parametrize("ridge", [0.0, 0.3, 4.0])
def test_the_regression_is_the_least_of_its_squares(ridge: float) -> None:
    rng = np.random.default_rng(0)
    x, y, weights = rng.normal(size=(30, 4)), rng.normal(size=30), rng.uniform(size=30)
    coefficients, fit = ridge_regression(x, y, weights, ridge)
    *expected, intercept = fitted(x, y, weights, ridge)
    np.testing.assert_allclose(coefficients, expected, rtol=1e-9)
    errors, mean = y - x @ expected - intercept, np.average(y, weights=weights)
    assert fit == pytest.approx(1 - (weights * errors**2).sum() / (weights * (y - mean) ** 2).sum())


@pytest.mark.parametrize(("kernel_width", "ridge"), [(0.25, 1.0), (0.1, 0.05), (5.0, 0.0)])
def test_the_values_are_the_coefficients(kernel_width: float, ridge: float) -> None:
    found = LIME(200, LABELS, kernel_width=kernel_width, ridge=ridge, seed=3)(wrap(rectified_network()), X[0], squared)
    shown = np.random.default_rng(3).random((200, 5), dtype=np.float32) < 0.5
    shown[0] = True
    length = np.linalg.norm(shown, axis=1)
    cosine = np.where(length > 0, shown.sum(axis=1) / np.maximum(length, 1) / np.sqrt(5), 0)
    weights = np.sqrt(np.exp(-((1 - cosine) ** 2) / kernel_width**2))
    y = np.array([won(np.flatnonzero(row)) for row in shown])
    expected = fitted(shown.astype(float), y, weights, ridge)[:-1]
    np.testing.assert_allclose(of_segments(found.values[0]), expected, rtol=1e-3, atol=1e-5)
    assert 0 < found.extras["fit"][0] < 1


def test_it_is_exact_where_segments_do_not_depend_on_each_other() -> None:
    network = linear_network()
    kernel: Any = network.layers["conv"].kernel  # type: ignore[union-attr]
    found = LIME(100, LABELS, 0.5, ridge=0)(wrap(network), X, 1)
    for x, values in zip(X, found.values, strict=True):
        expected = [((x - 0.5) * kernel[..., 1])[i == LABELS].sum() for i in range(5)]
        np.testing.assert_allclose(of_segments(values), expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found.extras["fit"], 1, atol=1e-6)


def test_a_score_that_never_varies_has_no_fit() -> None:
    constant = Network({**LAYERS, "dense": Dense(0 * LAYERS["dense"].kernel, LAYERS["dense"].bias)})
    found = LIME(20, LABELS)(wrap(constant), X[:2], 1)
    assert not found.values.any()
    assert np.isnan(found.extras["fit"]).all()
    assert np.isnan(LIME(1, LABELS)(wrap(rectified_network()), X[0], 1).extras["fit"]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel_width": 0}, "kernel_width=0 must be a finite number above 0"),
        ({"kernel_width": "wide"}, "kernel_width='wide' must be"),
        ({"ridge": -1}, "ridge=-1 must be a finite number from 0 on"),
        ({"ridge": float("nan")}, "ridge=nan must be"),
        ({"fill": "pink"}, "fill='pink' is unknown"),
    ],
)
def test_it_refuses_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        LIME(**options)(wrap(rectified_network()), X)
