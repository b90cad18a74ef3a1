"""Phases that move and magnitudes that do not."""

from dataclasses import replace

import numpy as np
import pytest
import skimage.data

from agnoscope.errors import ImageError
from agnoscope.optimisation.canvas import Canvas
from agnoscope.optimisation.parameterisations.colours import unpainted
from agnoscope.optimisation.parameterisations.fixed_magnitude import FixedMagnitude
from tests.optimisation.parameterisations.programs import CANVASES, SHAPES, generators, images

everywhere = pytest.mark.parametrize("canvas", [replace(c, dtype="float64") for c in CANVASES], ids=SHAPES)


def spectrum(made: FixedMagnitude, canvas: Canvas, pictures: np.ndarray) -> np.ndarray:
    return np.fft.rfft2(unpainted(canvas, pictures, made.decorrelated)) * 2 / np.prod(canvas.size)


@everywhere
def test_whatever_the_phases_the_magnitudes_are_the_given_ones(canvas: Canvas) -> None:
    made = FixedMagnitude(contrast=0.5)
    magnitude = made.constants(canvas)["magnitude"]
    found = np.abs(spectrum(made, canvas, images(made, canvas, made.start(canvas, generators(3)))))
    there = magnitude > 0
    np.testing.assert_allclose(found[:, there], np.broadcast_to(magnitude[there], (3, there.sum())), rtol=1e-6)
    # What else there is are the other halves of these waves.
    height = canvas.size[0]
    conjugate = there[:, (-np.arange(height)) % height] & ~there
    assert found[:, ~there & ~conjugate].max() < 1e-9


@everywhere
def test_the_contrast_is_the_deviation_before_the_sigmoid(canvas: Canvas) -> None:
    made = FixedMagnitude(contrast=0.7)
    planes = unpainted(canvas, images(made, canvas, made.start(canvas, generators(2))), made.decorrelated)
    np.testing.assert_allclose(planes.std(axis=(2, 3)), 0.7, rtol=1e-6)
    np.testing.assert_allclose(planes.mean(axis=(2, 3)), 0, atol=1e-9)


def test_magnitudes_fall_as_one_by_frequency() -> None:
    magnitude = FixedMagnitude().constants(Canvas((16, 32), dtype="float64"))["magnitude"][0]
    assert magnitude[0, 2] / magnitude[0, 4] == pytest.approx(2)
    assert magnitude[1, 0] / magnitude[4, 0] == pytest.approx(4)
    assert magnitude[1, 2] == pytest.approx(magnitude[0, 2] / np.sqrt(2))  # as far up as to the right


@everywhere
def test_parameters_of_its_own_images_are_the_same_phases(canvas: Canvas) -> None:
    made = FixedMagnitude()
    pictures = images(made, canvas, made.start(canvas, generators(2)))
    np.testing.assert_allclose(images(made, canvas, made.of(canvas, pictures)), pictures, atol=1e-9)


@pytest.mark.parametrize("size", [(32, 32), (31, 40)])
def test_a_photo_is_its_own_magnitudes_and_phases(size: tuple[int, int]) -> None:
    canvas, made = Canvas(size, dtype="float64"), FixedMagnitude(skimage.data.chelsea())
    plain = made.constants(canvas)["magnitude"]
    assert plain.shape == (3, size[0], size[1] // 2 + 1)
    photo = images(FixedMagnitude(), canvas, FixedMagnitude().start(canvas, generators(1)))
    own = FixedMagnitude(photo[0])
    np.testing.assert_allclose(images(own, canvas, own.of(canvas, photo)), photo, atol=1e-9)
    np.testing.assert_allclose(own.constants(canvas)["magnitude"], FixedMagnitude().constants(canvas)["magnitude"])


def test_magnitudes_of_photos_are_their_mean() -> None:
    canvas = Canvas((24, 24), dtype="float64")
    one, other = skimage.data.chelsea(), skimage.data.coffee()
    apart = [FixedMagnitude(photo).constants(canvas)["magnitude"] for photo in (one, other)]
    both = FixedMagnitude([one, other]).constants(canvas)["magnitude"]
    np.testing.assert_allclose(both, (apart[0] + apart[1]) / 2)


def test_other_photos_share_what_is_compiled() -> None:
    assert FixedMagnitude(skimage.data.chelsea()) == FixedMagnitude(skimage.data.coffee()) == FixedMagnitude()
    assert hash(FixedMagnitude(skimage.data.chelsea())) == hash(FixedMagnitude())


def test_whole_turns_are_taken_off() -> None:
    canvas = Canvas((6, 8), dtype="float64")
    made = FixedMagnitude()
    start = made.start(canvas, generators(1))
    kept = made.kept(canvas, {"phase": start["phase"] + 14 * np.pi})
    np.testing.assert_allclose(kept["phase"], start["phase"], atol=1e-12)


def test_a_photo_must_be_one() -> None:
    with pytest.raises(ImageError, match="no image file"):
        FixedMagnitude("nowhere.png").constants(Canvas((8, 8)))
