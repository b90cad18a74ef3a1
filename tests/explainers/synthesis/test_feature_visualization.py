"""Feature visualisation: what ascent must find where it is known, and the same in every framework."""

import numpy as np
import pytest

import agnoscope as ag
from agnoscope.errors import TargetError
from agnoscope.explainers.synthesis.feature_visualization import FeatureVisualization
from tests.explainers.synthesis.frameworks import OTHERS, STEPS, assert_frameworks_agree, demo, layer


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


def test_an_image_is_the_same_alone_and_among_others() -> None:
    alone = FeatureVisualization(iterations=5)(demo(), "ball")
    among = FeatureVisualization(iterations=5)(demo(), ["ball", ag.Channel("relu2", 3)])
    np.testing.assert_allclose(alone.images[0], among.images[0], atol=1e-5)


@pytest.mark.parametrize("target", [None, "top-1", []])
def test_a_question_must_be_asked(target: object) -> None:
    with pytest.raises(TargetError, match="what to visualise"):
        FeatureVisualization()(demo(), target)
