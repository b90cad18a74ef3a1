"""Photos at a size that the network takes: their own, the one asked for, or the network's."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import agnoscope as ag
from agnoscope.errors import ImageError, ModelError, OptionError
from agnoscope.explainers.synthesis.photos import LONGEST, photos_of, resized, settled
from agnoscope.images import load
from agnoscope.target import ClassScore
from tests.explainers.synthesis.frameworks import demo


def photo(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("size", "expected"), [(None, (60, 90)), (45, (30, 45)), ((50, 51), (50, 51)), ([50, 51], (50, 51))]
)
def test_any_size_is_taken_where_the_network_takes_it(size: Any, expected: tuple[int, int]) -> None:
    assert photos_of(demo(), photo(60, 90), size).images.shape == (1, *expected, 3)


def test_a_photo_keeps_its_pixels_at_its_own_size() -> None:
    given = photo(60, 90)
    np.testing.assert_allclose(photos_of(demo(), given).images[0], given / 255, atol=1e-6)


def test_photos_of_several_sizes_become_one_batch_where_height_and_width_are_given() -> None:
    photos = [photo(60, 90), photo(96, 96)]
    given = photos_of(demo(), photos, (96, 96))
    np.testing.assert_array_equal(given.images[1], photos[1] / np.float32(255))
    np.testing.assert_array_equal(given.images, load(photos, replace(demo().spec, size=(96, 96))).images)
    with pytest.raises(ImageError, match="different sizes"):
        photos_of(demo(), photos)


def test_a_large_photo_is_made_smaller_unless_a_size_is_given() -> None:
    large = np.zeros((40, 2 * LONGEST, 3), np.uint8)
    assert photos_of(demo(), large).images.shape[1:3] == (20, LONGEST)
    assert photos_of(demo(), large, 1100).images.shape[1:3] == (21, 1100)


def fixed() -> ag.Model:
    """A network that takes 12 × 16 pixels only."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(4 * 12 * 16, 2)
    return ag.wrap(torch.nn.Sequential(*layers).eval(), input_size=(12, 16))


def divisible() -> ag.Model:
    """A network that takes multiples of 8 only."""
    torch = pytest.importorskip("torch")

    class Grid(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            count, depth, height, width = x.shape
            return x.reshape(count, depth, height // 8, 8, width // 8, 8).mean((3, 5))

    layers = Grid(), torch.nn.Conv2d(3, 2, 1), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    return ag.wrap(torch.nn.Sequential(*layers).eval(), input_size=(24, 24))


@pytest.mark.torch
def test_a_network_of_one_size_gets_that_size() -> None:
    assert photos_of(fixed(), photo(30, 40)).images.shape == (1, 12, 16, 3)


@pytest.mark.torch
def test_a_network_of_multiples_gets_the_nearest_ones() -> None:
    assert photos_of(divisible(), photo(30, 41)).images.shape == (1, 32, 40, 3)


@pytest.mark.torch
def test_a_size_that_cannot_be_taken_is_told_with_those_that_can() -> None:
    with pytest.raises(ModelError, match=r"30 × 40 pixels; of those near it, it takes 12 × 16: give"):
        photos_of(fixed(), photo(30, 40), 40)
    with pytest.raises(ModelError, match=r"30 × 40 pixels; of those near it, it takes 32 × 40, 32 × 32, 24 × 24"):
        photos_of(divisible(), photo(30, 40), (30, 40))


def test_what_is_no_photo_or_no_size_is_refused(tmp_path: Any) -> None:
    broken = tmp_path / "broken.png"
    Image.fromarray(photo(20, 20)).save(broken)
    broken.write_bytes(broken.read_bytes()[:100])
    with pytest.raises(ImageError, match=r"broken\.png"):
        photos_of(demo(), broken)
    with pytest.raises(ImageError, match="no image file"):
        photos_of(demo(), tmp_path / "missing.png")
    for size in (0, -3, 2.5, "large", (0, 5)):
        with pytest.raises(OptionError, match="size"):
            photos_of(demo(), photo(20, 20), size)


def test_resizing_keeps_ramps_and_the_mean() -> None:
    ramp = np.broadcast_to(np.arange(8.0)[None, :, None, None], (2, 8, 6, 3))
    np.testing.assert_allclose(resized(ramp, (16, 6))[0, 1:-1, 0, 0], np.arange(1, 15) / 2 - 0.25)
    noise = np.random.default_rng(0).normal(size=(1, 8, 8, 2)).astype(np.float32)
    assert resized(noise, (4, 8)).dtype == np.float32
    assert resized(noise, (8, 8)) is noise


def test_the_first_answer_is_settled_by_the_photos() -> None:
    images = photos_of(demo(), [photo(96, 96), np.zeros((96, 96, 3), np.uint8)]).images
    bound = settled(demo(), ClassScore().bind(demo(), len(images), (96, 96)), images)
    answers = [row[0].label for row in ag.predict(demo(), images)]
    assert list(bound.names) == answers
