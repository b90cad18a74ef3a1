"""Feature accentuation: the target rises, the photo stays, and the same in every framework."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import agnoscope as ag
from agnoscope.errors import ImageError, LayerError, OptionError, TargetError
from agnoscope.explainers.synthesis.feature_accentuation import FeatureAccentuation
from agnoscope.synthesis import Synthesis
from agnoscope.targets.features import features_of
from tests.explainers.synthesis.frameworks import OTHERS, STEPS, assert_frameworks_agree, demo, layer
from tests.explainers.synthesis.test_photos import photo

SHORT = FeatureAccentuation(iterations=10, nearness=10)


@pytest.mark.torch
@pytest.mark.parametrize("framework", OTHERS)
def test_frameworks_agree_on_a_class(framework: str) -> None:
    def accentuated(model: ag.Model, *asked: Any) -> Synthesis:
        return replace(SHORT, iterations=STEPS, layer=layer(model, "layer1.2"))(model, *asked)

    assert_frameworks_agree(accentuated, lambda _: (photo(32, 32), "cat"), framework)


def test_the_target_rises_and_is_told_without_the_distance() -> None:
    given = photo(96, 96)[None] / np.float32(255)
    made = SHORT(demo(), given, "cone")
    before = features_of(demo(), given, ("scores",))["scores"][0, 1]
    assert made.making.targets == ("cone [1]",)
    assert made.making.scores[0] > before + 1
    assert made.making.scores[0] == pytest.approx(features_of(demo(), made.images, ("scores",))["scores"][0, 1], 1e-4)
    np.testing.assert_allclose(made.extras["change"], made.images - given, atol=1e-7)


def test_nearness_holds_the_photo() -> None:
    distances = [
        replace(SHORT, iterations=20, nearness=nearness, views=None)(demo(), photo(96, 96), "cone").extras["distance"][
            0
        ]
        for nearness in (0, 100, 10000)
    ]
    assert distances[0] > 1.5 * distances[1] > 3 * distances[2] > 0


def test_the_first_answer_is_accentuated_where_none_is_named() -> None:
    given = photo(96, 96)
    answer = ag.predict(demo(), given)[0][0].label
    made = SHORT(demo(), given)
    assert made.making.targets == (answer,)
    assert made.making.answers[0][0][0] == answer


def test_photos_are_accentuated_for_a_class_each() -> None:
    photos = [photo(96, 96), photo(96, 96)[::-1]]
    together = SHORT(demo(), photos, ["ball", "cone"])
    assert together.making.targets == ("ball [0]", "cone [1]")
    np.testing.assert_allclose(together.images[1], SHORT(demo(), photos[1], "cone").images[0], atol=1e-3)


def test_bad_questions_are_refused() -> None:
    with pytest.raises(OptionError, match="nearness"):
        FeatureAccentuation(nearness=-1)(demo(), photo(96, 96))
    with pytest.raises(LayerError, match="relu9"):
        FeatureAccentuation("relu9")(demo(), photo(96, 96))
    with pytest.raises(TargetError, match="sheep"):
        FeatureAccentuation()(demo(), photo(96, 96), "sheep")
    with pytest.raises(ImageError, match="no image file"):
        FeatureAccentuation()(demo(), "missing.jpg")
