"""RMSprop against Keras and PyTorch, and its first steps by hand."""

from typing import Any

import numpy as np
import pytest

from agnoscope.errors import OptionError
from agnoscope.optimisation.optimisers import Adam, Optimiser, Slope
from agnoscope.optimisation.rmsprop import RMSprop
from agnoscope.trees import mapped

SLOPE = Slope(lambda _: pytest.fail("looked elsewhere"), lambda tree: tree)


def walked(optimiser: Optimiser, gradients: Any) -> np.ndarray:
    """Where steps along these gradients lead from zero, one row for each step."""
    parameters, memory = {"a": np.zeros(gradients.shape[1:])}, {}
    memory, places = optimiser.begin(parameters), []
    for gradient in gradients:
        parameters, memory = optimiser.step(parameters, np.zeros(1), {"a": gradient}, memory, SLOPE)
        places.append(parameters["a"])
    return np.array(places)


def test_the_first_step_is_longer_by_the_root_of_what_is_forgotten() -> None:
    found = walked(RMSprop(0.1, 0.99), np.full((2, 1, 1), -3.0))[:, 0, 0]
    np.testing.assert_allclose(found, np.cumsum([1 / 0.1, 1 / np.sqrt(1 - 0.99**2)]) * 0.1, rtol=1e-6)


def test_in_the_long_run_it_is_adam_without_momentum() -> None:
    gradients = np.random.default_rng(0).normal(size=(3000, 1, 4))
    moves = [
        np.diff(walked(each, gradients), axis=0)[-100:] for each in (RMSprop(0.1, 0.99), Adam(0.1, decay=(0, 0.99)))
    ]
    np.testing.assert_allclose(moves[0], moves[1], rtol=1e-6)


@pytest.mark.torch
def test_pytorchs_steps() -> None:
    torch = pytest.importorskip("torch")
    gradients = np.random.default_rng(0).normal(size=(20, 1, 4))
    moved = torch.zeros(1, 4, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.RMSprop([moved], lr=0.1, alpha=0.999)
    for gradient, place in zip(gradients, walked(RMSprop(0.1, 0.999), gradients), strict=True):
        moved.grad = torch.tensor(gradient)
        optimiser.step()
        np.testing.assert_allclose(moved.detach().numpy(), place, rtol=1e-10)


def test_parameters_keep_their_dtype_and_are_not_changed() -> None:
    parameters = {"a": np.ones((1, 2), np.float32), "b": {"c": np.ones((1, 3), np.float32)}}
    gradient = mapped(parameters, np.ones_like)
    moved, memory = RMSprop().step(parameters, np.zeros(1), gradient, RMSprop().begin(parameters), SLOPE)
    assert moved["b"]["c"].dtype == memory["square"]["a"].dtype == np.float32
    assert (parameters["a"] == 1).all()


@pytest.mark.parametrize("options", [{"rate": 0}, {"decay": 1.0}, {"decay": -0.1}, {"epsilon": 0}])
def test_wrong_options_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        RMSprop(**options)
