"""DeepDream: what its octaves, its objective and its guide must do, and the same in every framework."""

from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest

import agnoscope as ag
from agnoscope.errors import ImageError, LayerError, ModelError, OptionError, TargetError
from agnoscope.explainers.synthesis.deep_dream import (
    DeepDream,
    Repeated,
    enlarged,
    octave_sizes,
    with_detail,
)
from agnoscope.explainers.synthesis.layers import dream_layer
from agnoscope.explainers.synthesis.photos import resized
from agnoscope.optimisation.canvas import Canvas
from agnoscope.optimisation.transformations import Views, looked_at
from agnoscope.targets.features import Activity, features_of
from agnoscope.targets.guided import Guided
from tests.explainers.synthesis.frameworks import OTHERS, STEPS, assert_frameworks_agree, demo, demo64, layer
from tests.explainers.synthesis.test_photos import fixed, photo

QUICK = DeepDream(iterations=3, octaves=2, jitter=2)


@pytest.mark.torch
@pytest.mark.parametrize("framework", OTHERS)
def test_frameworks_agree_on_two_layers(framework: str) -> None:
    octaves = 1 if framework == "keras" else 2  # that network takes one size only
    method = DeepDream(iterations=STEPS // octaves, octaves=octaves, factor=2, jitter=4)

    def asked(model: ag.Model) -> tuple[Any, ...]:
        side = 32 * octaves
        return photo(side, side), Activity(layer(model, "layer2.1")) + 0.5 * Activity(layer(model, "layer1.2"))

    assert_frameworks_agree(method, asked, framework)


@pytest.mark.torch
@pytest.mark.parametrize("framework", OTHERS)
def test_frameworks_agree_on_a_guided_dream(framework: str) -> None:
    method = DeepDream(iterations=STEPS, octaves=1, jitter=4, guide=photo(32, 32)[::-1])
    assert_frameworks_agree(method, lambda model: (photo(32, 32), Activity(layer(model, "layer2.1"))), framework)


def test_the_objective_never_falls_under_small_steps() -> None:
    made = DeepDream(iterations=30, octaves=1, jitter=0, rate=2e-4)(demo64(), photo(96, 96), Activity("relu4"))
    assert (np.diff(made.history[:, 0]) > 0).all()
    assert made.history[-1, 0] > 1.2 * made.history[0, 0]


def test_every_octave_drives_the_activity_up() -> None:
    made = DeepDream(iterations=8, octaves=3, jitter=4)(demo(), photo(120, 90), Activity("relu4"))
    assert made.images.shape == (1, 120, 90, 3)
    for octave in made.history.reshape(3, 8):
        assert octave[-1] > octave[0]


def test_a_step_moves_pixels_by_the_rate_on_average() -> None:
    given = np.full((1, 96, 96, 3), 0.5, np.float32)
    given += np.random.default_rng(0).normal(0, 0.05, given.shape).astype(np.float32)
    made = DeepDream(iterations=1, octaves=1, jitter=0, rate=0.01)(demo(), given)
    assert np.abs(made.images - given).mean() == pytest.approx(0.01, rel=1e-3)


def test_octaves_are_sized_from_the_smallest_to_the_photo() -> None:
    assert octave_sizes((100, 70), 3, 2) == [(25, 18), (50, 35), (100, 70)]


def test_detail_is_put_back_and_the_dream_is_carried_along() -> None:
    base = np.random.default_rng(0).uniform(size=(1, 8, 8, 3))
    smaller = resized(base, (4, 4))
    assert with_detail(base, None, None) is base
    np.testing.assert_array_equal(with_detail(base, smaller, smaller), base)
    np.testing.assert_allclose(with_detail(base, smaller, smaller + 0.25), base + 0.25)


def test_hardly_dreaming_leaves_the_photo_as_it_was_through_all_octaves() -> None:
    given = photo(64, 80)
    made = DeepDream(iterations=1, rate=1e-9)(demo(), given)
    np.testing.assert_allclose(made.images[0], given / 255, atol=1e-6)


@pytest.mark.parametrize("seen", [(6, 10), (7, 9), (6, 9), (7, 10)])
@pytest.mark.parametrize("size", [(3, 4), (4, 3)])
def test_a_small_octave_is_repeated_pixel_by_pixel(size: tuple[int, int], seen: tuple[int, int]) -> None:
    image = np.arange(size[0] * size[1], dtype=np.float64).reshape(1, *size, 1)
    canvas = Canvas(size, 1, dtype="float64", coloured=False)
    views = Views((Repeated(seen),), border="wrap", sampling="nearest")
    found = looked_at(np, canvas, seen, image, views.places(np.random.default_rng(0), canvas, seen))[0, :, :, 0]
    tiled = np.tile(image[0, :, :, 0], (9, 9))
    shifts = [tiled[i : i + seen[0], j : j + seen[1]] for i in range(size[0]) for j in range(size[1])]
    assert any(np.array_equal(found, shifted) for shifted in shifts)


@pytest.mark.torch
def test_a_network_of_one_size_dreams_at_that_size() -> None:
    made = DeepDream(iterations=4, octaves=3, jitter=2)(fixed(), photo(30, 40), Activity("1"))
    assert made.images.shape == (1, 12, 16, 3)
    assert (made.history.reshape(3, 4)[:, -1] > made.history.reshape(3, 4)[:, 0]).all()
    with pytest.raises(ModelError, match="takes 12 × 16"):
        DeepDream(size=40)(fixed(), photo(30, 40), Activity("1"))


def test_the_layer_is_chosen_and_told_where_none_is_named() -> None:
    assert dream_layer(demo(), (96, 96)) == "relu4"
    assert QUICK(demo(), photo(48, 48)).making.targets == ("activity of relu4",)


def test_layers_add_up_by_their_weights() -> None:
    one, other, both = (
        QUICK(demo(), photo(48, 48), asked).history[0, 0]
        for asked in (Activity("relu2"), Activity("relu4"), 2 * Activity("relu2") + Activity("relu4"))
    )
    assert both == pytest.approx(2 * one + other, rel=1e-5)


def test_several_photos_dream_as_each_does_alone() -> None:
    photos = [photo(48, 48), photo(48, 48)[::-1]]
    together = QUICK(demo(), photos)
    for i, given in enumerate(photos):
        np.testing.assert_allclose(together.images[i], QUICK(demo(), given).images[0], atol=1e-4)


def test_a_guide_gives_every_place_its_best_matching_feature() -> None:
    given, guide = (photo(96, 96)[None] / 255.0 for _ in range(2))
    guide = guide[:, ::-1].astype(np.float32)
    bound = Guided.to(demo(), guide, "relu3").bind(demo(), 1, (96, 96))
    x, y = (
        features_of(demo(), each.astype(np.float32), ("relu3",))["relu3"].reshape(-1, 32) for each in (given, guide)
    )
    expected = np.mean([max(float(place @ feature) for feature in y) for place in x[:50]])
    assert bound(np, {"relu3": x[:50].reshape(1, 5, 10, 32)})[0] == pytest.approx(expected, rel=1e-4)


def test_a_guided_dream_takes_features_of_the_guide() -> None:
    guide = photo(96, 96)[:, ::-1] // 2
    asked = Activity("relu4") + 2 * Activity("relu2")
    made = DeepDream(iterations=6, octaves=1, jitter=0, guide=guide)(demo(), photo(96, 96), asked)
    assert made.making.targets == ("guided activity of relu4 + 2 × guided activity of relu2",)
    terms = [weight * Guided.to(demo(), guide, name) for name, weight in (("relu4", 1), ("relu2", 2))]
    by_hand = DeepDream(iterations=6, octaves=1, jitter=0)(demo(), photo(96, 96), terms[0] + terms[1])
    np.testing.assert_array_equal(made.images, by_hand.images)
    assert made.history[-1, 0] > made.history[0, 0]


def test_a_guide_needs_layers() -> None:
    with pytest.raises(TargetError, match="with guide="):
        DeepDream(guide=photo(32, 32))(demo(), photo(48, 48), "ball")
    with pytest.raises(ImageError, match="no image file"):
        DeepDream(guide="missing.png")(demo(), photo(48, 48))
    with pytest.raises(TargetError, match="finite features of shape"):
        QUICK(demo(), photo(48, 48), Guided("relu4", np.zeros((5, 3))))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"octaves": 0}, "octaves"),
        ({"factor": 1}, "factor"),
        ({"rate": -1}, "rate"),
        ({"jitter": -1}, "jitter"),
        ({"iterations": 0}, "iterations"),
        ({"size": 0}, "size"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(OptionError, match=told):
        DeepDream(**options)(demo(), photo(48, 48))


def test_an_unknown_layer_and_an_unreadable_photo_are_refused() -> None:
    with pytest.raises(LayerError, match="relu9"):
        QUICK(demo(), photo(48, 48), Activity("relu9"))
    with pytest.raises(ImageError, match="no image file"):
        QUICK(demo(), "missing.jpg")


def test_a_stopped_dream_goes_on_as_if_it_had_not_been_stopped(tmp_path: Any) -> None:
    whole = QUICK(demo(), photo(48, 48))
    for state in islice(QUICK.steps(demo(), photo(48, 48)), 4):
        stopped = state.run
    stopped.save(tmp_path / "run.npz")
    resumed = QUICK(demo(), photo(48, 48), resume=tmp_path / "run.npz")
    np.testing.assert_array_equal(resumed.images, whole.images)


def test_a_flight_dreams_of_the_middle_of_the_frame_before() -> None:
    frames = list(QUICK.zoom(demo(), photo(48, 40), 2, factor=1.5))
    first = QUICK(demo(), photo(48, 40))
    second = replace(QUICK, seed=1)(demo(), enlarged(first.images, 1.5))
    np.testing.assert_array_equal(frames, [first.pictures()[0], second.pictures()[0]])


def test_a_flight_enlarges_the_middle() -> None:
    rows = np.broadcast_to(np.arange(9.0)[None, :, None, None], (1, 9, 5, 3)) / 9
    np.testing.assert_allclose(enlarged(rows, 2.0)[0, :, 2, 0] * 9, np.arange(2, 6.5, 0.5))


@pytest.mark.parametrize(
    ("given", "frames", "factor"), [(photo(48, 48), 0, 1.05), (photo(48, 48), 2, 1.0), ([photo(48, 48)] * 2, 2, 1.05)]
)
def test_a_flight_that_cannot_be_is_refused(given: Any, frames: int, factor: float) -> None:
    with pytest.raises(OptionError):
        next(QUICK.zoom(demo(), given, frames, factor=factor))
