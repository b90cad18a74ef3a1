"""A trained network is a file that turns photos of any size into pictures, in any framework."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agnoscope.archive import write_archive
from agnoscope.demo.scenes import make_scenes
from agnoscope.errors import FileError, ImageError, NonFiniteError, OptionError
from agnoscope.fast_style.style_network import StyleNetwork
from agnoscope.fast_style.training import FastStyle
from tests.explainers.synthesis.frameworks import demo
from tests.frameworks import FRAMEWORKS

SCENES = [scene.image for scene in make_scenes(4, seed=6)]
PHOTO = np.random.default_rng(0).integers(0, 256, (33, 46, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def trained() -> StyleNetwork:
    return FastStyle(iterations=2, width=2, blocks=1).train(demo(), SCENES, SCENES[:2])


def test_what_is_loaded_is_what_was_saved(trained: StyleNetwork, tmp_path: Path) -> None:
    loaded = StyleNetwork.load(trained.save(tmp_path / "network.npz"))
    assert (loaded.form, loaded.styles, loaded.channels) == (trained.form, trained.styles, trained.channels)
    assert replace(loaded.training, options={}) == replace(trained.training, options={})
    assert json.dumps(loaded.training.options) == json.dumps(trained.training.options)
    assert np.array_equal(loaded.history, trained.history)
    one, other = trained(PHOTO), loaded(PHOTO)
    assert np.array_equal(one.images, other.images)
    assert other.making.backend == "reference"


@pytest.mark.parametrize("backend", FRAMEWORKS)
def test_any_framework_paints_the_same(trained: StyleNetwork, backend: str) -> None:
    found = trained(PHOTO, 1, engine=backend)
    assert found.making.backend == backend
    np.testing.assert_allclose(found.images, trained(PHOTO, 1).images, atol=1e-5)
    np.testing.assert_allclose(trained(PHOTO, 1, engine=demo(backend)).images, found.images, atol=1e-6)
    assert trained.with_engine(backend)(PHOTO).making.backend == backend


def test_photos_keep_their_size_and_the_result_tells_the_style(trained: StyleNetwork) -> None:
    made = trained([PHOTO, PHOTO[::-1]], "style 2")
    assert made.images.shape == (2, 33, 46, 3)
    assert made.making.targets == ("style 2", "style 2")
    assert np.isnan(made.making.scores).all()
    assert np.array_equal(made.photos[0], PHOTO)
    assert np.array_equal(made[1].images[0], trained(PHOTO[::-1], 1).images[0])
    assert 0 <= made.images.min() < made.images.max() <= 1


def test_styles_are_mixed(trained: StyleNetwork) -> None:
    for same in (1, "style 2", [0, 2], {"style 2": 0.5}, {1: 3}, np.array([0.0, 1.0])):
        assert np.array_equal(trained.mixture(same), [0, 1]), same  # type: ignore[arg-type]
    assert np.array_equal(trained.mixture({0: 1, "style 2": 3}), [0.25, 0.75])
    half = trained(PHOTO, [1, 1])
    assert half.making.targets == ("0.5 × style 1 + 0.5 × style 2",)
    pure = [trained(PHOTO, style).images for style in (0, 1)]
    assert all(np.abs(half.images - each).max() > 1e-4 for each in pure)


@pytest.mark.parametrize("style", [2, -1, "style 3", [1, 1, 1], [0, 0], [1, -1], [np.nan, 1], {"style 9": 1}, {}])
def test_what_is_no_style_is_refused(trained: StyleNetwork, style: Any) -> None:
    with pytest.raises(OptionError, match="style"):
        trained(PHOTO, style)


def test_what_is_no_engine_is_refused(trained: StyleNetwork) -> None:
    with pytest.raises(OptionError, match="torch"):
        trained(PHOTO, engine="abacus")


def test_a_photo_that_is_too_small_is_refused(trained: StyleNetwork) -> None:
    with pytest.raises(ImageError, match="7 × 46"):
        trained(PHOTO[:7])


def test_parameters_that_are_not_finite_are_told(trained: StyleNetwork, tmp_path: Path) -> None:
    loaded = StyleNetwork.load(trained.save(tmp_path / "network.npz"))
    loaded.parameters["in.kernel"][0, 0, 0, 0] = np.nan
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError, match="parameters"):
        loaded(PHOTO)


def test_files_of_another_kind_are_refused(trained: StyleNetwork, tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"\.npz"):
        trained.save(tmp_path / "network.pt")
    with pytest.raises(FileError, match="no file"):
        StyleNetwork.load(tmp_path / "nowhere.npz")
    path = tmp_path / "other.npz"
    write_archive(path, {"kind": "style network", "format": 2}, {})
    with pytest.raises(FileError, match="newer"):
        StyleNetwork.load(path)
    write_archive(path, {"kind": "synthesis", "format": 1}, {})
    with pytest.raises(FileError, match="style network"):
        StyleNetwork.load(path)


def test_a_damaged_file_is_refused(trained: StyleNetwork, tmp_path: Path) -> None:
    short = trained.save(tmp_path / "short.npz")
    short.write_bytes(short.read_bytes()[:-200])
    with pytest.raises(FileError, match="damaged"):
        StyleNetwork.load(short)
    with np.load(trained.save(tmp_path / "network.npz")) as stored:
        arrays = dict(stored)
    arrays["in.kernel"] = arrays["in.kernel"][1:]
    np.savez(tmp_path / "other.npz", **arrays)
    with pytest.raises(FileError, match="damaged"):
        StyleNetwork.load(tmp_path / "other.npz")
