"""A map over a photo, judged pixel by pixel."""

import numpy as np
import pytest
from cmap import Colormap

from agnoscope.render.blend import booked, fitted, muted, overlaid, resized
from agnoscope.render.colour import Scale, table

INFERNO = table()


@pytest.mark.parametrize(
    ("shape", "shown"),
    [((300, 400), (75, 100)), ((400, 300), (100, 75)), ((5, 5), (100, 100)), ((1, 900), (1, 100))],
)
def test_fitted_photo_keeps_its_proportions(shape, shown):
    assert fitted(np.zeros((*shape, 3), np.uint8), 100).shape == (*shown, 3)


def test_photo_of_the_right_size_stays_as_it_is(photo):
    assert (fitted(photo, 40) == photo).all()


def test_enlarging_is_bilinear_with_half_pixel_centres():
    assert np.allclose(resized(np.array([[0.0, 1.0]]), (2, 4)), [[0, 0.25, 0.75, 1]] * 2)


def test_enlarging_without_smoothing_repeats_the_values():
    assert resized(np.array([[1.0, -2.0]]), (2, 4), smooth=False).tolist() == [[1, 1, -2, -2]] * 2


def test_shrinking_averages():
    lines = np.tile([8.0, 0, 0, 0, 0, 0, 0, 0], (8, 8))
    assert np.allclose(resized(lines, (8, 8))[:, 1:-1], 1, atol=0.3)


def test_values_are_not_rescaled():
    assert np.allclose(resized(np.full((2, 2), -300.0, np.float32), (5, 5)), -300)


def test_zero_map_leaves_the_photo(photo):
    zero = np.zeros((7, 7))
    assert (overlaid(photo, zero, Scale(), INFERNO, gray=0) == photo).all()
    assert (overlaid(photo, zero, Scale(0, 1), INFERNO, gray=0) == photo).all()
    assert (overlaid(photo, zero, Scale(0, 1), INFERNO) == np.rint(muted(photo))).all()


def test_muted_photo_keeps_its_brightness_and_loses_its_colour(photo):
    gray = muted(photo, 1)
    assert np.allclose(gray, gray[..., :1])
    assert np.allclose(gray[..., 0], photo @ (0.299, 0.587, 0.114))
    assert (muted(photo, 0) == photo).all()


def test_largest_value_covers_by_alpha(photo):
    full = np.ones((3, 3))
    assert (overlaid(photo, full, Scale(0, 1), INFERNO, alpha=1) == INFERNO[-1]).all()
    half = overlaid(photo, full, Scale(0, 1), INFERNO, alpha=0.5, gray=0)
    assert (half == np.rint(photo + 0.5 * (INFERNO[-1].astype(float) - photo))).all()
    assert (overlaid(photo, full, Scale(0, 1), INFERNO, alpha=0, gray=0) == photo).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_a_larger_value_covers_more(sign):
    black = np.zeros((1, 5, 3), np.uint8)
    white = np.full((3, 3), 255, np.uint8)
    covered = overlaid(black, sign * np.array([[0, 1, 2, 3, 4.0]]), Scale(-4, 4), white)[0, :, 0]
    assert covered[0] == 0
    assert (np.diff(covered.astype(int)) > 0).all()


def test_constant_cover_is_the_same_for_every_value(photo):
    white = np.full((3, 3), 255, np.uint8)
    drawn = overlaid(photo, np.zeros((2, 2)), Scale(0, 1), white, alpha=0.5, constant=True, gray=0)
    assert (drawn == np.rint(photo + 0.5 * (255.0 - photo))).all()


def test_the_book_adds_its_jet_and_stretches(photo):
    photo = photo // 2 + 60
    values = np.linspace(0, 2, 30 * 40).reshape(30, 40)
    jet = np.rint(255 * Colormap("matlab:jet").lut(256)[:, :3])[(255 * values / 2).astype(np.uint8)]
    total = jet * 0.4 + photo
    expected = (total - total.min()) / (total.max() - total.min()) * 255
    assert np.abs(booked(photo, values, Scale(0, 2)).astype(float) - np.floor(expected)).max() <= 1
    assert booked(photo, values, Scale(0, 2)).min() == 0
    assert booked(photo, values, Scale(0, 2)).max() == 255


def test_the_book_survives_black_photos_and_zero_maps():
    black = np.zeros((4, 4, 3), np.uint8)
    assert booked(black, np.zeros((4, 4)), Scale()).tolist() == [[[0, 0, 255]] * 4] * 4


def test_inputs_are_left_as_they_are(photo):
    values = np.array([[0.0, 1.0], [-1.0, 2.0]])
    before = photo.copy(), values.copy()
    photo.flags.writeable = values.flags.writeable = False
    overlaid(photo, values, Scale(-2, 2), INFERNO)
    booked(photo, values, Scale(0, 2))
    fitted(photo, 20)
    assert (photo == before[0]).all()
    assert (values == before[1]).all()
