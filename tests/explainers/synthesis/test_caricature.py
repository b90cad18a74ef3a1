"""Caricature: what its likeness is by hand, and the same in every framework."""

from typing import Any

import numpy as np
import pytest

import agnoscope as ag
from agnoscope.errors import ImageError, LayerError, TargetError
from agnoscope.explainers.synthesis.caricature import Caricature
from agnoscope.synthesis import Synthesis
from agnoscope.targets.features import features_of
from agnoscope.targets.likeness import Likeness
from tests.explainers.synthesis.frameworks import OTHERS, STEPS, assert_frameworks_agree, demo, layer
from tests.explainers.synthesis.test_photos import photo


@pytest.mark.torch
@pytest.mark.parametrize("framework", OTHERS)
def test_frameworks_agree(framework: str) -> None:
    def caricature(model: ag.Model, given: Any) -> Synthesis:
        return Caricature(layer(model, "layer2.1"), iterations=STEPS)(model, given)

    assert_frameworks_agree(caricature, lambda _: (photo(32, 32),), framework)


def likeness(activation: Any, features: Any, power: float) -> float:
    """Of an activation of relu5, filled with a few numbers, to features likewise."""
    bound = Likeness("relu5", filled(features), power).bind(demo(), 1, (96, 96))
    return float(bound(np, {"relu5": filled(activation)[None].astype(np.float32)})[0])


def filled(numbers: Any) -> np.ndarray:
    """The shape of relu5 at 96 pixels, zero but for its first numbers."""
    found = np.zeros(12 * 12 * 48)
    found[: len(numbers)] = numbers
    return found.reshape(12, 12, 48)


@pytest.mark.parametrize(
    ("activation", "power", "expected"),
    [
        ([3, 4], 2, 1.0),  # the photo's own
        ([6, 8], 2, 2.0),  # twice as strong
        ([5, 0], 0, 15 / 25),
        ([5, 0], 1, 15 / 25 * 0.6),  # of the cosine 3/5
        ([5, 0], 2, 15 / 25 * 0.36),
        ([-3, -4], 1, -0.1),  # the cosine counts as 0.1, and does not turn the sign
        ([], 1, 0.0),
    ],
)
def test_likeness_by_hand(activation: list[float], power: float, expected: float) -> None:
    assert likeness(activation, [3, 4], power) == pytest.approx(expected)


def test_a_caricature_has_more_of_the_photo_than_the_photo() -> None:
    made = Caricature("conv4", iterations=60)(demo(), photo(96, 96))
    assert made.making.targets == ("likeness to features of conv4",)
    assert made.making.scores[0] > 1
    assert made.history[-1, 0] > made.history[0, 0]


def test_photos_are_caricatured_one_each() -> None:
    photos = [photo(96, 96), photo(96, 96)[::-1]]
    together = Caricature(iterations=4)(demo(), photos)
    assert together.making.targets == ("likeness to features of relu5",) * 2
    np.testing.assert_allclose(together.images[0], Caricature(iterations=4)(demo(), photos[0]).images[0], atol=1e-4)


def test_references_are_taken_from_images() -> None:
    bound = Likeness.to(demo(), photo(96, 96), "relu5").bind(demo(), 2, (96, 96))
    known = features_of(demo(), np.tile(photo(96, 96)[None] / np.float32(255), (2, 1, 1, 1)), ("relu5",))
    np.testing.assert_allclose(bound(np, known), 1, rtol=1e-5)


def test_bad_questions_are_refused() -> None:
    with pytest.raises(LayerError, match="relu9"):
        Caricature("relu9")(demo(), photo(96, 96))
    with pytest.raises(ImageError, match="no image file"):
        Caricature()(demo(), "missing.jpg")
    with pytest.raises(TargetError, match="power"):
        Caricature(power=-1)(demo(), photo(96, 96))
    with pytest.raises(TargetError, match="not all zero"):
        Likeness("relu5", filled([])).bind(demo(), 1, (96, 96))
    with pytest.raises(TargetError, match="it takes"):
        Likeness("relu5", np.ones(5)).bind(demo(), 1, (96, 96))
