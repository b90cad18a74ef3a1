"""Superpixels follow colours; a graph cut is the cheapest of all partings; a map's object is found by its colours."""

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.measure import label

from agnoscope import OptionError, Saliency, wrap
from agnoscope.segmentation import GAMMA, graph_cut, object_mask, superpixels
from agnoscope.testing import images, linear_network

RNG = np.random.default_rng(1)
ROWS, COLUMNS = np.ogrid[:60, :80]
DISC = (ROWS - 30) ** 2 + (COLUMNS - 45) ** 2 < 15**2


def scene() -> NDArray[np.uint8]:
    """A reddish disc before bluish noise."""
    colours = np.where(DISC[..., None], [200, 60, 50], [60, 70, 180])
    return (colours + RNG.integers(-25, 25, (60, 80, 3))).astype(np.uint8)


def pointing(inside: bool = True) -> NDArray[np.float64]:
    """A noisy map that is high on a part of the disc, and low far from it."""
    distance = np.hypot(ROWS - 33, COLUMNS - 50)
    return (1 if inside else -1) * np.exp(-distance / 8) + RNG.uniform(0, 0.05, (60, 80))


# -- superpixels ------------------------------------------------------------------------------------------------


def test_superpixels_are_numbered_connected_and_keep_to_colours() -> None:
    labels = superpixels(scene(), 30)
    count = labels.max() + 1
    assert set(np.unique(labels)) == set(range(count))
    assert 20 <= count <= 40
    for number in range(count):
        piece = labels == number
        assert label(piece, connectivity=1).max() == 1
        assert DISC[piece].mean() < 0.2 or DISC[piece].mean() > 0.8


def test_superpixels_do_not_depend_on_the_dtype_or_the_scale() -> None:
    photo = scene()
    for same in (photo.astype(np.float32), photo.astype(np.float64), np.float32(4) * photo):
        np.testing.assert_array_equal(superpixels(same), superpixels(photo))


def test_noise_falls_into_superpixels_too() -> None:
    assert 40 <= superpixels(RNG.uniform(size=(224, 224, 3))).max() + 1 <= 60


@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 7), (5, 7, 1), (5, 7, 4)])
def test_superpixels_of_little_images(shape: tuple[int, ...]) -> None:
    labels = superpixels(RNG.uniform(size=shape), 6)
    assert labels.shape == shape[:2]
    assert labels.min() == 0
    assert not superpixels(np.zeros(shape), 1).any()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((np.zeros(5), 3), r"shape \(5,\) has no superpixels"),
        ((np.zeros((2, 5, 7, 3)), 3), "no superpixels"),
        ((np.zeros((5, 7, 3)), 0), "count=0 must be at least 1"),
        ((np.zeros((5, 7, 3)), 3, 0), "compactness=0 above 0"),
    ],
)
def test_superpixels_refuse_what_makes_no_sense(given: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        superpixels(*given)


# -- the graph cut ----------------------------------------------------------------------------------------------


def cost(mask: NDArray[Any], odds: NDArray[Any], pixels: NDArray[Any]) -> Any:
    """Of a parting, less a constant: colours in the wrong part, and bonds that are broken."""
    squares = [np.square(np.diff(pixels, axis=axis)).sum(axis=-1) for axis in (0, 1)]
    mean = np.concatenate([s.ravel() for s in squares]).mean()
    broken = [np.diff(mask.astype(int), axis=axis) != 0 for axis in (0, 1)]
    bonds = sum((GAMMA * np.exp(-s / (2 * mean)) * b).sum() for s, b in zip(squares, broken, strict=True))
    return bonds - odds[mask].sum()


@pytest.mark.parametrize("scale", [20, 60, 150])
def test_no_parting_costs_less_than_the_cut(scale: float) -> None:
    all_masks = [np.array(bits).reshape(3, 3) for bits in product((False, True), repeat=9)]
    for _ in range(20):
        odds, pixels = scale * RNG.normal(size=(3, 3)), RNG.uniform(size=(3, 3, 2))
        cheapest = min(cost(mask, odds, pixels) for mask in all_masks)
        assert cost(graph_cut(odds, pixels), odds, pixels) == pytest.approx(cheapest, abs=0.05)


# -- the object -------------------------------------------------------------------------------------------------


def overlap(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Intersection over union."""
    return float((one & other).sum() / (one | other).sum())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scale", [1, 2])
def test_a_map_that_points_at_a_part_finds_the_whole(channels: int, scale: int) -> None:
    image = np.kron(scene()[..., :channels], np.ones((scale, scale, 1)))  # larger than the map: made smaller
    found = object_mask(pointing(), image)
    assert found.shape == (1, 60, 80)
    assert found.dtype == np.bool_
    assert overlap(found[0], DISC) > 0.9
    both = object_mask(np.stack([pointing(), pointing(inside=False)]), np.stack([image, image]))
    assert overlap(both[0], DISC) > 0.9
    assert overlap(both[1], DISC) < 0.1


def test_only_the_largest_piece_is_the_object() -> None:
    image = scene()
    image[:8, :8] = (200, 60, 50)
    found = object_mask(pointing(), image)[0]
    assert not found[:8, :8].any()
    assert label(found, connectivity=1).max() == 1


def test_an_explanation_brings_its_photos() -> None:
    plain = Saliency()(wrap(linear_network()), images(2), 1)
    large = np.repeat(np.repeat(scene(), 3, axis=0), 2, axis=1)
    found = replace(plain, values=np.stack([pointing()] * 2), photos=(scene(), large))
    masks = object_mask(found)
    assert masks.shape == (2, 60, 80)
    assert all(overlap(mask, DISC) > 0.9 for mask in masks)
    elsewhere = np.stack([scene()[:, ::-1]] * 2)
    assert overlap(object_mask(found, elsewhere)[0], DISC) < 0.9


@pytest.mark.parametrize("value", [0.0, 0.7, np.nan])
def test_a_map_that_points_at_nothing_has_an_empty_mask(value: float) -> None:
    assert not object_mask(np.full((60, 80), value), scene()).any()
    spoiled = pointing()
    spoiled[0, 0] = np.nan
    assert not object_mask(spoiled, scene()).any()


def test_an_image_of_one_colour_is_one_piece_or_none() -> None:
    found = object_mask(pointing(), np.full((60, 80, 3), 0.5))
    assert found.all() or not found.any()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"foreground": 0.2}, r"background=0\.3 and foreground=0\.2 must rise"),
        ({"background": -0.1}, r"background=-0\.1"),
        ({"image": None}, "Maps alone have no colours"),
        ({"image": np.zeros((2, 60, 80, 3))}, r"shape \(1, 60, 80\) do not go with images of shapes"),
        ({"image": np.zeros((60, 80, 2))}, "1 or 3 channels"),
    ],
)
def test_it_refuses_what_makes_no_sense(given: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        object_mask(**{"explanation": pointing(), "image": scene(), **given})
