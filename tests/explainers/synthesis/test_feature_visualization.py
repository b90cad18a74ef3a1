"""Feature visualisation: what ascent must find where it is known, and the same in every framework."""

from typing import Any

import numpy as np
import pytest

import agnoscope as ag
from agnoscope.answers import predict
from agnoscope.backends.reference import Conv, Network
from agnoscope.errors import OptionError, TargetError
from agnoscope.explainers.synthesis.feature_visualization import FeatureVisualization
from agnoscope.optimisation.canvas import Canvas
from agnoscope.optimisation.optimisers import Ascent
from agnoscope.optimisation.parameterisations.pixels import Pixels
from agnoscope.optimisation.transformations import Views, looked_at
from agnoscope.targets.features import Activity, Direction
from tests.explainers.synthesis.frameworks import OTHERS, STEPS, assert_frameworks_agree, demo, layer
from tests.networks.wrapped import network

ANIMALS_AND_THINGS = (10, 89, 130, 259, 291, 340, 404, 806, 950, 985)
"""Ostrich, macaw, spoonbill, Samoyed, jaguar, sorrel, aircraft carrier, soccer ball, strawberry, rapeseed."""


@pytest.mark.torch
@pytest.mark.parametrize("framework", OTHERS)
def test_frameworks_agree_on_a_channel(framework: str) -> None:
    method = FeatureVisualization(iterations=STEPS)
    assert_frameworks_agree(method, lambda model: (ag.Channel(layer(model, "layer2.1"), 3),), framework)


def test_classes_are_answered_with_certainty() -> None:
    made = FeatureVisualization(iterations=30)(demo(), ["ball", "cone", "crate"])
    assert [row[0][0] for row in made.making.answers] == ["ball [0]", "cone [1]", "crate [2]"]
    assert all(row[0][1] >= 0.99 for row in made.making.answers)
    assert made.history.shape == (30, 3)
    assert (made.history[-1] > made.history[0]).all()


def test_a_linear_units_image_is_its_weights() -> None:
    weights = np.random.default_rng(2).normal(size=(20, 24, 3, 1))
    model = ag.wrap(Network({"unit": Conv(weights, np.zeros(1))}), input_size=(20, 24))
    begin, steps = Pixels(deviation=1e-4), Ascent(0.005, "l2")
    method = FeatureVisualization(iterations=20, parameterisation=begin, views=None, optimiser=steps)
    found = (method(model, ag.Channel("unit", 0)).images[0] - 0.5).ravel()
    along = weights.ravel() / np.linalg.norm(weights)
    assert found @ along / np.linalg.norm(found) >= 0.999


@pytest.mark.parametrize(
    "target",
    [
        ag.Neuron("relu3", 4),
        Direction("conv2", np.arange(-12, 12)),
        Direction("conv2", np.ones(24), 1),
        Activity("relu2"),
    ],
    ids=["neuron", "direction", "direction by cosine", "layer"],
)
def test_parts_of_a_layer_are_driven_up(target: ag.Target) -> None:
    history = FeatureVisualization(iterations=16, views=None)(demo(), target).history[:, 0]
    assert history[-1] > max(2 * history[0], history[0] + 0.1)


@pytest.mark.torch
def test_ten_classes_of_a_real_network_are_certain_under_fresh_views_too() -> None:
    model = network("torch", "mobilenet_v2", "float32")
    made = FeatureVisualization(iterations=64)(model, list(ANIMALS_AND_THINGS))
    assert made.images.shape == (10, 224, 224, 3)
    canvas = Canvas.of(model, (224, 224))
    places = Views(count=4).places(np.random.default_rng(99), canvas, canvas.size)
    for image, wanted, answers in zip(made.images, ANIMALS_AND_THINGS, made.making.answers, strict=True):
        assert answers[0][0].endswith(f"[{wanted}]")
        assert answers[0][1] >= 0.99
        seen = looked_at(np, canvas, canvas.size, image[None], places).astype(np.float32)
        for view in predict(model, np.clip(seen, 0, 1)):
            assert (view[0].index, view[0].probability >= 0.99) == (wanted, True)


def test_an_image_is_the_same_alone_and_among_others() -> None:
    alone = FeatureVisualization(iterations=5)(demo(), "ball")
    among = FeatureVisualization(iterations=5)(demo(), ["ball", ag.Channel("relu2", 3)])
    np.testing.assert_allclose(alone.images[0], among.images[0], atol=1e-5)


@pytest.mark.parametrize("target", [None, "top-1", []])
def test_a_question_must_be_asked(target: object) -> None:
    with pytest.raises(TargetError, match="what to visualise"):
        FeatureVisualization()(demo(), target)


@pytest.mark.parametrize(
    "options",
    [
        {"views": ag.Jitter()},
        {"penalties": ag.L2()},
        {"penalties": (ag.L2,)},
        {"corrections": ag.Blur(), "parameterisation": ag.Pixels()},
        {"corrections": (ag.L2(),), "parameterisation": ag.Pixels()},
    ],
    ids=str,
)
def test_a_part_that_is_none_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        FeatureVisualization(**options)(demo(), "ball")
