"""What stands for nothing: names, colours and pictures."""

from typing import Any

import numpy as np
import pytest

from agnoscope import OptionError
from agnoscope.explainers.fillings import Picture, check_fill, filling, hashable, several
from agnoscope.images import InputSpec

SIZE = (4, 6)
IMAGE = np.random.default_rng(0).uniform(0.2, 0.8, (*SIZE, 3)).astype(np.float32)
SPEC = InputSpec(range=(0, 255), mean=(51, 102, 204), std=2, channels="RGB")
PIXELS = np.random.default_rng(1).uniform(size=(*SIZE, 3))


@pytest.mark.parametrize(
    ("fill", "expected"),
    [
        ("black", 0.0),
        ("white", 1.0),
        ("gray", 0.5),
        ("mean", IMAGE.mean(axis=(0, 1))),
        ("zero", (0.2, 0.4, 0.8)),
        (0.3, 0.3),
        ((0.1, 0.2, 0.3), (0.1, 0.2, 0.3)),
        (Picture(PIXELS), PIXELS),
        (Picture(PIXELS[..., :1]), PIXELS[..., :1]),
    ],
    ids=str,
)
def test_a_fill_is_a_picture_of_the_image(fill: Any, expected: Any) -> None:
    check_fill("fill", fill, SPEC, SIZE)
    found = filling(fill, IMAGE, SPEC)
    assert (found.shape, found.dtype) == (IMAGE.shape, IMAGE.dtype)
    np.testing.assert_allclose(found, np.broadcast_to(expected, IMAGE.shape), rtol=1e-6)


def test_zero_is_what_the_network_receives_as_zero() -> None:
    for channels in ("RGB", "BGR"):
        spec = InputSpec(range=(0, 255), mean=(51, 102, 204), channels=channels)
        np.testing.assert_allclose(spec.prepare(np, filling("zero", IMAGE, spec)), 0, atol=1e-4)


def test_blur_keeps_the_mean_and_takes_the_detail() -> None:
    image = np.random.default_rng(2).uniform(size=(64, 64, 3))
    found = filling("blur", image, SPEC)
    assert abs(found.mean() - image.mean()) < 0.01
    assert found.std() < 0.2 * image.std()


def test_pictures_are_options_that_can_be_compared() -> None:
    one, same, other = (hashable(pixels) for pixels in (PIXELS, PIXELS.copy(), PIXELS[::-1]))
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert str(one).startswith("picture 4 × 6 × 3 (")
    assert hashable(PIXELS[..., 0]).pixels.shape == (4, 6, 1)
    assert hashable(np.array([0.1, 0.2, 0.3])) == (0.1, 0.2, 0.3)
    assert hashable(["black", PIXELS]) == ("black", one)
    assert hashable("black") == "black"
    assert hashable(np.stack([PIXELS, PIXELS[::-1]])) == (one, other)


def test_one_or_several() -> None:
    assert several("black") == ("black",)
    assert several((0.1, 0.2, 0.3)) == ((0.1, 0.2, 0.3),)
    assert several(("black", "white")) == ("black", "white")
    assert several(((0.1, 0.2, 0.3), 0.5)) == ((0.1, 0.2, 0.3), 0.5)


@pytest.mark.parametrize(
    ("fill", "says"),
    [
        ("pink", "'pink' is unknown: use 'black', 'white'"),
        ((0.1, 0.2), "one number or 3"),
        (None, "one number or 3"),
        (1.5, "not within the bounds"),
        (float("nan"), "not within the bounds"),
        (Picture(PIXELS[:2]), r"of shape \(4, 6, 3\)"),
        (Picture(PIXELS + 1), "not within the bounds"),
    ],
    ids=str,
)
def test_what_fills_nothing_is_refused(fill: Any, says: str) -> None:
    with pytest.raises(OptionError, match=says):
        check_fill("baseline", fill, SPEC, SIZE)
