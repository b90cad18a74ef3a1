"""Perturbation: curves of a linear score by hand, the imputation of ROAD in closed form."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agnoscope.errors import NonFiniteError, OptionError
from agnoscope.metrics import Curve, deletion, insertion, road
from agnoscope.metrics.perturbation import imputed
from agnoscope.metrics.scores import filling
from tests.metrics.linear import IMAGES, WEIGHTS, linear

CONTRIBUTIONS = (IMAGES * WEIGHTS).sum(axis=3)
ONES = np.ones((1, 2, 2, 1))
FOUR = np.array([[[4.0, 1.0], [2.0, 3.0]]])
Measure = Callable[..., Any]
BOTH = pytest.mark.parametrize("measure", [deletion, insertion])
ALL = pytest.mark.parametrize("measure", [deletion, insertion, road])


def test_four_pixels_by_hand() -> None:
    scores = linear(FOUR[..., None])
    gone = deletion(scores, ONES, FOUR)
    np.testing.assert_allclose(gone.fractions, [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(gone.scores, [[10, 6, 3, 1, 0]])
    np.testing.assert_allclose(gone.area, [(10 / 2 + 6 + 3 + 1) / 4])
    back = insertion(scores, ONES, FOUR, fill=0.0)
    np.testing.assert_allclose(back.scores, [[0, 4, 7, 9, 10]])
    np.testing.assert_allclose(back.area, [(4 + 7 + 9 + 10 / 2) / 4])
    assert gone.random_area is None


def test_the_curve_of_a_linear_score_is_the_sum_of_what_is_left() -> None:
    found = deletion(linear(), IMAGES, CONTRIBUTIONS)
    ordered = -np.sort(-CONTRIBUTIONS.reshape(3, -1), axis=1)
    left = ordered.sum(axis=1, keepdims=True) - np.cumsum(ordered, axis=1)
    np.testing.assert_allclose(found.scores[:, 1:], left, atol=1e-12)


@pytest.mark.parametrize("fill", [0.3, "mean", np.array([0.1, 0.7])])
def test_both_curves_join_the_image_and_the_fill(fill: Any) -> None:
    gone = deletion(linear(), IMAGES, CONTRIBUTIONS, fill=fill, steps=4)
    back = insertion(linear(), IMAGES, -CONTRIBUTIONS, fill=fill, steps=4)
    whole = CONTRIBUTIONS.sum(axis=(1, 2))
    np.testing.assert_allclose(gone.scores[:, 0], whole)
    np.testing.assert_allclose(back.scores[:, -1], whole)
    # The reversed map brings in what the map removes, last first.
    np.testing.assert_allclose(gone.scores, back.scores[:, ::-1], atol=1e-12)


def test_insertion_starts_from_a_blurred_image() -> None:
    start = insertion(linear(), IMAGES, CONTRIBUTIONS, steps=1).scores[:, 0]
    np.testing.assert_allclose(start, linear()(filling(IMAGES, "blur"), np.arange(3)))
    assert not np.allclose(start, linear()(IMAGES, np.arange(3)), rtol=0.01)


def test_the_best_order_beats_a_random_one_and_the_worst() -> None:
    best, worst = (deletion(linear(), IMAGES, sign * CONTRIBUTIONS, reference=True) for sign in (1, -1))
    assert best.random_area is not None
    assert worst.random_area is not None
    assert (best.area < best.random_area).all()
    assert (worst.area > best.random_area).all()
    np.testing.assert_array_equal(best.random_area, worst.random_area)


@BOTH
def test_ties_are_broken_at_random_by_the_seed(measure: Measure) -> None:
    flat = np.zeros(CONTRIBUTIONS.shape)
    found = [measure(linear(), IMAGES, flat, seed=seed, reference=True) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(found[0].area, found[0].random_area)
    np.testing.assert_array_equal(found[0].area, found[1].area)
    assert (found[0].area != found[2].area).all()


@BOTH
def test_only_the_order_of_the_map_counts(measure: Measure) -> None:
    found = [measure(linear(), IMAGES, maps).area for maps in (CONTRIBUTIONS, np.exp(CONTRIBUTIONS))]
    np.testing.assert_array_equal(*found)


@BOTH
def test_steps_are_even_and_at_most_224(measure: Measure) -> None:
    images, maps = np.ones((1, 24, 24, 1)), np.arange(576.0).reshape(1, 24, 24)
    found: Curve = measure(linear(images), images, maps)
    assert found.scores.shape == (1, 225)
    sizes = np.diff(found.fractions) * 576
    assert (sizes.min().round(), sizes.max().round()) == (2, 3)
    assert measure(linear(images), images, maps, steps=10).fractions.shape == (11,)


def test_a_batch_is_all_that_ever_exists() -> None:
    images, maps = np.ones((1, 64, 64, 3)), np.random.default_rng(0).normal(size=(1, 64, 64))
    sizes: list[int] = []

    def scores(images: NDArray[Any], owners: NDArray[np.intp]) -> NDArray[Any]:
        sizes.append(len(images))
        return images[:, 0, 0, 0]

    tracemalloc.start()
    deletion(scores, images, maps, batch_size=8)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert max(sizes) <= 8
    assert len(sizes) == 29
    assert peak < 40 * images.nbytes


@ALL
def test_shuffled_images_give_shuffled_values(measure: Measure) -> None:
    order = [2, 0, 1]
    maps = np.round(CONTRIBUTIONS)  # with ties
    straight = measure(linear(), IMAGES, maps, batch_size=7)
    shuffled = measure(linear(WEIGHTS[order]), IMAGES[order], maps[order], batch_size=1000)
    name = "combined" if measure is road else "area"
    np.testing.assert_allclose(getattr(shuffled, name), getattr(straight, name)[order], rtol=1e-12)


def removed(rows: list[list[int]]) -> NDArray[np.bool_]:
    return np.array(rows) > 0


def gray(image: Any, gone: NDArray[np.bool_]) -> NDArray[Any]:
    return imputed(np.array(image, dtype=np.float64)[..., None], gone)[..., 0]


def test_a_removed_pixel_is_the_mean_of_its_neighbours() -> None:
    np.testing.assert_allclose(gray([[2, 99, 6]], removed([[0, 1, 0]])), [[2, 4, 6]])
    # Two direct neighbours of weight 2 and a diagonal one of weight 1.
    np.testing.assert_allclose(gray([[10, 1], [2, 99]], removed([[0, 0], [0, 1]]))[1, 1], (10 + 2 + 4) / 5)
    inner = gray([[1, 2, 3], [4, 99, 6], [7, 8, 10]], removed([[0, 0, 0], [0, 1, 0], [0, 0, 0]]))[1, 1]
    assert inner == pytest.approx((2 + 4 + 6 + 8) / 6 + (1 + 3 + 7 + 10) / 12)


def test_removed_neighbours_are_solved_for_together() -> None:
    np.testing.assert_allclose(gray([[0, 99, 99, 9]], removed([[0, 1, 1, 0]])), [[0, 3, 6, 9]])


def test_a_slope_comes_back_whatever_is_removed_inside() -> None:
    rows, columns = np.mgrid[:9, :12]
    gone = np.zeros((9, 12), dtype=bool)
    gone[1:-1, 1:-1] = np.random.default_rng(0).random((7, 10)) < 0.8
    slope = np.stack([2.0 * rows - columns, 5 - 0.1 * columns], axis=-1)
    found = imputed(np.where(gone[..., None], 77, slope), gone)
    np.testing.assert_allclose(found, slope, atol=1e-12)


def test_a_picture_comes_back_if_nothing_is_removed_and_is_refused_if_everything_is() -> None:
    np.testing.assert_array_equal(imputed(IMAGES[0], np.zeros((6, 5), dtype=bool)), IMAGES[0])
    with pytest.raises(OptionError, match="every pixel"):
        imputed(IMAGES[0], np.ones((6, 5), dtype=bool))


def test_road_keeps_what_it_does_not_remove_and_adds_noise_to_the_rest() -> None:
    seen: dict[int, NDArray[Any]] = {}

    def scores(images: NDArray[Any], owners: NDArray[np.intp]) -> NDArray[Any]:
        seen.update(enumerate(images))
        return np.zeros(len(images))

    flat, maps = np.full((1, 20, 20, 1), 0.5), np.arange(400.0).reshape(1, 20, 20)
    road(scores, flat, maps, fractions=[0.25], noise=0.1)
    most, least = seen[0][..., 0], seen[1][..., 0]
    assert (most[:15] == 0.5).all()
    assert (least[5:] == 0.5).all()
    assert most[15:].std() == pytest.approx(0.1, rel=0.2)
    assert least[:5].mean() == pytest.approx(0.5, abs=0.05)
    road(scores, flat, maps, fractions=[0.25], noise=0)
    np.testing.assert_allclose(seen[0], 0.5)


def test_road_combines_both_orders_and_turns_with_the_map() -> None:
    found = road(linear(), IMAGES, CONTRIBUTIONS, noise=0)
    assert found.most_relevant_first.shape == found.least_relevant_first.shape == (3, 9)
    np.testing.assert_allclose(
        found.combined, (found.least_relevant_first.mean(axis=1) - found.most_relevant_first.mean(axis=1)) / 2
    )
    assert (found.combined > 0).all()
    turned = road(linear(), IMAGES, -CONTRIBUTIONS, noise=0)
    np.testing.assert_allclose(turned.combined, -found.combined)
    np.testing.assert_allclose(turned.most_relevant_first, found.least_relevant_first)


def test_road_always_leaves_a_pixel_and_takes_one() -> None:
    found = road(linear(FOUR[..., None]), ONES, FOUR, fractions=[0.01, 0.99], noise=0)
    np.testing.assert_allclose(found.most_relevant_first, 10)


@ALL
def test_what_does_not_fit_is_refused(measure: Measure) -> None:
    with pytest.raises(OptionError, match="do not fit maps"):
        measure(linear(), IMAGES[:, :-1], CONTRIBUTIONS)
    with pytest.raises(OptionError, match="finite floats"):
        measure(linear(), (255 * IMAGES).astype(np.uint8), CONTRIBUTIONS)
    with pytest.raises(OptionError, match="must have the shape"):
        measure(linear(), IMAGES, CONTRIBUTIONS[0])
    with pytest.raises(OptionError, match="batch_size=0"):
        measure(linear(), IMAGES, CONTRIBUTIONS, batch_size=0)
    with pytest.raises(NonFiniteError, match="image 1"):
        measure(lambda images, owners: images[:, 0, 0, 0] * np.nan, IMAGES, CONTRIBUTIONS)


@pytest.mark.parametrize("steps", [0, 31])
def test_steps_out_of_range_are_refused(steps: int) -> None:
    with pytest.raises(OptionError, match="between 1 and the number of pixels, 30"):
        deletion(linear(), IMAGES, CONTRIBUTIONS, steps=steps)


@pytest.mark.parametrize("fractions", [(), (0.0,), (1.0,), (np.nan,)])
def test_fractions_out_of_range_are_refused(fractions: tuple[float, ...]) -> None:
    with pytest.raises(OptionError, match="fractions="):
        road(linear(), IMAGES, CONTRIBUTIONS, fractions=fractions)
    with pytest.raises(OptionError, match="noise=-1"):
        road(linear(), IMAGES, CONTRIBUTIONS, noise=-1)
