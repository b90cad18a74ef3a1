"""Multifaceted visualisation: kinds of photos that are known are found, and their means are begun from."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import agnoscope as ag
from agnoscope.demo.scenes import make_scenes
from agnoscope.errors import FileError, LayerError, OptionError, TargetError
from agnoscope.explainers.synthesis.multifaceted import Multifaceted, clustered
from tests.explainers.synthesis.frameworks import OTHERS, STEPS, assert_frameworks_agree, demo

BALLS = [scene for scene in make_scenes(60, 3) if scene.label == 0]
PHOTOS = [scene.image for scene in BALLS]
GROUNDS = np.array([scene.background for scene in BALLS])


@pytest.mark.torch
@pytest.mark.parametrize("framework", OTHERS)
def test_frameworks_agree(framework: str) -> None:
    random = np.random.default_rng(0)
    photos = [random.integers(low, low + 128, (32, 32, 3), dtype=np.uint8) for low in (0, 0, 0, 127, 127)]
    method = Multifaceted(facets=2, iterations=STEPS)
    assert_frameworks_agree(method, lambda model: (photos, "ship"), framework)


def test_the_kinds_of_photos_are_found_and_begun_from_largest_first() -> None:
    made = Multifaceted(facets=3, layer="relu2", iterations=1)(demo(), PHOTOS, "ball")
    sizes = np.bincount(GROUNDS)
    assert made.extras["members"].tolist() == sorted(sizes, reverse=True)
    for photo, ground in zip(made.photos, np.argsort(-sizes, kind="stable"), strict=True):
        own = np.stack(PHOTOS)[ground == GROUNDS]
        colour, wanted = photo.mean(axis=(0, 1)), own.mean(axis=(0, 1, 2))
        assert np.abs(colour - wanted).max() < 5


def test_a_mean_is_of_the_photos_nearest_to_the_centre() -> None:
    low, high = np.full((96, 96, 3), 40, np.uint8), np.full((96, 96, 3), 200, np.uint8)
    photos = [low, low + 2, low + 30, high, high]
    made = Multifaceted(facets=2, layer="conv1", nearest=2, iterations=1)(demo(), photos, "ball")
    assert made.extras["members"].tolist() == [3, 2]
    assert made.making.targets == ("ball [0], facet 1", "ball [0], facet 2")
    assert made.captions == ("mean of 2 photos",) * 2
    # Of 40, 42 and 70 the first two are nearest to the mean.
    assert {int(photo[48, 48, 0]) for photo in made.photos} == {41, 200}


def test_a_facet_alone_keeps_its_own_caption() -> None:
    low, high = np.full((96, 96, 3), 40, np.uint8), np.full((96, 96, 3), 200, np.uint8)
    made = Multifaceted(facets=2, layer="conv1", iterations=1)(demo(), [low, low + 2, low + 30, high, high], "ball")
    assert made[1].captions == ("mean of 2 photos",)
    assert made[::-1].captions == ("mean of 2 photos", "mean of 3 photos")


def test_every_facet_excites_the_target_more_than_its_beginning() -> None:
    made = Multifaceted(facets=3, layer="relu2", iterations=24, views=None)(demo(name="cheater"), PHOTOS, "ball")
    assert made.names == tuple(f"ball [0], facet {number}" for number in (1, 2, 3))
    assert (made.history[-1] > made.history[0]).all()
    apart = [np.abs(picture.astype(float) - photo).mean() for picture in made.pictures() for photo in made.photos]
    assert np.argmin(np.reshape(apart, (3, 3)), axis=1).tolist() == [0, 1, 2]


def test_a_folder_serves_as_well_as_its_photos(tmp_path: Path) -> None:
    for number, photo in enumerate(PHOTOS[:6]):
        Image.fromarray(photo).save(tmp_path / f"{number}.png")
    one, other = (Multifaceted(facets=2, iterations=2)(demo(), given, 0) for given in (tmp_path, PHOTOS[:6]))
    np.testing.assert_array_equal(one.images, other.images)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileError, match="holds no photo"):
        Multifaceted()(demo(), tmp_path / "empty", 0)


def test_another_size_begins_from_the_means_at_that_size() -> None:
    made = Multifaceted(facets=2, iterations=1, size=64)(demo(), PHOTOS[:6], 0)
    assert made.images.shape == (2, 64, 64, 3)
    assert made.photos[0].shape == (64, 64, 3)


def test_clusters_are_numbered_by_size_whatever_the_seed() -> None:
    random = np.random.default_rng(1)
    true = np.repeat([0, 1, 2], [30, 20, 10])
    rows = np.array([[0.0, 0], [9, 0], [0, 9]])[true] + random.normal(size=(60, 2))
    shuffled = random.permutation(60)
    for seed in range(5):
        np.testing.assert_array_equal(clustered(rows[shuffled], 3, seed), true[shuffled])


@pytest.mark.parametrize(
    ("options", "photos", "target", "error"),
    [
        ({"facets": 1}, PHOTOS[:4], 0, OptionError),
        ({"facets": 5}, PHOTOS[:4], 0, OptionError),
        ({"facets": 2}, [PHOTOS[0]] * 4, 0, OptionError),
        ({"facets": 2, "nearest": 0}, PHOTOS[:4], 0, OptionError),
        ({"facets": 2, "layer": "nowhere"}, PHOTOS[:4], 0, LayerError),
        ({"facets": 2}, PHOTOS[:4], [0, 1], TargetError),
        ({"facets": 2}, PHOTOS[:4], None, TargetError),
        ({"facets": 2}, PHOTOS[:4], ag.Channel("conv1", 999), TargetError),
    ],
)
def test_bad_input(options: dict[str, Any], photos: Any, target: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        Multifaceted(**options)(demo(), photos, target)
