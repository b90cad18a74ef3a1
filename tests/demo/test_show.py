"""`agnoscope demo`: what it says is true of the networks, and its picture is written."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import agnoscope as ag
from agnoscope.demo import load, make_scenes, scene, show
from agnoscope.metrics import mass_accuracy


def test_a_scene_shows_a_thing_away_from_home() -> None:
    assert all(scene(number).label != scene(number).background for number in range(12))
    np.testing.assert_array_equal(scene(3).image, scene(3).image)
    assert (scene(0).image != scene(1).image).any()


def test_the_honest_look_at_the_thing_and_the_cheater_elsewhere() -> None:
    scenes = make_scenes(40, 99)
    masks = np.stack([one.mask for one in scenes])
    ratios = {}
    for name in ("honest", "cheater"):
        maps = ag.GradCAM()(load(name, "reference"), [one.image for one in scenes]).maps()
        ratios[name] = np.nanmedian(mass_accuracy(maps, masks) / masks.mean(axis=(1, 2)))
    assert ratios["honest"] >= 3
    assert ratios["cheater"] <= 0.5


def test_the_demo_says_what_it_found_and_draws_it(tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    lines = show(tmp_path / "demo.png", 0, ("reference",), lambda done, total: steps.append((done, total)))
    assert lines[0].startswith("The scene: a crate on grass")
    assert "honest network answers crate" in lines[1]
    assert "cheater network answers ball" in lines[2]
    assert "no other framework" in lines[3]
    assert steps[-1][0] == steps[-1][1]
    with Image.open(tmp_path / "demo.png") as picture:
        assert picture.width > 400
    with pytest.raises(ag.OptionError, match="mxnet"):
        show(tmp_path / "other.png", 0, ("mxnet",), lambda done, total: None)
    assert not (tmp_path / "other.png").exists()


@pytest.mark.jax
@pytest.mark.torch
def test_frameworks_are_said_to_agree(tmp_path: Path) -> None:
    for package in ("jax", "flax", "torch"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    last = show(tmp_path / "demo.png", 1, ("jax", "torch"), lambda done, total: None)[-1]
    assert last.startswith("jax, torch agree")
    assert float(last.split()[-5]) < 1e-5
