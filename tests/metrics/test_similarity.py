"""Similarity: against NumPy, SciPy and scikit-image, and where it is undefined."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr  # type: ignore[import-untyped]
from skimage.metrics import structural_similarity

from agnoscope.errors import OptionError
from agnoscope.metrics import pearson, spearman, ssim

Metric = Callable[[NDArray[Any], NDArray[Any]], NDArray[np.float64]]
RNG = np.random.default_rng(0)
A = np.round(RNG.normal(size=(4, 9, 8)), 1)
B = np.round(0.5 * A + RNG.normal(size=A.shape), 1)
ALL = pytest.mark.parametrize("metric", [pearson, spearman, ssim])


def test_correlations_are_those_of_the_libraries() -> None:
    pairs = list(zip(A.reshape(4, -1), B.reshape(4, -1), strict=True))
    np.testing.assert_allclose(pearson(A, B), [np.corrcoef(a, b)[0, 1] for a, b in pairs], rtol=1e-12)
    np.testing.assert_allclose(spearman(A, B), [spearmanr(a, b).statistic for a, b in pairs], rtol=1e-12)


def test_four_ranks_by_hand() -> None:
    # 1 - 6 × (0 + 1 + 1 + 0) / (4 × 15)
    assert spearman(np.array([[[1, 2], [3, 4]]]), np.array([[[1, 30], [2, 400]]])) == pytest.approx(0.8)


def test_ssim_is_that_of_scikit_image_after_division_by_the_largest() -> None:
    a, b = (maps / np.abs(maps).max(axis=(1, 2), keepdims=True) for maps in (A, B))
    spans = [max(x.max(), y.max()) - min(x.min(), y.min()) for x, y in zip(a, b, strict=True)]
    expected = [structural_similarity(x, y, data_range=s) for x, y, s in zip(a, b, spans, strict=True)]
    np.testing.assert_allclose(ssim(A, B), expected, rtol=1e-12)


@ALL
def test_a_map_is_like_itself_at_any_scale(metric: Metric) -> None:
    np.testing.assert_allclose(metric(A, 1e-200 * A), 1, rtol=1e-9)
    np.testing.assert_array_equal(metric(A[::-1], B[::-1]), metric(A, B)[::-1])
    np.testing.assert_allclose(metric(A, B), metric(B, A), rtol=1e-9)


def test_the_negative_is_the_opposite_for_correlations_only() -> None:
    np.testing.assert_allclose([pearson(A, -A), spearman(A, -A)], -1)
    assert ssim(A, -A).max() > 0.5


def test_ranks_do_not_change_under_a_rising_function() -> None:
    np.testing.assert_array_equal(spearman(A, np.exp(B)), spearman(A, B))


@pytest.mark.parametrize("value", [0.0, 0.1, -3.0])
def test_a_constant_map_correlates_with_nothing(value: float) -> None:
    constant = np.full(A.shape, value)
    for metric in (pearson, spearman):
        assert np.isnan(metric(A, constant)).all()
        assert np.isnan(metric(constant, A)).all()
    assert np.isnan(pearson(A, 0.1 + 1e-16 * A)).all()


def test_ssim_with_zeros_is_undefined() -> None:
    assert np.isnan(ssim(A, np.zeros(A.shape))).all()
    assert np.isnan(ssim(np.ones(A.shape), np.ones(A.shape))).all()


@ALL
def test_maps_that_cannot_be_compared_are_refused(metric: Metric) -> None:
    with pytest.raises(OptionError, match="cannot be compared"):
        metric(A, B[:, :, :-1])
    with pytest.raises(OptionError, match="NaN or infinity"):
        metric(A, np.where(np.arange(9)[:, None] == 2, np.inf, B))


def test_small_maps_have_no_ssim() -> None:
    with pytest.raises(OptionError, match="7 × 7"):
        ssim(A[:, :6], B[:, :6])


def test_rounding_errors_have_no_ranks() -> None:
    near = 1 + np.spacing(1.0) * np.arange(4.0).reshape(1, 2, 2)
    assert np.isnan(spearman(near, np.arange(4.0).reshape(1, 2, 2))).all()
