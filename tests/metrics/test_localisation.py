"""Localisation: numbers worked out by hand on four pixels, and what must not change them."""

from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agnoscope.errors import OptionError
from agnoscope.metrics import (
    LOCALISATION,
    auroc,
    average_precision,
    mass_accuracy,
    object_choice,
    pointing_game,
    rank_accuracy,
    summary,
)

Metric = Callable[[NDArray[Any], NDArray[np.bool_]], NDArray[np.float64]]

RNG = np.random.default_rng(0)
MAPS = RNG.normal(size=(5, 8, 9))
MASKS = RNG.random((5, 8, 9)) < 0.3
ALL = pytest.mark.parametrize("metric", LOCALISATION.values(), ids=LOCALISATION)


def one(rows: list[list[float]]) -> NDArray[Any]:
    return np.array([rows])


def pointing(maps: NDArray[Any], masks: NDArray[np.bool_]) -> NDArray[np.float64]:
    return pointing_game(maps, masks, tolerance=0)


LEFT = one([[1, 0], [1, 0]]) > 0
DIAGONAL = one([[1, 0], [0, 1]]) > 0


@pytest.mark.parametrize(
    ("metric", "distinct", "tied"),
    [
        (mass_accuracy, 2 / 3, 1 / 3),
        (rank_accuracy, 1 / 2, 1 / 3),
        (pointing_game, 1, 1 / 3),
        (auroc, 3 / 4, 1 / 4),
        (average_precision, 5 / 6, 5 / 12),
    ],
)
def test_four_pixels_by_hand(metric: Metric, distinct: float, tied: float) -> None:
    assert metric(one([[4, 3], [2, -1]]), LEFT) == pytest.approx(distinct)
    assert metric(one([[1, 1], [1, 0]]), DIAGONAL) == pytest.approx(tied)


def test_tied_ranks_are_the_mean_over_all_their_orders() -> None:
    values, inside = np.array([2.0, 1, 1, 1, 1, 0]), np.array([0, 1, 1, 0, 0, 1], dtype=bool)
    # Each order of the four tied pixels is a tiny change of their values.
    orders = [np.array([2, *(1 + 1e-3 * np.array(order)), 0]) for order in permutations(range(4))]
    found = [rank_accuracy(order.reshape(1, 2, 3), inside.reshape(1, 2, 3))[0] for order in orders]
    assert len(set(found)) > 1
    assert rank_accuracy(values.reshape(1, 2, 3), inside.reshape(1, 2, 3)) == pytest.approx(np.mean(found))


@pytest.mark.parametrize("value", [0.1, 1.0, 1e-300])
@pytest.mark.parametrize("metric", [mass_accuracy, rank_accuracy, pointing, average_precision])
def test_a_constant_map_scores_the_share_of_the_mask(metric: Metric, value: float) -> None:
    np.testing.assert_allclose(metric(np.full(MAPS.shape, value), MASKS), MASKS.mean(axis=(1, 2)), rtol=1e-12)


def test_a_constant_map_is_chance_for_the_curve() -> None:
    np.testing.assert_array_equal(auroc(np.zeros(MAPS.shape), MASKS), np.full(5, 0.5))


@ALL
def test_the_mask_itself_is_perfect_and_another_is_not(metric: Metric) -> None:
    np.testing.assert_allclose(metric(MASKS.astype(float), MASKS), 1)
    assert (metric(np.eye(9)[None], np.rot90(np.eye(9))[None] > 0) < 0.6).all()


@pytest.mark.parametrize("metric", [rank_accuracy, pointing_game, auroc, average_precision])
def test_only_the_order_of_the_values_counts_for_ranks(metric: Metric) -> None:
    np.testing.assert_array_equal(metric(np.exp(3 * MAPS) - 5, MASKS), metric(MAPS, MASKS))


def test_the_scale_of_the_map_does_not_count_for_its_mass() -> None:
    np.testing.assert_allclose(mass_accuracy(1e-6 * MAPS, MASKS), mass_accuracy(MAPS, MASKS), rtol=1e-12)


@ALL
def test_shuffled_images_give_shuffled_values(metric: Metric) -> None:
    order = [3, 0, 4, 1, 2]
    np.testing.assert_array_equal(metric(MAPS[order], MASKS[order]), metric(MAPS, MASKS)[order])
    np.testing.assert_array_equal(metric(MAPS[:1], MASKS[:1]), metric(MAPS, MASKS)[:1])


