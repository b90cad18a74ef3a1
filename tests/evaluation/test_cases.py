"""Images whose object is known: the bundled scenes, and folders of photos with masks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from agnoscope import FileError, ImageError, OptionError, wrap
from agnoscope.backends.reference import Dense, GlobalAverage, Network, Sigmoid, Softmax
from agnoscope.demo.models import load
from agnoscope.evaluation.cases import from_folders, probabilities, scenes
from agnoscope.photos import decode_mask
from agnoscope.testing import deep_network

SIZE = (12, 16)


def network(units: int = 3, head: Any = None, **options: Any) -> Any:
    kernel = np.random.default_rng(0).normal(size=(3, units)).astype(np.float32)
    layers: dict[str, Any] = {"gap": GlobalAverage(), "dense": Dense(kernel, np.zeros(units, np.float32))}
    return wrap(Network(layers | ({"head": head} if head else {})), input_size=SIZE, **options)


def save(path: Path, pixels: Any, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.broadcast_to(np.asarray(pixels, np.uint8), (*size, *np.shape(pixels)[2:])).copy()).save(path)


def corner(value: int = 255) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    mask[:6, :8] = value
    return mask


def test_scenes_are_true() -> None:
    model = load("honest", "reference")
    cases = scenes(model, 6, seed=3)
    assert len(cases) == 6
    outside = ~cases.masks
    np.testing.assert_array_equal(cases.images[outside], cases.backgrounds[outside])
    assert (cases.images != cases.backgrounds).any(axis=-1)[cases.masks].mean() > 0.9
    some = cases.take(np.array([4, 1]))
    assert some.names == ("scene 4", "scene 1")
    np.testing.assert_array_equal(some.images, cases.images[[4, 1]])
    assert list(some.labels) == [cases.labels[4], cases.labels[1]]
    with pytest.raises(ImageError, match="96 × 96 pixels, and the network takes 12 × 16"):
        scenes(network(), 2)


def test_photos_meet_their_masks(tmp_path: Path) -> None:
    photos, masks = tmp_path / "photos", tmp_path / "masks"
    colours = np.arange(12 * 16 * 3).reshape(12, 16, 3) % 256
    save(photos / "Ball" / "a.png", colours)
    save(photos / "other" / "b.jpg", colours)
    save(photos / "Ball" / "large.png", np.kron(colours, np.ones((2, 2, 1))), (24, 32))
    save(masks / "a.png", corner())
    save(masks / "other" / "b.png", corner(1))
    save(masks / "large.jpg", corner())
    save(photos / "alone.png", colours)
    save(photos / "empty.png", colours)
    save(masks / "empty.png", 0 * corner())
    save(photos / "full.png", colours)
    save(masks / "full.png", 0 * corner() + 9)
    save(photos / "wide.png", colours)
    save(masks / "wide.png", np.zeros((12, 40)), (12, 40))
    save(photos / "damaged.png", colours)
    (masks / "damaged.png").write_bytes(b"no picture")
    cases = from_folders(network(labels=("cube", "ball", "cone")), photos, masks)
    assert cases.names == ("Ball/a.png", "Ball/large.png", "other/b.jpg")
    assert list(cases.labels) == [1, 1, -1]
    np.testing.assert_array_equal(cases.masks, [corner() > 0] * 3)
    assert set(cases.left_out) == {"alone.png", "empty.png", "full.png", "wide.png", "damaged.png"}
    assert cases.left_out["alone.png"] == "it has no mask"
    assert "holds no object" in cases.left_out["empty.png"]
    assert "nothing but object" in cases.left_out["full.png"]
    assert "40 × 12 pixels, its photo 16 × 12" in cases.left_out["wide.png"]


def test_a_background_is_filled_in_from_around(tmp_path: Path) -> None:
    slope = np.stack([np.tile(np.arange(16) * 8, (12, 1))] * 3, axis=-1)
    there = np.zeros(SIZE, bool)
    there[4:8, 5:11] = True
    save(tmp_path / "photos" / "a.png", np.where(there[..., None], 255, slope))
    save(tmp_path / "masks" / "a.png", there * 255)
    cases = from_folders(network(), tmp_path / "photos", tmp_path / "masks")
    np.testing.assert_allclose(cases.backgrounds[0] * 255, slope, atol=0.01)


def test_folders_without_cases_are_refused(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "masks").mkdir()
    with pytest.raises(FileError, match="no folder"):
        from_folders(network(), tmp_path / "absent", tmp_path / "masks")
    save(tmp_path / "photos" / "a.png", np.zeros((12, 16, 3)))
    with pytest.raises(FileError, match="holds no photo"):
        from_folders(network(), tmp_path / "photos", tmp_path / "masks")
    save(tmp_path / "masks" / "b.png", corner())
    with pytest.raises(FileError, match=r"No photo .* has a fit mask .*a\.png: it has no mask"):
        from_folders(network(), tmp_path / "photos", tmp_path / "masks")
    sizeless = wrap(Network({"gap": GlobalAverage()}))
    with pytest.raises(OptionError, match="input_size"):
        from_folders(sizeless, tmp_path / "photos", tmp_path / "masks")


@pytest.mark.parametrize(("units", "head"), [(3, None), (3, Softmax()), (3, Sigmoid()), (1, Sigmoid()), (1, None)])
def test_probabilities_are_those_of_the_head(units: int, head: Any) -> None:
    model = network(units, head)
    images = np.random.default_rng(1).uniform(size=(5, *SIZE, 3)).astype(np.float32)
    z = images.mean(axis=(1, 2)) @ model.network.layers["dense"].kernel
    if units == 1:
        expected = 1 / (1 + np.exp(-np.concatenate([-z, z], axis=1)))
    elif isinstance(head, Sigmoid):
        expected = 1 / (1 + np.exp(-z))
    else:
        expected = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities(model, images, 2), expected, rtol=1e-5)


@pytest.mark.parametrize(
    "drawn",
    [
        lambda m: m * np.uint8(255),
        lambda m: m * np.uint8(1),
        lambda m: m * np.uint16(7),
        lambda m: np.dstack([0 * m, 0 * m, 3 * m]).astype(np.uint8),
        lambda m: np.dstack([m, m, m, 0 * m + 1]).astype(np.uint8) * np.uint8(255),
        lambda m: np.dstack([0 * m + 200] * 3 + [255 * m]).astype(np.uint8),
        lambda m: np.dstack([0 * m + 255, 255 * m]).astype(np.uint8),
    ],
    ids=["gray", "numbers", "16 bits", "dark blue", "opaque", "cut out", "gray with transparency"],
)
def test_a_mask_may_be_drawn_in_many_ways(tmp_path: Path, drawn: Any) -> None:
    shape = np.zeros((20, 28), np.uint8)
    shape[5:10, 6:12] = 1
    Image.fromarray(drawn(shape)).save(tmp_path / "mask.png")
    assert np.array_equal(decode_mask(tmp_path / "mask.png"), shape == 1)


def test_no_photo_takes_the_mask_of_another_and_no_mask_is_a_photo(tmp_path: Path) -> None:
    photo, mask = np.full((8, 8, 3), 90, np.uint8), np.eye(8, dtype=np.uint8) * 255
    for place in ("a/1.png", "b/1.png"):
        (tmp_path / place).parent.mkdir()
        Image.fromarray(photo).save(tmp_path / place)
    (tmp_path / "masks" / "a").mkdir(parents=True)
    Image.fromarray(mask).save(tmp_path / "masks" / "a" / "1.png")
    found = from_folders(wrap(deep_network(), input_size=(8, 8)), tmp_path, tmp_path / "masks")
    assert found.names == ("a/1.png",)
    assert found.left_out == {"b/1.png": "it has no mask"}
