"""Runs that cannot go on: units that are dead, objectives that see no image, numbers that are none."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import agnoscope as ag
from agnoscope.backends.reference import Conv, Dense, GlobalAverage, Network, Relu
from agnoscope.errors import NonFiniteError, TargetError
from agnoscope.explainers.synthesis.feature_visualization import FeatureVisualization
from agnoscope.model import Model
from agnoscope.optimisation.lbfgs import LBFGS
from agnoscope.optimisation.optimisers import Adam, Ascent, Optimiser, Slope
from agnoscope.optimisation.parameterisations.base import Tree
from agnoscope.optimisation.parameterisations.pixels import Pixels
from agnoscope.trees import mapped
from tests.explainers.synthesis.frameworks import demo
from tests.frameworks import FRAMEWORKS

# -- dead units --------------------------------------------------------------------------------------------------------


def shut(bias: float) -> Model:
    """Channel 0 sums up the image and adds a bias, of gray it makes 13.5 + bias; channel 1 is alive."""
    single = np.float32
    kernel, biases = np.ones((3, 3, 3, 2), single), np.array([bias, 1.0], single)
    dense = Dense(np.eye(2, dtype=single), np.zeros(2, single))
    layers = {"conv": Conv(kernel, biases), "relu": Relu(), "gap": GlobalAverage(), "dense": dense}
    return ag.wrap(Network(layers), input_size=(6, 6))


@pytest.mark.parametrize("optimiser", [Adam(0.05), Ascent(0.05), LBFGS(0.05)], ids=repr)
def test_a_shut_unit_comes_alive(optimiser: Optimiser) -> None:
    method = FeatureVisualization(30, None, Pixels(), None, optimiser)
    made = method(shut(-17.0), ag.Channel("relu", 0))
    assert made.history[0] == 0
    assert made.making.scores[0] == pytest.approx(10, abs=0.5)  # white
    assert not made.making.warnings


def test_a_dead_unit_is_told_after_the_redirection() -> None:
    method, seen = FeatureVisualization(60), []
    with pytest.raises(TargetError, match=r"relu.*first 16 steps.*redirected.*dead"):
        method(shut(-500.0), ag.Channel("relu", 0), callback=seen.append)
    assert len(seen) < 17
    with pytest.raises(TargetError, match="first 4 steps"):
        FeatureVisualization(4)(shut(-500.0), ag.Channel("relu", 0))


def test_a_dead_unit_among_others_is_a_note() -> None:
    made = FeatureVisualization(20)(shut(-500.0), [ag.Channel("relu", 0), ag.Channel("relu", 1)])
    (warning,) = made.making.warnings
    assert "dead" in warning
    assert made.making.targets[0] in warning
    assert made.making.targets[1] not in warning
    assert made.making.scores[1] > 14


def constant(values: Mapping[str, Any]) -> Any:
    return values["scores"][:, 0] * 0 + 1


@pytest.mark.parametrize("framework", [*FRAMEWORKS, "reference"])
def test_an_objective_that_does_not_depend_on_the_image_is_told(framework: str) -> None:
    with pytest.raises(TargetError, match="does not depend on the image"):
        FeatureVisualization(3)(demo(framework), ag.Score(constant))


# -- NaN ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Breaking(Optimiser):
    """Ascent whose step after a number of others makes NaN."""

    good: int

    def begin(self, parameters: Tree) -> Tree:
        return Ascent(0.001).begin(parameters)

    def step(
        self, parameters: Tree, loss: NDArray[Any], gradient: Tree, memory: Tree, slope: Slope
    ) -> tuple[Tree, Tree]:
        moved, memory = Ascent(0.001).step(parameters, loss, gradient, memory, slope)
        return (mapped(moved, lambda leaf: leaf * np.nan) if memory["steps"] > self.good else moved), memory


def test_nan_on_the_way_keeps_the_last_good_images() -> None:
    seen: list[Any] = []
    made = FeatureVisualization(9, None, Pixels(), None, Breaking(3))(demo(), "ball", callback=seen.append)
    assert len(seen) == made.making.steps == len(made.history) == 4
    np.testing.assert_array_equal(made.images, seen[3].images)
    assert np.isfinite(made.images).all()
    assert not made.making.finished
    assert any(warning.startswith("Step 5 gave NaN or infinity") for warning in made.making.warnings)


def test_nan_from_the_first_step_is_an_error() -> None:
    def broken(values: Mapping[str, Any]) -> Any:
        return values["scores"][:, 0] * np.nan

    with pytest.raises(NonFiniteError, match="at once"):
        FeatureVisualization(3)(demo(), ag.Score(broken))
