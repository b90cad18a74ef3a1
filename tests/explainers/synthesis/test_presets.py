"""The recipes of other libraries: their numbers in their units, and that each does what it is for."""

from dataclasses import fields, replace
from itertools import pairwise
from typing import Any

import array_api_compat.numpy as xp
import numpy as np
import pytest

import agnoscope as ag
from agnoscope.backends.reference import Conv, Network
from agnoscope.demo import scene
from agnoscope.explainers.synthesis.caricature import Caricature
from agnoscope.explainers.synthesis.deep_dream import DeepDream
from agnoscope.explainers.synthesis.feature_visualization import FeatureVisualization
from agnoscope.explainers.synthesis.presets import PRESETS
from agnoscope.optimisation.canvas import Canvas
from agnoscope.optimisation.parameterisations.aligned import Aligned
from agnoscope.optimisation.parameterisations.fourier import Fourier
from tests.explainers.synthesis.frameworks import demo

STEPS = 20


@pytest.mark.parametrize("name", PRESETS)
def test_recipes_drive_the_target_up(name: str) -> None:
    recipe = PRESETS[name]
    if isinstance(recipe, FeatureVisualization):
        if recipe.transparency and recipe.views:  # large pictures, of many parts
            recipe = replace(recipe, size=96, views=replace(recipe.views, count=4))
        history = replace(recipe, iterations=STEPS)(demo(), ag.channels("conv2", 3)).history
    else:
        recipe = replace(recipe, iterations=STEPS, size=64)
        history = recipe(demo(), scene(0).image).history[-STEPS:]  # of a dream the last octave
    assert (history[-5:].mean(axis=0) > history[:5].mean(axis=0)).all()


@pytest.mark.parametrize(
    ("name", "steps", "side", "noise", "length"),
    [("keras-book:filters", 40, 200, 0.1, 10), ("keras-io:filters", 30, 180, 0.125 / 2, 10 / 2)],
)
def test_chollet_begins_from_gray_noise_and_makes_steps_of_one_length_along_the_gradient(
    name: str, steps: int, side: int, noise: float, length: float
) -> None:
    kernel = np.random.default_rng(0).normal(size=(1, 1, 3, 1))
    model = ag.wrap(Network({"conv": Conv(kernel, np.zeros(1))}), input_size=(side, side))
    states = list(PRESETS[name].steps(model, ag.Channel("conv", 0)))
    begin, then = states[0].images[0], states[1].images[0]
    assert len(states) == steps
    assert np.abs(begin - 0.5).max() == pytest.approx(noise, rel=1e-3)
    assert begin.std() == pytest.approx(2 * noise / np.sqrt(12), rel=0.01)
    clipped = (then <= 0) | (then >= 1)
    assert clipped.mean() < 0.01
    assert np.linalg.norm(then - begin) == pytest.approx(length, rel=1e-3)


def test_tf_keras_vis_weighs_as_it_does_for_pixels_from_0_to_255() -> None:
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 7, 9, 3))
    variation = sum(np.abs(np.diff(pixels, axis=axis)).sum(axis=(1, 2, 3)) for axis in (1, 2)) / (7 * 9 * 3)
    expected = 1.0 * variation, 0.3 * np.abs(pixels - 127.5).mean(axis=(1, 2, 3))
    canvas = Canvas((7, 9), dtype="float64")
    penalties = PRESETS["tf-keras-vis:activation-maximization"].penalties  # type: ignore[union-attr]
    for penalty, cost in zip(penalties, expected, strict=True):
        np.testing.assert_allclose(penalty.weight * penalty(xp, canvas, pixels / 255, {}), cost)


def test_tf_keras_vis_begins_all_over_the_bounds_with_long_steps_that_become_shorter() -> None:
    # Each pixel has a gradient of its own that never changes, since there is nothing but the picture's own mean.
    model = ag.wrap(Network({"conv": Conv(np.ones((1, 1, 3, 1)), np.zeros(1))}), input_size=(24, 24))
    recipe = PRESETS["tf-keras-vis:activation-maximization"]
    assert isinstance(recipe, FeatureVisualization)
    recipe = replace(recipe, iterations=5, views=None, penalties=())
    seen = [state.images[0] for state in recipe.steps(model, ag.Channel("conv", 0))]
    assert seen[0].std() == pytest.approx(1 / np.sqrt(12), rel=0.05)
    for step, (before, after) in enumerate(pairwise(seen), 1):
        inside = after < 1
        expected = 1 / 255 / np.sqrt(1 - 0.999**step)
        np.testing.assert_allclose((after - before)[inside], expected, rtol=1e-3)


def test_a_view_of_xplique_has_a_third_of_the_side() -> None:
    recipe = PRESETS["xplique:visualization"]
    assert isinstance(recipe, FeatureVisualization)
    assert recipe.views is not None
    random, canvas = np.random.default_rng(0), Canvas((512, 512))
    maps = np.concatenate([recipe.views.places(random, canvas, (224, 224))["map"] for _ in range(300)])
    sides = 224 * np.abs(maps[:, 0, 0])
    assert (sides.min() >= 176 / 0.96 - 1e-3, sides.max() <= 176 / 0.92 + 1e-3) == (True, True)
    centres = maps[:, :, :2] @ np.array([111.5, 111.5]) + maps[:, :, 2]
    spread = [(side + 1) ** 2 / 12 for side in (64, 64, 128, 128, 128, 34, 34)]
    assert centres.std(axis=0) == pytest.approx([np.sqrt(sum(spread))] * 2, rel=0.1)
    assert centres.mean(axis=0) == pytest.approx([255.5] * 2, abs=20)
    assert np.mean(maps[:, 1, 1] < 0) == pytest.approx(0.5, abs=0.1)


def test_lucids_recipes_are_the_defaults_but_for_what_they_say() -> None:
    assert PRESETS["lucid:visualization"] == FeatureVisualization(512, 128, Fourier(0.01, 1.0), optimiser=ag.Adam(0.05))
    assert _apart(PRESETS["lucid:interpolation"], FeatureVisualization(size=128)) == {"parameterisation"}
    assert PRESETS["lucid:interpolation"].parameterisation == Aligned(Fourier())  # type: ignore[union-attr]
    assert _apart(PRESETS["lucid:caricature"], Caricature()) == {"power", "iterations", "views"}
    assert _apart(PRESETS["keras-io:deep-dream"], DeepDream()) == {"iterations", "octaves", "rate", "jitter"}


def _apart(one: Any, other: Any) -> set[str]:
    """The options in which two methods of a kind differ."""
    return {each.name for each in fields(one) if getattr(one, each.name) != getattr(other, each.name)}
