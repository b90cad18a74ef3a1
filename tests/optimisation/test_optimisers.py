"""Steps against the papers' formulas, computed by hand."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agnoscope.errors import OptionError
from agnoscope.optimisation.optimisers import Adam, Ascent, Optimiser, Slope

random = np.random.default_rng(0)
START = {"a": random.normal(size=(2, 3)), "b": {"c": random.normal(size=(2, 2, 2))}}
GRADIENTS = [{"a": random.normal(size=(2, 3)), "b": {"c": random.normal(size=(2, 2, 2))}} for _ in range(3)]


def unasked(*_: Any) -> Any:
    raise AssertionError("nobody was to look")


def walked(optimiser: Optimiser, gradients: list[Any], start: Any = START) -> Any:
    parameters, memory = start, optimiser.begin(start)
    for gradient in gradients:
        parameters, memory = optimiser.step(parameters, np.zeros(2), gradient, memory, Slope(unasked, unasked))
    return parameters


def rows(tree: Any) -> NDArray[Any]:
    return np.concatenate([tree["a"], tree["b"]["c"].reshape(2, -1)], axis=1)


@pytest.mark.parametrize(
    ("norm", "size"),
    [
        ("l1", lambda g: np.abs(g).mean(axis=1, keepdims=True)),
        ("l2", lambda g: np.sqrt((g**2).mean(axis=1, keepdims=True))),
        ("none", lambda g: 1),
    ],
)
def test_a_step_of_ascent_is_the_gradient_by_its_size_for_each_image(norm: Any, size: Any) -> None:
    g = rows(GRADIENTS[0])
    moved = rows(walked(Ascent(0.3, norm), GRADIENTS[:1]))
    np.testing.assert_allclose(moved, rows(START) - 0.3 * g / size(g), rtol=1e-12)


def test_momentum_goes_on_with_the_steps_before() -> None:
    first, second, third = map(rows, GRADIENTS)
    moved = rows(walked(Ascent(0.1, "none", momentum=0.5), GRADIENTS))
    steps = first + (0.5 * first + second) + (0.25 * first + 0.5 * second + third)
    np.testing.assert_allclose(moved, rows(START) - 0.1 * steps, rtol=1e-12)


def test_a_gradient_of_zero_moves_nothing() -> None:
    still = {"a": np.zeros((2, 3)), "b": {"c": np.zeros((2, 2, 2))}}
    for optimiser in (Ascent(), Ascent(norm="l2", momentum=0.9), Adam(), Adam(nesterov=True)):
        np.testing.assert_array_equal(rows(walked(optimiser, [still] * 2)), rows(START))


@pytest.mark.parametrize("nesterov", [False, True])
def test_adam_is_the_papers(nesterov: bool) -> None:
    place, mean, square = rows(START), 0.0, 0.0
    for t, g in enumerate(map(rows, GRADIENTS), start=1):
        mean, square = 0.8 * mean + 0.2 * g, 0.95 * square + 0.05 * g * g
        ahead = 0.8 * mean / (1 - 0.8 ** (t + 1)) + 0.2 * g / (1 - 0.8**t) if nesterov else mean / (1 - 0.8**t)
        place = place - 0.1 * ahead / (np.sqrt(square / (1 - 0.95**t)) + 1e-3)
    moved = rows(walked(Adam(0.1, (0.8, 0.95), 1e-3, nesterov=nesterov), GRADIENTS))
    np.testing.assert_allclose(moved, place, rtol=1e-12)


@pytest.mark.torch
def test_adam_is_that_of_torch() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    place = torch.tensor(rows(START), requires_grad=True)
    peer = torch.optim.Adam([place], 0.1)
    for gradient in map(rows, GRADIENTS):
        place.grad = torch.tensor(gradient)
        peer.step()
    np.testing.assert_allclose(rows(walked(Adam(0.1), GRADIENTS)), place.detach().numpy(), rtol=1e-9)


def test_the_rate_falls_evenly_to_zero() -> None:
    first, second, third = map(rows, GRADIENTS)
    moved = rows(walked(Ascent(0.4, "none", fall=4), [*GRADIENTS, GRADIENTS[0], GRADIENTS[1], GRADIENTS[2]]))
    np.testing.assert_allclose(moved, rows(START) - 0.4 * first - 0.3 * second - 0.2 * third - 0.1 * first, rtol=1e-12)
    short = rows(walked(Adam(0.4, fall=2), GRADIENTS[:2])) - rows(walked(Adam(0.4), GRADIENTS[:1]))
    full = rows(walked(Adam(0.4), GRADIENTS[:2])) - rows(walked(Adam(0.4), GRADIENTS[:1]))
    np.testing.assert_allclose(short, full / 2, rtol=1e-9)


def test_numbers_stay_in_their_dtype_and_arguments_as_they_were() -> None:
    single = {"a": np.ones((2, 3), np.float32), "b": {"c": np.ones((2, 2, 2), np.float32)}}
    for optimiser in (Ascent(momentum=0.5, fall=9), Adam(nesterov=True)):
        moved = walked(optimiser, [single] * 3, single)
        assert moved["a"].dtype == moved["b"]["c"].dtype == np.float32
        assert (single["a"] == 1).all()
        assert (moved["a"] != 1).all()


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Ascent(0), "rate"),
        (lambda: Ascent(momentum=1), "momentum"),
        (lambda: Ascent(norm="l3"), "'l1', 'l2', 'none'"),
        (lambda: Adam(float("nan")), "rate"),
        (lambda: Adam(decay=(0.9, 1.0)), "decay"),
        (lambda: Adam(epsilon=0), "epsilon"),
        (lambda: Adam(fall=0), "fall"),
    ],
)
def test_wrong_options_are_refused(make: Any, told: str) -> None:
    with pytest.raises(OptionError, match=told):
        make()