@ALL
def test_an_empty_mask_is_undefined_and_counted(metric: Metric) -> None:
    masks = MASKS.copy()
    masks[2] = False
    found = metric(MAPS, masks)
    np.testing.assert_array_equal(np.isnan(found), [False, False, True, False, False])
    assert (summary(found).n, summary(found).undefined) == (4, 1)


def test_what_has_no_answer_is_undefined() -> None:
    assert np.isnan(mass_accuracy(-np.ones((1, 2, 2)), LEFT))
    assert np.isnan(auroc(MAPS[:1], np.ones((1, 8, 9), dtype=bool)))
    assert rank_accuracy(MAPS[:1], np.ones((1, 8, 9), dtype=bool)) == 1


def test_near_the_mask_is_a_hit_by_the_distance_of_centres() -> None:
    maps, masks = np.zeros((1, 9, 9)), np.zeros((1, 9, 9), dtype=bool)
    maps[0, 4, 4], masks[0, 1, 0] = 1, True  # three rows and four columns away: five pixels
    assert pointing_game(maps, masks, tolerance=5) == 1
    assert pointing_game(maps, masks, tolerance=4.99) == 0
    assert pointing_game(maps, masks) == 0


@pytest.mark.parametrize(("side", "reach"), [(224, 15), (96, 6), (7, 0)])
def test_the_tolerance_is_fifteen_pixels_of_224(side: int, reach: int) -> None:
    for distance, hit in ((reach, 1), (reach + 1, 0)):
        maps, masks = np.zeros((1, side, side + 20)), np.zeros((1, side, side + 20), dtype=bool)
        maps[0, 0, distance], masks[0, 0, 0] = 1, True
        assert pointing_game(maps, masks) == hit


OBJECTS = np.zeros((1, 3, 4, 4), dtype=bool)
OBJECTS[0, 0, :2, :3], OBJECTS[0, 1, 2, 0], OBJECTS[0, 2, 3, 1:] = True, True, True


def test_the_object_with_the_highest_mean_is_chosen_however_small() -> None:
    maps = np.zeros((1, 4, 4))
    maps[0, :2, :3], maps[0, 2, 0] = 0.5, 0.8  # sums of 3 and of 0.8
    assert [object_choice(maps, OBJECTS, np.array([k]))[0] for k in range(3)] == [0, 1, 0]


def test_tied_objects_share_the_choice() -> None:
    # Sums of 0.1 differ in their last bits.
    assert object_choice(np.full((1, 4, 4), 0.1), OBJECTS, np.array([1])) == pytest.approx(1 / 3)
    background = np.zeros((1, 4, 4))
    background[0, 3, 0] = 1
    assert object_choice(background, OBJECTS, np.array([2])) == pytest.approx(1 / 3)


def test_an_empty_mask_is_no_object() -> None:
    padded = np.concatenate([OBJECTS, np.zeros((1, 1, 4, 4), dtype=bool)], axis=1)
    assert object_choice(np.ones((1, 4, 4)), padded, np.array([0])) == pytest.approx(1 / 3)
    assert np.isnan(object_choice(np.ones((1, 4, 4)), padded, np.array([3])))
    assert np.isnan(object_choice(np.zeros((1, 4, 4)), OBJECTS, np.array([0])))
    assert np.isnan(object_choice(np.ones((1, 4, 4)), OBJECTS[:, :1], np.array([0])))


@ALL
def test_arrays_that_do_not_fit_are_refused(metric: Metric) -> None:
    with pytest.raises(OptionError, match="must have the shape"):
        metric(MAPS, MASKS[:, :-1])
    with pytest.raises(OptionError, match="must be boolean"):
        metric(MAPS, MASKS.astype(np.uint8))
    with pytest.raises(OptionError, match="leading axis to a single map"):
        metric(MAPS[0], MASKS[0])
    with pytest.raises(OptionError, match="must be numbers"):
        metric(MAPS[:0], MASKS[:0])
    bad = MAPS.copy()
    bad[1, 0, 0] = np.nan
    with pytest.raises(OptionError, match="image 2 of 5"):
        metric(bad, MASKS)


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(OptionError, match="tolerance=-1"):
        pointing_game(MAPS, MASKS, tolerance=-1)
    with pytest.raises(OptionError, match="from 0 to 2"):
        object_choice(np.ones((1, 4, 4)), OBJECTS, np.array([3]))
    with pytest.raises(OptionError, match="objects of shape"):
        object_choice(np.ones((1, 4, 4)), OBJECTS[0], np.array([0]))
