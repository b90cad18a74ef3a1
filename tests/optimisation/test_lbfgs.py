"""L-BFGS against closed forms and against SciPy's."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize, rosen, rosen_der

from agnoscope.errors import OptionError
from agnoscope.optimisation.lbfgs import LBFGS
from agnoscope.optimisation.optimisers import Slope
from agnoscope.optimisation.parameterisations.base import Tree
from agnoscope.trees import leaves

random = np.random.default_rng(0)
Loss = Callable[[NDArray[Any]], tuple[NDArray[Any], NDArray[Any]]]


def descended(
    loss: Loss, x: NDArray[Any], steps: int, kept: Callable[[NDArray[Any]], NDArray[Any]] = lambda x: x, **options: Any
) -> tuple[NDArray[Any], NDArray[Any], int]:
    """Where the steps lead, the losses on the way, shape (steps + 1, images), and how often was looked."""
    looks = 0

    def look(tree: Any) -> tuple[NDArray[Any], Any]:
        nonlocal looks
        looks += 1
        value, gradient = loss(joined(tree))
        return value, parted(gradient)

    def parted(rows: NDArray[Any]) -> Any:
        return {"a": rows[:, :1], "b": {"c": rows[:, 1:].reshape(len(rows), -1, 1)}}

    def joined(tree: Any) -> NDArray[Any]:
        return np.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves(tree)], axis=1)

    optimiser, parameters, losses = LBFGS(**options), parted(x), []
    memory = optimiser.begin(parameters)
    slope = Slope(look, lambda tree: parted(kept(joined(tree))))
    for _ in range(steps):
        value, gradient = look(parameters)
        losses.append(value)
        parameters, memory = optimiser.step(parameters, value, gradient, memory, slope)
        parameters = slope.kept(parameters)
    return joined(parameters), np.array([*losses, loss(joined(parameters))[0]]), looks - steps


def bowl(curvature: NDArray[Any], centre: NDArray[Any]) -> Loss:
    def loss(x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        away = (x - centre).astype(x.dtype)
        return (0.5 * (away @ curvature.astype(x.dtype) * away).sum(axis=1)), away @ curvature.astype(x.dtype)

    return loss


def valley(x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Rosenbrock's."""
    return np.array([rosen(row) for row in x], x.dtype), np.stack([rosen_der(row) for row in x]).astype(x.dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_bowl_of_few_curvatures_is_solved_in_few_steps(dtype: str) -> None:
    centre = random.normal(size=12)
    loss = bowl(np.diag([1.0, 10, 100] * 4), centre)
    found, losses, _ = descended(loss, np.zeros((1, 12), dtype), 25)
    np.testing.assert_allclose(found[0], centre, atol=1e-5 if dtype == "float32" else 1e-9)
    assert found.dtype == losses.dtype == dtype


def test_it_is_as_good_as_scipys_along_a_valley() -> None:
    x = random.normal(size=(3, 20))
    _, losses, looks = descended(valley, x, 150)
    for i in range(3):
        peer = minimize(rosen, x[i], jac=rosen_der, method="L-BFGS-B", options={"maxfun": looks, "ftol": 0, "gtol": 0})
        assert losses[-1, i] <= max(2 * peer.fun, 1e-9)
    assert looks < 1.6 * 150


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_finds_the_lowest_place_within_bounds_and_rests_there(dtype: str) -> None:
    root = random.normal(size=(30, 30))
    loss = bowl(root @ root.T + 0.1 * np.eye(30), random.normal(size=30))
    peer = minimize(
        lambda x: tuple(each[0] for each in loss(x[None])),
        np.full(30, 0.5),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, 1)] * 30,
        options={"ftol": 1e-15, "gtol": 1e-12, "maxiter": 500},
    )

    def within(x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        assert ((x >= 0) & (x <= 1)).all()
        return loss(x)

    found, losses, looks = descended(within, np.full((1, 30), 0.5, dtype), 80, lambda x: np.clip(x, 0, 1))
    assert (np.diff(losses, axis=0) <= 0).all()
    assert losses[20] == pytest.approx(peer.fun, rel=1e-5)
    assert looks <= 1.5 * 80
    assert 5 < np.isin(peer.x, (0, 1)).sum() < 25  # some are bound, others free
    np.testing.assert_allclose(found[0], peer.x, atol=1e-2 if dtype == "float32" else 1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_step_raises_the_loss(dtype: str) -> None:
    def rough(x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        return np.abs(x).sum(axis=1) + np.sin(9 * x).sum(axis=1), (np.sign(x) + 9 * np.cos(9 * x)).astype(x.dtype)

    for loss in (rough, valley):
        _, losses, _ = descended(loss, random.normal(size=(4, 30)).astype(dtype), 60)
        assert (np.diff(losses, axis=0) <= 0).all()
        assert (losses[-1] < losses[0]).all()


def test_every_image_goes_its_own_way() -> None:
    x = random.normal(size=(3, 8)) * np.array([[0.1], [1], [30]])
    together, _, _ = descended(valley, x, 12)
    alone = [descended(valley, x[i : i + 1], 12)[0] for i in range(3)]
    np.testing.assert_array_equal(together, np.concatenate(alone))


def test_a_gradient_that_lies_makes_no_step_and_is_forgotten() -> None:
    def lying(x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        return (x**2).sum(axis=1), -2 * x

    found, losses, looks = descended(lying, np.ones((1, 4)), 3, trials=6)
    np.testing.assert_array_equal(found, np.ones((1, 4)))
    assert looks == 3 * 6
    assert (losses == 4).all()


def test_infinity_beyond_an_edge_is_walked_around() -> None:
    def cliff(x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        within = np.where(x < 1, x, np.nan)
        return (within - np.log(1 - within)).sum(axis=1) - 3 * within.sum(axis=1), 1 + 1 / (1 - within) - 3

    found, _, _ = descended(cliff, np.full((2, 3), -4.0), 30, rate=10.0)
    np.testing.assert_allclose(found, 0.5, atol=1e-6)


def test_a_plateau_is_left_along_the_given_gradient() -> None:
    found, _, _ = descended(lambda x: (np.zeros(len(x)), np.ones_like(x)), np.zeros((1, 4)), 1, rate=0.25)
    np.testing.assert_allclose(found, -0.25)


def test_a_first_step_that_is_far_too_short_is_made_longer() -> None:
    _, losses, _ = descended(bowl(np.eye(5), np.full(5, 3.0)), np.zeros((1, 5)), 1, rate=1e-3)
    assert losses[1] < 0.9 * losses[0]


def test_a_course_that_led_nowhere_is_forgotten() -> None:
    start = {"x": np.ones((2, 4))}
    slope = Slope(lambda tree: ((tree["x"] ** 2).sum(axis=1), {"x": 2 * tree["x"]}), lambda tree: tree)
    optimiser = LBFGS(trials=3)
    flat = np.array([[1.0], [0.0]]) * np.ones(4)  # as if the first image's land were flat
    memory: Tree = {**optimiser.begin(start), "moves": {"0": flat}, "turns": {"0": 1e-9 * flat}}
    first, memory = optimiser.step(start, *slope(start), memory, slope)
    np.testing.assert_array_equal(first["x"][0], 1)
    assert (first["x"][1] < 1).all()
    second, _ = optimiser.step(first, *slope(first), memory, slope)
    assert (second["x"][0] < 1).all()


def test_more_than_ten_moves_are_remembered_in_their_order() -> None:
    def look(tree: Tree) -> tuple[NDArray[Any], Tree]:
        value, gradient = bowl(np.diag(np.arange(1.0, 30)), np.zeros(29))(tree["x"])
        return value, {"x": gradient}

    slope, optimiser = Slope(look, lambda tree: tree), LBFGS(memory=12)
    x: Tree = {"x": random.normal(size=(1, 29))}
    memory = optimiser.begin(x)
    for _ in range(14):
        x, memory = optimiser.step(x, *slope(x), memory, slope)
    assert len(memory["moves"]) == len(memory["turns"]) == 12
    shuffled = {name: dict(sorted(memory[name].items())) for name in ("moves", "turns")}  # 0, 1, 10, 11, 2 …
    one, other = (optimiser.step(x, *slope(x), each, slope)[0]["x"] for each in (memory, {**memory, **shuffled}))
    np.testing.assert_array_equal(one, other)


def test_what_rounding_hides_is_not_searched_for() -> None:
    def high(x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        value, gradient = bowl(np.diag([1.0, 10, 100]), np.full(3, 0.3))(x)
        return value + np.float32(1e3), gradient + np.float32(1e-2)  # a little wrong, as rounding makes it

    _, _, looks = descended(high, np.zeros((2, 3), np.float32), 60)
    assert looks <= 60 + 3 * 12


def test_where_the_land_bends_down_no_curvature_is_learnt() -> None:
    def hill(x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        return -(x**2).sum(axis=1), -2 * x

    _, losses, _ = descended(hill, random.normal(size=(2, 4)), 6, trials=1)
    assert (np.diff(losses, axis=0) < 0).all()


def test_squares_of_gradients_may_leave_float32() -> None:
    found, _, _ = descended(bowl(1e22 * np.diag([1.0, 2, 3]), np.full(3, 0.5)), np.zeros((1, 3), np.float32), 20)
    np.testing.assert_allclose(found, 0.5, atol=1e-5)


def test_no_gradient_is_no_step() -> None:
    found, _, looks = descended(lambda x: (np.zeros(len(x)), np.zeros_like(x)), np.ones((1, 4)), 2)
    np.testing.assert_array_equal(found, 1)
    assert looks == 2


def test_the_first_step_is_as_long_as_asked() -> None:
    found, _, looks = descended(lambda x: (1e-3 * x.sum(axis=1), 1e-3 * np.ones_like(x)), np.zeros((1, 9)), 1, trials=1)
    np.testing.assert_allclose(np.sqrt(np.mean(found**2)), 0.01)
    assert looks == 1


@pytest.mark.parametrize("wrong", [{"rate": 0}, {"memory": 0}, {"trials": 2.5}])
def test_wrong_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(wrong))):
        LBFGS(**wrong)
