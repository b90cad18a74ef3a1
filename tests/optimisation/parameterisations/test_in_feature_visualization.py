"""Every parameterisation in a run: the objective rises, whatever the network expects of an image."""

from typing import Any

import numpy as np
import pytest

import agnoscope as ag
from agnoscope.backends.reference import Conv, Dense, GlobalAverage, Network, Relu
from agnoscope.explainers.synthesis.feature_visualization import FeatureVisualization
from agnoscope.optimisation.optimisers import Adam
from agnoscope.optimisation.parameterisations.base import Parameterisation
from agnoscope.synthesis import Synthesis
from tests.explainers.synthesis.frameworks import demo
from tests.optimisation.parameterisations.programs import EACH, NAMES, painter

INPUTS: dict[str, dict[str, Any]] = {
    "RGB": {},
    "bytes": {"range": (0, 255), "mean": 120.0, "std": 60.0},
    "other bounds": {"bounds": (-1.0, 1.0)},
    "gray": {"channels": "L"},
    "five channels": {"channels": 5},
}


def network(depth: int, *, flipped: bool = False) -> Network:
    random = np.random.default_rng(11)
    kernel = random.normal(size=(3, 3, depth, 6)).astype("float32")
    return Network(
        {
            "conv": Conv(kernel[:, :, ::-1] if flipped else kernel, np.full(6, 3.0, dtype="float32"), padding=1),
            "relu": Relu(),
            "pool": GlobalAverage(),
            "dense": Dense(random.normal(size=(6, 2)).astype("float32"), np.zeros(2, dtype="float32")),
        }
    )


def visualised(parameterisation: Parameterisation, model: ag.Model) -> Synthesis:
    method = FeatureVisualization(iterations=15, parameterisation=parameterisation, optimiser=Adam(0.02), views=None)
    return method(model, [ag.Channel("relu", 2), ag.Channel("relu", 4)])


def model_of(given: dict[str, Any], **built: bool) -> ag.Model:
    depth = {"L": 1, 5: 5}.get(given.get("channels"), 3)
    return ag.wrap(network(depth, **built), input_size=(11, 14), **given)


@pytest.mark.parametrize("given", INPUTS.values(), ids=INPUTS)
@pytest.mark.parametrize("parameterisation", EACH, ids=NAMES)
def test_the_objective_rises(parameterisation: Parameterisation, given: dict[str, Any]) -> None:
    made = visualised(parameterisation, model_of(given))
    low, high = given.get("bounds", (0.0, 1.0))
    assert (made.history[-1] > made.history[0]).all()
    assert low <= made.images.min() < made.images.max() <= high


@pytest.mark.parametrize("parameterisation", [*EACH, painter()], ids=(*NAMES, "generator"))
def test_images_are_red_green_and_blue_for_networks_that_are_not(parameterisation: Parameterisation) -> None:
    one = visualised(parameterisation, model_of({}))
    other = visualised(parameterisation, model_of({"channels": "BGR"}, flipped=True))
    np.testing.assert_allclose(one.images, other.images, atol=1e-4)
    assert np.abs(one.images - one.images[..., ::-1]).max() > 0.01


@pytest.mark.parametrize("parameterisation", EACH, ids=NAMES)
def test_a_run_goes_through_random_views_of_a_real_network(parameterisation: Parameterisation) -> None:
    made = FeatureVisualization(iterations=3, parameterisation=parameterisation)(demo(), ["ball", "cone"])
    assert made.images.shape == (2, 96, 96, 3)
    assert made.making.finished
    assert made.making.options["parameterisation"]["is"] == type(parameterisation).__name__
