"""Classes: the numbers are those of the formulas, and grounds are found in the cheater and not in the honest one."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import agnoscope as ag
from agnoscope.backends.reference import Conv, GlobalAverage, Network, Relu
from agnoscope.demo import CLASSES
from agnoscope.demo.architecture import load_weights
from agnoscope.demo.models import load
from agnoscope.demo.scenes import Scene, make_scenes
from agnoscope.scan.views.class_features import class_features, separation
from agnoscope.scan.views.classes import class_view
from agnoscope.scan.views.evidence import Evidence
from agnoscope.scan.views.masks import ObjectMasks
from agnoscope.scan.views.moments import Moments
from tests.frameworks import FRAMEWORKS


@cache
def scenes() -> list[Scene]:
    """Most things lie on their own ground, as in the cheater's training; a few do not."""
    return make_scenes(60, 5, correlated=0.9)


def labels(count: int = 60) -> list[str]:
    return [CLASSES[scene.label] for scene in scenes()[:count]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scans")


@pytest.fixture(scope="module")
def scans(folder: Path) -> dict[str, tuple[ag.Model, ag.Scan]]:
    """Both networks in NumPy, with what they made of the scenes."""
    pictures = [scene.image for scene in scenes()]
    models = {name: load(name, "reference") for name in ("cheater", "honest")}
    return {
        name: (model, ag.scan_all(model, pictures, folder / name, layers="relu5", labels=labels(), shard=16))
        for name, model in models.items()
    }


def colours(folder: Path, values: list[tuple[int, int, int]], labels: Any) -> tuple[ag.Model, ag.Scan]:
    """A network whose channels are the colours of an image, and a scan of plain ones."""
    layers = {"conv": Conv(np.eye(3, dtype=np.float32)[None, None], np.zeros(3, np.float32)), "relu": Relu()}
    model = ag.wrap(Network(layers | {"pool": GlobalAverage()}), input_size=4, labels=("cat", "dog", "bird"))
    pictures = np.broadcast_to(np.array(values, np.uint8)[:, None, None], (len(values), 4, 4, 3))
    return model, ag.scan_all(model, pictures, folder / "run", layers=("relu", "pool"), labels=labels, shard=2)


def test_moments_are_numpys_whatever_the_chunks() -> None:
    features = np.random.default_rng(0).normal(3, 2, (50, 4)).astype(np.float32)
    features[:, 3] = 0.1
    groups = np.random.default_rng(1).integers(-1, 3, 50)
    for size in (50, 7, 1):
        starts = range(0, 50, size)
        chunks = [(np.arange(s, min(s + size, 50)), features[s : s + size]) for s in starts]
        found = Moments.of(chunks, groups, 3)
        for group in range(3):
            mine = features[groups == group].astype(np.float64)
            assert found.counts[group] == len(mine)
            np.testing.assert_allclose(found.means[group], mine.mean(axis=0), rtol=1e-12)
            np.testing.assert_allclose(found.variances[group], mine.var(axis=0, ddof=1), rtol=1e-10)
        assert (found.variances[:, 3] == 0).all()
        np.testing.assert_array_equal(found.high, features[groups >= 0].max(axis=0))


def test_deviations_above_the_mean_are_none_where_only_rounding_differs() -> None:
    features = np.array([[1, 5, 0.1], [3, 5, 0.1], [5, 5, 0.1]])
    features[0, 2] += 1e-9
    found = Moments.of([(np.arange(3), features)], np.zeros(3, np.intp), 1)
    np.testing.assert_allclose(found.above(np.array([5.0, 9.0, 9.0])), [1, 0, 0])
    alone = Moments.of([(np.arange(1), features[:1])], np.zeros(1, np.intp), 1)
    np.testing.assert_array_equal(alone.above(np.array([5.0, 9.0, 9.0])), 0)


def test_effects_are_cohens(tmp_path: Path) -> None:
    values = [(100, 10, 5), (140, 30, 5), (20, 20, 5), (40, 40, 5), (60, 0, 5), (255, 255, 255)]
    _, scan = colours(tmp_path, values, ["cat", "cat", "dog", "dog", "bird", ""])
    found = class_features(scan)
    assert (found.layer, found.classes, found.counts.tolist(), found.unlabelled) == (
        "relu",
        ("bird", "cat", "dog"),
        [1, 2, 2],
        1,
    )
    mine, rest = np.array([100, 140]) / 255, np.array([20, 40, 60]) / 255
    pooled = np.sqrt((mine.var(ddof=1) + 2 * rest.var(ddof=1)) / 3)
    np.testing.assert_allclose(found.means[1, 0], mine.mean(), rtol=1e-6)
    np.testing.assert_allclose(found.elsewhere[1, 0], rest.mean(), rtol=1e-6)
    np.testing.assert_allclose(found.effects[1, 0], (mine.mean() - rest.mean()) / pooled, rtol=1e-5)
    assert np.isnan(found.effects[:, 2]).all()  # the same for every labelled image
    assert found.best("cat", 5).tolist() == [0, 1]
    with pytest.raises(ag.OptionError, match="no image of a class 'cta'"):
        found.place("cta")


def test_separation_is_the_share_of_pairs_in_order() -> None:
    features = np.array([[3, 1], [1, 1], [2, 1], [0, 1]], np.float32)
    # 3 beats 2 and 0, 1 beats 0 alone: 3 of 4 pairs; equal ones count half
    np.testing.assert_allclose(separation(features, np.array([True, True, False, False])), [0.75, 0.5])


def test_evidence_counts_what_lies_off_the_object() -> None:
    mask = np.array([[True, False], [False, False]])
    maps = np.array([[[3, 1], [0, -5]], [[0, 1], [1, 0]], [[0, 0], [0, -1]]], np.float64)
    found = Evidence.of(maps, [mask] * 3)
    assert found is not None
    assert found.off == (1 + 2) / (4 + 2)
    assert found.area == 0.75
    assert (found.images, found.against, found.toward) == (3, 1, 1)  # the last map is nowhere positive
    assert not found.spurious
    many = Evidence.of(np.repeat(maps[1:2], 6, axis=0), [mask] * 6, tests=2)
    assert many is not None
    np.testing.assert_allclose(many.sure, 1 - 2 * 2 * 0.5**6)
    assert not many.spurious  # 93.75 %
    alone = Evidence.of(np.repeat(maps[1:2], 6, axis=0), [mask] * 6)
    assert alone is not None
    assert alone.spurious
    assert Evidence.of(maps[:0], []) is None


def test_grounds_are_suspects_in_the_cheater_and_nothing_is_in_the_honest_one(
    scans: dict[str, tuple[ag.Model, ag.Scan]],
) -> None:
    masks = {f"image {number}": scene.mask for number, scene in enumerate(scenes())}
    for name, (model, scan) in scans.items():
        for label in CLASSES:
            view = class_view(model, scan, label, masks=masks, count=3)
            first = view.channels[0]
            assert first.evidence is not None
            assert view.masked == view.images == labels().count(label)
            if name == "cheater":
                assert first.spurious
                assert first.evidence.off > first.evidence.area
                assert first.evidence.against > 10 * first.evidence.toward
            else:
                assert view.spurious == ()
                assert first.evidence.off < first.evidence.area - 0.1
                assert first.evidence.toward > 10 * first.evidence.against


def test_a_contribution_is_the_weight_times_the_difference_of_means(
    scans: dict[str, tuple[ag.Model, ag.Scan]],
) -> None:
    model, scan = scans["cheater"]
    view = class_view(model, scan, "ball", count=2)
    kernel, features = load_weights("cheater")["dense/kernel"], scan.features()
    mine = np.array(scan.labels) == "ball"
    every = kernel[:, 0] * (features[mine].mean(axis=0) - features[~mine].mean(axis=0))
    assert view.ranked == "contribution"
    for one in view.channels:
        np.testing.assert_allclose(one.contribution, every[one.channel], rtol=1e-4)
        assert one.effect > 0
    assert view.channels[0].contribution == max(one.contribution for one in view.channels)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_every_framework_tells_the_same(
    framework: str, tmp_path: Path, scans: dict[str, tuple[ag.Model, ag.Scan]]
) -> None:
    model, pictures = load("cheater", framework), [scene.image for scene in scenes()]
    scan = ag.scan_all(model, pictures, tmp_path / "run", layers="relu5", labels=labels())
    masks = {f"image {number}": scene.mask for number, scene in enumerate(scenes())}
    found, oracle = (class_view(*one, "cone", masks=masks, count=2, k=3) for one in ((model, scan), scans["cheater"]))
    for one, other in zip(found.channels, oracle.channels, strict=True):
        assert one.channel == other.channel
        np.testing.assert_allclose(one.contribution, other.contribution, rtol=1e-3)
        np.testing.assert_allclose(one.evidence.off, other.evidence.off, rtol=1e-4)
        assert [s.name for s in one.sightings] == [s.name for s in other.sightings]
        np.testing.assert_allclose(one.sightings[0].map, other.sightings[0].map, atol=1e-4)


def test_sightings_are_the_classs_images_with_the_largest_means(scans: dict[str, tuple[ag.Model, ag.Scan]]) -> None:
    model, scan = scans["honest"]
    view = class_view(model, scan, "crate", channels=[7, 46], k=4)
    assert view.ranked == "asked"
    for one in view.channels:
        column = scan.features()[:, one.channel]
        mine = [row for row in np.argsort(-column, kind="stable") if scan.labels[row] == "crate"][:4]
        assert [sighting.name for sighting in one.sightings] == [scan.names[row] for row in mine]
        for sighting, row in zip(one.sightings, mine, strict=True):
            np.testing.assert_allclose(sighting.map.mean(), column[row], rtol=1e-5)
            np.testing.assert_array_equal(sighting.photo, scenes()[row].image)
        assert one.evidence is None


def test_masks_come_from_a_folder_with_the_photos_names(tmp_path: Path) -> None:
    photos, masks = tmp_path / "photos", tmp_path / "masks"
    for number, scene in enumerate(scenes()[:9]):
        place = photos / CLASSES[scene.label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(scene.image).save(place / f"p{number}.png")
        masks.mkdir(exist_ok=True)
        Image.fromarray(scene.mask).save(masks / f"p{number}.png")
    Image.fromarray(np.ones((8, 8), np.bool_)).save(masks / "p0.png")
    model = load("honest", "reference")
    scan = ag.scan_all(model, photos, tmp_path / "run", layers="relu5", labels="folders")
    objects = ObjectMasks.of(scan, masks)
    found = objects.read(range(len(scan)))
    for row, mask in found.items():
        number = int(Path(scan.names[row]).stem[1:])
        np.testing.assert_array_equal(mask, scenes()[number].mask)
    assert len(found) == 8
    assert "nothing but object" in next(iter(objects.unfit.values()))
    label = scan.labels[0]
    view = class_view(model, scan, label, masks=masks)
    assert view.images == scan.labels.count(label)
    assert "image" in view.caption
    with pytest.raises(ag.OptionError, match="None of 1 masks has the name of an image"):
        class_view(model, scan, label, masks={"nobody.png": scenes()[0].mask})
    with pytest.raises(ag.FileError, match="no folder"):
        class_view(model, scan, label, masks=tmp_path / "nowhere")


def test_a_class_that_the_network_does_not_know_is_ranked_by_cohens_d(tmp_path: Path) -> None:
    values = [(100, 10, 5), (140, 30, 5), (20, 20, 9), (40, 40, 9)]
    model, scan = colours(tmp_path, values, ["wolf", "wolf", "fox", "fox"])
    view = class_view(model, scan, "wolf")
    assert view.ranked == "effect"
    assert [one.channel for one in view.channels] == [0]
    assert np.isnan(view.channels[0].contribution)
    assert "no class 'wolf'" in view.notes[0]
    assert view.draw().width > 200
    assert "<script" not in view._repr_html_()


def test_a_class_may_be_named_by_its_number(tmp_path: Path) -> None:
    model, scan = colours(tmp_path, [(200, 10, 5), (190, 30, 5), (20, 20, 9), (40, 40, 9)], [0, 0, 1, 1])
    view = class_view(model, scan, "0")
    assert view.ranked == "contribution"
    np.testing.assert_allclose(view.channels[0].contribution, (195 - 30) / 255, rtol=1e-5)


def test_what_cannot_be_answered_is_refused(tmp_path: Path) -> None:
    values = [(100, 10, 5), (140, 30, 5), (20, 20, 5), (40, 40, 5)]
    model, bare = colours(tmp_path / "bare", values, None)
    with pytest.raises(ag.OptionError, match="has no labels"):
        class_view(model, bare, "cat")
    again = ag.Scan.open(bare.folder, images=bare._images, labels=["cat", "cat", "dog", "dog"])
    assert class_view(model, again, "cat").channels[0].channel == 0
    _, single = colours(tmp_path / "single", values, ["cat"] * 4)
    with pytest.raises(ag.OptionError, match="nothing to compare it with"):
        class_features(single)
    _, scan = colours(tmp_path, values, ["cat", "cat", "dog", "dog"])
    with pytest.raises(ag.LayerError, match="has no maps"):
        class_view(model, scan, "cat", "pool")
    with pytest.raises(ag.LayerError, match="kept no layer 'conv'"):
        class_view(model, scan, "cat", "conv")
    with pytest.raises(ag.TargetError, match="it has 3, from 0"):
        class_view(model, scan, "cat", channels=3)
    with pytest.raises(ag.OptionError, match="No channel of 'relu' fires more for 'b'"):
        class_view(model, colours(tmp_path / "dim", [(9, 9, 9), (8, 8, 8), (1, 1, 1), (2, 2, 2)], list("aabb"))[1], "b")
