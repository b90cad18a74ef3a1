"""Patches: what was planted is found, at exactly the pixels that the unit sees, in every framework."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import agnoscope as ag
from agnoscope.backends.reference import Conv, GlobalAverage, Network, Relu
from agnoscope.inspection.receptive_fields import Box
from agnoscope.scan.views.candidates import marginally_relevant
from agnoscope.scan.views.drawing import as_guided
from agnoscope.scan.views.patches import Patches, top_patches
from agnoscope.scan.views.places import cut, enlarged
from tests.frameworks import FRAMEWORKS
from tests.networks.vit import PATCH, SIZE
from tests.scan.views.planted import COPY, PLACES, branched, chain, clipped, expected, images

PLANTED = {pattern: {one.image: one for one in PLACES if one.pattern == pattern} for pattern in (0, 1)}
PLANTED[0][COPY[1]] = PLANTED[0][COPY[0]]


def scanned(model: ag.Model, folder: Path, pictures: Any = None, **options: Any) -> ag.Scan:
    options = {"layers": ("relu", "seen"), "batch_size": 8} | options
    return ag.scan_all(model, images() if pictures is None else pictures, folder / "run", **options)


def check_planted(found: Patches, step: int, reach: int) -> None:
    """Exactly the planted images, best first, each with the box of the unit above the middle of the pattern."""
    examples = found.units[0].examples
    assert [one.row for one in examples] == [image for image, _, _ in expected(0)][: len(PLANTED[0])]
    assert {one.row for one in examples} == set(PLANTED[0])  # recall 1.0
    for one in examples:
        y, x = PLANTED[0][one.row].middle
        assert one.place == (y // step, x // step)
        (top, bottom), (left, right) = clipped(y - reach, y + reach + 1), clipped(x - reach, x + reach + 1)
        assert one.box == one.photo_box == Box(top, left, bottom, right)
        np.testing.assert_array_equal(one.picture, images()[one.row, top:bottom, left:right])


@pytest.mark.parametrize("framework", ["reference", *FRAMEWORKS])
def test_planted_patches_are_found_with_exact_boxes(framework: str, tmp_path: Path) -> None:
    model = chain() if framework == "reference" else branched(framework)
    scan = scanned(model, tmp_path)
    k = len(PLANTED[0])
    near = top_patches(model, scan, "relu", 0, k)
    check_planted(near, step=2, reach=2)
    np.testing.assert_allclose(
        [one.value for one in near.units[0].examples], [value for _, value, _ in expected(0)][:k], rtol=1e-5
    )
    check_planted(top_patches(model, scan, "seen", 0, k), step=4, reach=4)
    second = top_patches(model, scan, "relu", 1, len(PLANTED[1]), guided=False)
    assert {one.row for one in second.units[0].examples} == set(PLANTED[1])


@pytest.mark.parametrize("framework", ["reference", *FRAMEWORKS])
def test_guided_backpropagation_is_the_methods_own_and_lies_within_the_box(framework: str, tmp_path: Path) -> None:
    model = chain() if framework == "reference" else branched(framework)
    found = top_patches(model, scanned(model, tmp_path), "seen", 0, 3)
    for one in found.units[0].examples:
        target = ag.Neuron("seen", 0, one.place)
        whole = ag.GuidedBackprop()(model, images()[one.row], target).values[0]
        part = whole[one.box.top : one.box.bottom, one.box.left : one.box.right]
        np.testing.assert_allclose(one.guided, part, atol=1e-7)
        assert np.abs(part).max() > 0
        np.testing.assert_allclose(np.abs(whole).sum(), np.abs(part).sum(), rtol=1e-6)  # nothing lies outside


def test_equal_images_stand_in_their_order_and_the_tie_is_told(tmp_path: Path) -> None:
    model = chain()
    rows = [one.row for one in top_patches(model, scanned(model, tmp_path), "relu", 0, 9).units[0].examples]
    assert rows.index(COPY[1]) == rows.index(COPY[0]) + 1
    pictures = images()[[COPY[0], COPY[1], 0, COPY[0]]]
    tied = top_patches(model, scanned(model, tmp_path / "copies", pictures), "relu", 0, 2)
    assert [one.row for one in tied.units[0].examples] == [0, 1]
    assert tied.units[0].tied == 3


def test_dead_channels_are_counted_and_marked_and_never_chosen(tmp_path: Path) -> None:
    model = chain()
    scan = scanned(model, tmp_path)
    found = top_patches(model, scan, "relu", [2, 0], 2)
    assert (found.alive, found.total) == (3, 4)
    assert found.units[0].dead == "never above 0"
    assert found.units[0].examples == ()
    assert found.units[1].dead == ""
    chosen = [unit.channel for unit in top_patches(model, scan, "relu", k=2).units]
    assert sorted(chosen) == [0, 1, 3]
    assert chosen[-1] == 3  # the noise stands out least
    assert found.draw().width > 200


def test_a_channel_that_is_the_same_for_every_image_is_dead(tmp_path: Path) -> None:
    kernel = np.zeros((1, 1, 3, 2), np.float32)
    layers = {"conv": Conv(kernel, np.array([1, -1], np.float32)), "relu": Relu(), "pool": GlobalAverage()}
    model = ag.wrap(Network(layers), input_size=32)
    scan = scanned(model, tmp_path, layers="relu")
    dead = [unit.dead for unit in top_patches(model, scan, channels=(0, 1)).units]
    assert dead == ["the same for every image", "never above 0"]
    with pytest.raises(ag.OptionError, match="All 2 channels of 'relu' are dead"):
        top_patches(model, scan)


def test_patches_by_marginal_relevance_follow_the_formula() -> None:
    values, vectors = np.array([1.0, 0.9, 0.7, 0.6]), np.array([[2.0, 0], [1, 0], [0, 3], [1, 1]])
    # second: ½·0.9 − ½·1 = −0.05, ½·0.7 − 0 = 0.35, ½·0.6 − ½·0.7071 = −0.05; third: the rounded −0.05 against −0.0536
    assert marginally_relevant(values, vectors, 3) == [0, 2, 1]
    assert marginally_relevant(values, vectors, 9) == [0, 2, 1, 3]
    assert marginally_relevant(values, np.zeros((4, 2)), 2) == [0, 1]


def test_diverse_patches_differ(tmp_path: Path) -> None:
    # Channel 0 fires for red and green alike, the two others tell them apart.
    kernel = np.array([[1, 1, 0], [1, 0, 1], [0, 0, 0]], np.float32)[None, None]
    model = ag.wrap(
        Network({"conv": Conv(kernel, np.zeros(3, np.float32)), "relu": Relu(), "pool": GlobalAverage()}), input_size=8
    )
    pictures = np.zeros((6, 8, 8, 3), np.uint8)
    pictures[:4, 2, 3, 0] = [250, 240, 230, 220]
    pictures[4:, 5, 1, 1] = [200, 90]
    scan = scanned(model, tmp_path, pictures, layers="relu")
    plain = top_patches(model, scan, channels=0, k=3)
    assert [one.row for one in plain.units[0].examples] == [0, 1, 2]
    diverse = top_patches(model, scan, channels=0, k=2, diverse=True)
    assert [one.row for one in diverse.units[0].examples] == [0, 4]
    most = top_patches(model, scan, channels=0, k=6, diverse=True)
    assert [one.row for one in most.units[0].examples] == [0, 1, 2, 3, 4]  # the last one is too weak


def test_boxes_are_scaled_to_the_photo_and_cut_out_of_it(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, picture in enumerate(images()[:6]):
        Image.fromarray(picture).resize((96, 64), Image.Resampling.NEAREST).save(photos / f"{number}.png")
    model = chain()
    scan = scanned(model, tmp_path, photos)
    one = top_patches(model, scan, "relu", 0, 1).units[0].examples[0]
    assert one.name == "3.png"
    assert one.photo_box == Box(2 * one.box.top, 3 * one.box.left, 2 * one.box.bottom, 3 * one.box.right)
    assert one.picture.shape == (10, 15, 3)
    assert enlarged(Box(1, 1, 3, 3), (4, 4), (10, 6)) == Box(2, 1, 8, 5)  # outward from 2.5 to 7.5, and 1.5 to 4.5
    assert cut(np.zeros((2000, 1000, 3), np.uint8), Box(0, 0, 2000, 1000)).shape == (512, 256, 3)


def test_neurons_show_the_images_at_their_own_place(tmp_path: Path) -> None:
    model = chain()
    neurons = (ag.Neuron("relu", 0, (4, 6)), ag.Neuron("relu", 2, (0, 0)))
    scan = scanned(model, tmp_path, neurons=neurons)
    found = top_patches(model, scan, neurons=True, k=2)
    first, second = found.units
    assert (first.name, first.place) == ("neuron 0 at (4, 6)", (4, 6))
    assert [one.row for one in first.examples] == [3, 22]
    assert first.examples[0].box == Box(6, 10, 11, 15)
    assert second.dead == "never above 0"
    assert (second.place, found.alive, found.total) == ((0, 0), 1, 2)
    with pytest.raises(ag.OptionError, match="leave layer and channels out"):
        top_patches(model, scan, "relu", neurons=True)
    with pytest.raises(ag.LayerError, match="kept no neurons"):
        top_patches(model, scanned(model, tmp_path / "bare"), neurons=True)


def test_a_relu_at_its_cap_still_shows_what_excited_it(tmp_path: Path) -> None:
    kernel = np.broadcast_to(np.array([1, 0.01], np.float32), (3, 3, 3, 2))
    layers = {"conv": Conv(kernel, np.zeros(2, np.float32), 1, 1), "relu": Relu(6.0), "pool": GlobalAverage()}
    model = ag.wrap(Network(layers), input_size=32)
    scan = scanned(model, tmp_path, layers="relu")
    one = top_patches(model, scan, channels=0, k=1).units[0].examples[0]
    assert one.value == 6
    np.testing.assert_array_equal(one.guided, np.ones((2, 3, 3)))  # at the upper edge
    assert not ag.GuidedBackprop()(model, images()[one.row], ag.Neuron("relu", 0, one.place)).values.any()


def test_what_cannot_be_explained_is_left_out_and_said(tmp_path: Path) -> None:
    model = chain()
    scan = scanned(model, tmp_path, layers=("wide", "relu"))
    before = top_patches(model, scan, "wide", 0, 1)
    assert before.units[0].examples[0].guided is not None
    assert "No ReLU lies before wide" in before.notes[0]
    model.can = model.can - {"relu"}
    without = top_patches(model, scan, "relu", 0, 1)
    assert without.units[0].examples[0].guided is None
    assert "left out" in without.notes[0]
    model.can = model.can - {"patch"}
    blind = top_patches(model, scan, "relu", 0, 1)
    assert blind.units[0].examples[0].box == Box(0, 0, 32, 32)
    assert any("cannot be measured" in note for note in blind.notes)


def test_a_layer_without_maps_shows_whole_images(tmp_path: Path) -> None:
    model = chain()
    found = top_patches(model, scanned(model, tmp_path, layers="dense"), channels=(0, 1), k=2)
    live = next(unit for unit in found.units if not unit.dead)
    assert live.examples[0].box == Box(0, 0, 32, 32)
    assert live.examples[0].guided.shape == (32, 32, 3)


@pytest.mark.torch
def test_the_patches_of_a_transformer_are_its_tokens_own(tmp_path: Path) -> None:
    vit = pytest.importorskip("tests.networks.vit_torch", reason="torch is not installed").vit
    model = ag.wrap(vit(leading=1), input_size=SIZE)
    pictures = np.random.default_rng(0).integers(0, 256, (6, *SIZE, 3), dtype=np.uint8)
    neurons = (ag.Neuron("blocks.0.norm1", 5, (0,)), ag.Neuron("blocks.0.norm1", 5, (6,)))
    scan = scanned(model, tmp_path, pictures, layers="blocks.0.norm1", neurons=neurons)
    example = top_patches(model, scan, channels=5, k=1).units[0].examples[0]
    y, x = example.place
    assert example.box == Box(PATCH * y, PATCH * x, PATCH * (y + 1), PATCH * (x + 1))
    assert example.guided.shape == (PATCH, PATCH, 3)
    first, sixth = top_patches(model, scan, k=1, neurons=True).units
    assert (first.name, first.place) == ("neuron 5", None)  # the class token lies nowhere
    assert (sixth.name, sixth.place) == ("neuron 5 at (1, 1)", (1, 1))


@pytest.mark.torch
def test_a_way_through_a_mean_over_the_image_is_left_out_of_the_boxes_and_said(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")

    class Squeezed(torch.nn.Module):
        """Channels are weighted by what their means over the image say."""

        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 4, 3, 2, 1)
            self.pool = torch.nn.AdaptiveAvgPool2d(1)
            self.gate = torch.nn.Conv2d(4, 4, 1)
            self.relu = torch.nn.ReLU()

        def forward(self, x: Any) -> Any:
            x = self.conv(x)
            return self.relu(x * self.gate(self.pool(x)).sigmoid()).mean(dim=(2, 3))

    torch.manual_seed(0)
    model = ag.wrap(Squeezed().eval(), input_size=32)
    found = top_patches(model, scanned(model, tmp_path, layers="relu"), k=1, guided=False)
    (top, left), box = found.units[0].examples[0].place, found.units[0].examples[0].box
    assert box == Box(max(2 * top - 1, 0), max(2 * left - 1, 0), 2 * top + 2, 2 * left + 2)
    assert any("the boxes leave these ways out" in note for note in found.notes)


def test_the_folder_holds_every_patch_with_its_box(tmp_path: Path) -> None:
    model = chain()
    found = top_patches(model, scanned(model, tmp_path), "relu", (0, 2), 2)
    folder = found.save(tmp_path / "out")
    told = json.loads((folder / "patches.json").read_text())
    first, dead = told["units"]
    assert dead["dead"] == "never above 0"
    assert dead["examples"] == []
    for kept, one in zip(first["examples"], found.units[0].examples, strict=True):
        assert kept["box"] == list(one.box)
        assert kept["value"] == one.value
        with Image.open(folder / kept["picture"]) as picture:
            np.testing.assert_array_equal(np.asarray(picture), one.picture)
        assert (folder / kept["guided"]).exists()
    with Image.open(found.save(tmp_path / "patches.png")) as picture:
        assert picture.size == found.draw().size
    with pytest.raises(ag.FileError, match="must end in"):
        found.save(tmp_path / "patches.gif")


def test_a_notebook_shows_the_picture_without_a_script(tmp_path: Path) -> None:
    model = chain()
    page = top_patches(model, scanned(model, tmp_path), "relu", 0, 2)._repr_html_()
    assert "data:image/png;base64," in page
    assert "<script" not in page


def test_gray_is_zero_in_a_guided_patch() -> None:
    values = np.zeros((4, 4, 3))
    values[0, 0], values[3, 3] = 2, -2
    picture = as_guided(values)
    assert picture[1, 1].tolist() == [128, 128, 128]
    assert picture[0, 0].tolist() == [255, 255, 255]
    assert picture[3, 3].tolist() == [0, 0, 0]
    assert (as_guided(np.zeros((2, 2, 1))) == 128).all()


def test_what_the_scan_cannot_tell_is_refused(tmp_path: Path) -> None:
    model = chain()
    scan = scanned(model, tmp_path, keep=4)
    with pytest.raises(ag.OptionError, match="from 1 to 4"):
        top_patches(model, scan, k=5)
    with pytest.raises(ag.TargetError, match="it has 4, from 0"):
        top_patches(model, scan, "relu", 4, 2)
    with pytest.raises(ag.TargetError, match="No channel was asked for"):
        top_patches(model, scan, "relu", (), 2)
    with pytest.raises(ag.LayerError, match="kept no layer"):
        top_patches(model, scan, "last", k=2)
    with pytest.raises(ag.LayerError, match="no layer 'nowhere'"):
        top_patches(model, scan, "nowhere", k=2)
    with pytest.raises(ag.OptionError, match="holds no image: 1 were left out, the first because: broken"):
        top_patches(model, replace(scan, ids=scan.ids[:0], names=(), failures=[("a.png", "broken")]))
    other = model.with_parameters({"dense.bias": np.ones(2, np.float32)})
    with pytest.raises(ag.OptionError, match="another network"):
        top_patches(other, scan)


def test_photos_that_have_gone_are_told(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, picture in enumerate(images()[:6]):
        Image.fromarray(picture).save(photos / f"{number}.png")
    model = chain()
    scan = scanned(model, tmp_path, photos)
    (photos / "3.png").write_bytes(b"no longer a picture")
    found = top_patches(model, scan, "relu", 0, 2)
    assert [one.name for one in found.units[0].examples] == ["5.png"]
    assert any(note.startswith("3.png: ") for note in found.notes)
    for path in photos.iterdir():
        path.write_bytes(b"")
    with pytest.raises(ag.FileError, match="None of 2 images"):
        top_patches(model, scan, "relu", 0, 2)
    streamed = scanned(model, tmp_path / "stream", iter(images()))
    with pytest.raises(ag.FileError, match="give them to Scan"):
        top_patches(model, ag.Scan.open(streamed.folder), "relu", 0)
