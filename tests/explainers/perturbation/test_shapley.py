"""Sampled and fitted Shapley values against their definition, coalition by coalition."""

from math import comb
from typing import Any

import numpy as np
import pytest

from agnoscope import wrap
from agnoscope.explainers.perturbation.kernel_shap import KernelSHAP, every_coalition, shapley_regression
from agnoscope.explainers.perturbation.shapley import ShapleySampling
from agnoscope.testing import SIZE, linear_network, rectified_network
from tests.explainers.perturbation.closed_forms import LABELS, X, of_segments, shapley_values, squared, won

EVERYONE = {0, 1, 2, 3, 4}


@pytest.mark.parametrize("count", [4, 5, 6])
@pytest.mark.parametrize("fill", ["mean", 0.25])
def test_kernel_shap_is_exact_where_every_coalition_is_played(count: int, fill: Any) -> None:
    labels = np.minimum(np.arange(35).reshape(SIZE) // (35 // count), count - 1)
    found = KernelSHAP(2**count, labels, fill)(wrap(rectified_network()), X[0], squared)
    game = {"labels": labels, **({} if fill == "mean" else {"filling": fill})}
    expected = shapley_values(count, **game)
    np.testing.assert_allclose(of_segments(found.values[0], labels), expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("explainer", [ShapleySampling(1, LABELS), ShapleySampling(7, LABELS), KernelSHAP(9, LABELS)])
def test_the_values_add_up_to_what_the_image_has_beyond_the_filled_one(explainer: Any) -> None:
    found = explainer(wrap(rectified_network()), X[0], squared)
    np.testing.assert_allclose(of_segments(found.values[0]).sum(), won(EVERYONE) - won(()), rtol=1e-4)


def test_sampling_comes_near_to_the_definition() -> None:
    exact = shapley_values()
    few, many = (
        of_segments(ShapleySampling(n, LABELS)(wrap(rectified_network()), X[0], squared).values[0]) for n in (2, 1000)
    )
    assert np.abs(many - exact).max() < 0.02 * np.abs(exact).max()
    assert np.abs(few - exact).max() > np.abs(many - exact).max()


def test_drawn_coalitions_come_near_to_it_too() -> None:
    labels = np.arange(35).reshape(SIZE) // 5
    exact = shapley_values(7, labels=labels)
    found = KernelSHAP(127, labels)(wrap(rectified_network()), X[0], squared)
    assert np.abs(of_segments(found.values[0], labels) - exact).max() < 0.05 * np.abs(exact).max()


def test_each_order_alone_is_exact_where_segments_do_not_depend_on_each_other() -> None:
    network = linear_network()
    kernel: Any = network.layers["conv"].kernel  # type: ignore[union-attr]
    expected = [((X[0] - 0.5) * kernel[..., 1])[i == LABELS].sum() for i in range(5)]
    for explainer in (ShapleySampling(1, LABELS, 0.5), KernelSHAP(31, LABELS, 0.5), KernelSHAP(32, LABELS, 0.5)):
        found = explainer(wrap(network), X[0], 1)
        np.testing.assert_allclose(of_segments(found.values[0]), expected, rtol=1e-3, atol=1e-4)


def test_every_coalition_stands_once_with_its_kernel() -> None:
    coalitions, weights = every_coalition(4)
    assert len(coalitions) == len(np.unique(coalitions, axis=0)) == 14
    assert set(coalitions.sum(axis=1)) == {1, 2, 3}
    for coalition, weight in zip(coalitions, weights, strict=True):
        s = coalition.sum()
        assert weight == pytest.approx({1: 3 / (4 * 3), 2: 3 / (6 * 4), 3: 3 / (4 * 3)}[s])


def test_drawn_coalitions_come_in_complements_and_sizes_by_the_kernel() -> None:
    n = 6
    drawn, weights = KernelSHAP(samples=20_001).drawn(n)
    assert drawn.shape == (20_000, n)
    assert (weights == 1).all()
    np.testing.assert_array_equal(drawn[:10_000], ~drawn[10_000:])
    coalitions, kernel = every_coalition(n)
    shares = {s: kernel[coalitions.sum(axis=1) == s].sum() / kernel.sum() for s in range(1, n)}
    for s, share in shares.items():
        assert (drawn.sum(axis=1) == s).mean() == pytest.approx(share, abs=0.01)
        members = drawn[drawn.sum(axis=1) == s].mean(axis=0)
        np.testing.assert_allclose(members, s / n, atol=0.03)
        assert len(np.unique(drawn[drawn.sum(axis=1) == s], axis=0)) == comb(n, s)


def test_too_few_coalitions_leave_the_rest_equal() -> None:
    gains = np.array([3.0])
    found = shapley_regression(np.array([[True, False, False, False]]), gains, np.ones(1), 6.0)
    np.testing.assert_allclose(found, [3, 1, 1, 1])
    np.testing.assert_allclose(shapley_regression(np.zeros((0, 3), np.bool_), np.empty(0), np.empty(0), 6.0), 2)
