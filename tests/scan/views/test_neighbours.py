"""Neighbours of images in a scan equal those that brute force finds, in both spaces."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import agnoscope as ag
from agnoscope.scan.views.neighbours import neighbours
from tests.scan.views.planted import COPY, chain, images


def scanned(folder: Path, pictures: Any = None, **options: Any) -> ag.Scan:
    options = {"layers": ("relu", "seen"), "shard": 7} | options
    return ag.scan_all(chain(), images() if pictures is None else pictures, folder / "run", **options)


def brute(queries: np.ndarray, points: np.ndarray, k: int, leave: int = -1) -> list[int]:
    distances = np.sqrt(((points - queries) ** 2).sum(axis=1))
    return [int(row) for row in np.argsort(distances, kind="stable") if row != leave][:k]


def test_they_are_those_of_brute_force_in_both_spaces(tmp_path: Path) -> None:
    model, scan, k = chain(), scanned(tmp_path), 6
    strange = np.random.default_rng(9).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    found = neighbours(model, scan, ["image 3", strange], k, layer="seen")
    assert (found.queries, found.layer) == (("image 3", "image 2"), "seen")
    features, pixels = scan.features("seen").astype(np.float64), images().reshape(24, -1) / 255
    assert found.features.rows[0].tolist() == brute(features[3], features, k, leave=3)
    assert found.pixels is not None
    assert found.pixels.rows[0].tolist() == brute(pixels[3], pixels, k, leave=3)
    assert found.pixels.rows[1].tolist() == brute(strange.reshape(-1) / 255, pixels, k)
    assert found.features.rows[0, 0] == COPY[1]
    assert found.features.distances[0, 0] == found.pixels.distances[0, 0] == 0
    assert {found.names[row] for row in found.features.rows[0].tolist()} <= set(scan.names)
    np.testing.assert_array_equal(found.pictures[COPY[1]], images()[COPY[1]])


def test_a_photo_of_the_scan_is_known_by_its_path_and_is_not_its_own_neighbour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = tmp_path / "photos" / "inner"
    photos.mkdir(parents=True)
    for number, picture in enumerate(images()[:6]):
        Image.fromarray(picture).save(photos / f"{number}.png")
    model, scan = chain(), scanned(tmp_path, photos.parent)
    monkeypatch.chdir(photos)
    for query in ("inner/2.png", "2.png", photos / "2.png"):
        found = neighbours(model, scan, query, 5, pixel_space=False)
        assert found.queries == ("inner/2.png",)
        assert sorted(found.features.rows[0].tolist()) == [0, 1, 3, 4, 5]
        assert found.pixels is None
    Image.fromarray(images()[2]).save(tmp_path / "2.png")
    elsewhere = neighbours(model, scan, tmp_path / "2.png", 1)
    assert elsewhere.features.rows.tolist() == [[2]]


def test_cosine_neighbours_have_the_smallest_angle(tmp_path: Path) -> None:
    model, scan = chain(), scanned(tmp_path)
    found = neighbours(model, scan, "image 5", 4, "cosine", pixel_space=False)
    features = scan.features().astype(np.float64)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    nearest = [row for row in np.argsort(1 - features @ features[5], kind="stable") if row != 5][:4]
    assert found.features.rows[0].tolist() == nearest


def test_a_photo_that_has_gone_is_left_out_of_pixel_space_and_told(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, picture in enumerate(images()[:5]):
        Image.fromarray(picture).save(photos / f"{number}.png")
    model, scan = chain(), scanned(tmp_path, photos)
    (photos / "1.png").write_bytes(b"no picture")
    found = neighbours(model, scan, "0.png", 4)
    assert found.pixels is not None
    assert sorted(found.pixels.rows[0].tolist()) == [-1, 2, 3, 4]
    assert sorted(found.features.rows[0].tolist()) == [1, 2, 3, 4]
    assert found.notes[0].startswith("1.png: ")
    assert found.draw().width > 300
    assert "<script" not in found._repr_html_()


def test_what_cannot_be_found_is_refused(tmp_path: Path) -> None:
    model, scan = chain(), scanned(tmp_path)
    with pytest.raises(ag.ImageError, match="no image file"):
        neighbours(model, scan, "nobody.png")
    with pytest.raises(ag.LayerError, match="kept no layer 'last'"):
        neighbours(model, scan, "image 0", layer="last")
    with pytest.raises(ag.OptionError, match="metric='angle' is unknown"):
        neighbours(model, scan, "image 0", metric="angle")  # type: ignore[arg-type]
    with pytest.raises(ag.OptionError, match="k=0"):
        neighbours(model, scan, "image 0", 0)
    with pytest.raises(ag.OptionError, match="no image to find"):
        neighbours(model, scan, [])
    with pytest.raises(ag.OptionError, match="another network"):
        neighbours(model.with_parameters({"dense.bias": np.ones(2, np.float32)}), scan, "image 0")
