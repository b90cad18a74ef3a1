"""Scales are judged by their numbers, before anything has a colour."""

import logging

import numpy as np
import pytest

from agnoscope.errors import OptionError
from agnoscope.render.colour import Scale, paint, sound, table


def test_scale_of_values_above_zero_begins_at_zero():
    assert Scale.fit([np.array([[0.2, 0.5]])]) == Scale(0.0, 0.5)


@pytest.mark.parametrize("values", [[-0.25, 2.0], [-2.0, 0.25], [-2.0, -0.25]])
def test_scale_of_signed_values_reaches_equally_far_to_both_sides(values):
    scale = Scale.fit([np.array(values)])
    assert (scale.low, scale.high, scale.diverging) == (-2.0, 2.0, True)


def test_one_scale_holds_all_maps():
    assert Scale.fit(np.array([[[0.0, 1.0]], [[0.0, 3.0]]])) == Scale(0.0, 3.0)
    assert Scale.fit([np.array([0.0, 5.0]), np.array([[-1.0]])]) == Scale(-5.0, 5.0)


@pytest.mark.parametrize(
    "maps", [[], [np.zeros((7, 7))], [np.zeros((0, 0))], [np.full((2, 2), np.nan)], [np.array([np.inf, 0.0])]]
)
def test_scale_without_values_is_zero(maps):
    assert Scale.fit(maps, 99) == Scale(0.0, 0.0)


def test_values_that_are_not_finite_do_not_stretch_the_scale():
    assert Scale.fit([np.array([np.nan, -np.inf, 0.5, np.inf])]) == Scale(0.0, 0.5)


def test_percentile_ends_the_scale_and_is_remembered():
    values = np.arange(1.0, 201.0)
    assert Scale.fit([values], 90) == Scale(0.0, 181.0, 90)
    assert Scale.fit([-values], 90) == Scale(-181.0, 181.0, 90)
    assert Scale.fit([values], 100) == Scale(0.0, 200.0, None), "nothing is clipped, nothing is to be told"


def test_percentile_is_that_of_the_map_where_it_is_largest():
    weak, strong = np.arange(200.0) / 1000, np.arange(200.0)
    assert Scale.fit([weak] * 9 + [strong], 90).high == Scale.fit([strong], 90).high


def test_percentile_never_clips_a_coarse_map_nor_the_only_value_of_a_map():
    coarse, sparse = np.arange(49.0).reshape(7, 7), np.zeros((50, 50))
    sparse[20, 20] = 3.0
    assert Scale.fit([coarse], 99) == Scale(0.0, 48.0)
    assert Scale.fit([sparse], 99) == Scale(0.0, 3.0)


@pytest.mark.parametrize("percentile", [0, -1, 100.5, float("nan"), "99"])
def test_percentile_outside_is_refused(percentile):
    with pytest.raises(OptionError, match="percentile="):
        Scale.fit([np.ones(3)], percentile)


def test_position_and_share():
    values = np.array([-9.0, -1.0, 0.0, 1.0, 2.0, 9.0])
    assert Scale(-2, 2).position(values).tolist() == [0, 0.25, 0.5, 0.75, 1, 1]
    assert Scale(-2, 2).share(values).tolist() == [-1, -0.5, 0, 0.5, 1, 1]
    assert Scale(0, 2).position(values).tolist() == [0, 0, 0, 0.5, 1, 1]
    assert Scale().position(values).tolist() == [0] * 6


def test_what_is_not_finite_lies_where_zero_does():
    odd = np.array([np.nan, np.inf, -np.inf])
    assert Scale(-1, 1).position(odd).tolist() == [0.5] * 3
    assert Scale(0, 1).position(odd).tolist() == [0.0] * 3


def test_tiny_and_huge_values_survive():
    for high in (5e-324, 1e-38, 1e38, 1e308):
        assert Scale.fit([np.array([0.0, high])]).position(np.array([0.0, high])).tolist() == [0, 1]


def test_ticks_are_the_ends_and_the_middle():
    assert Scale(-2, 2).ticks() == (-2, 0, 2)
    assert Scale(0, 3).ticks() == (0, 1.5, 3)
    assert Scale().ticks() == (0,)


@pytest.mark.parametrize("value", [0.0, 0.7, -3.0, np.nan, np.inf])
def test_constant_map_is_drawn_as_zeros(value):
    assert (sound(np.full((2, 3), value)) == 0).all()


def test_sound_map_keeps_its_values_and_leaves_the_original():
    values = np.array([[1.0, np.nan], [-2.0, np.inf]], dtype=np.float32)
    assert sound(values).tolist() == [[1, 0], [-2, 0]]
    assert np.isnan(values[0, 1])


def test_zero_is_the_neutral_middle_of_the_default_for_signed_maps():
    colours = table(diverging=True)
    middle = colours[len(colours) // 2].astype(int)
    assert len(colours) % 2 == 1
    assert np.ptp(middle) <= 4
    assert middle.min() > 240
    blue, red = colours[0].astype(int), colours[-1].astype(int)
    assert blue[2] > blue[0]
    assert red[0] > red[2]


def test_default_for_maps_above_zero_grows_brighter_throughout():
    brightness = table().astype(float) @ (0.299, 0.587, 0.114)
    assert brightness[0] < 5
    assert (np.diff(brightness) > -1).all()


def test_names_are_found_in_every_spelling(caplog):
    with caplog.at_level(logging.WARNING):
        assert (table("RdBu") == table("rdbu")).all()
        assert (table("RdBu") == table("colorbrewer:RdBu")).all()
        assert (table("coolwarm_r") == table("coolwarm")[::-1]).all()
    assert not caplog.records, "cmap must not warn of short names"


def test_unknown_name_is_refused_with_near_ones():
    with pytest.raises(OptionError, match=r"no colour map 'virids'.*'viridis'"):
        table("virids")


def test_a_table_is_shared_and_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        table()[0] = 0


def test_paint_gives_the_ends_and_zero_their_colours():
    colours = table("RdBu_r")
    painted = paint(np.array([[-3.0, 0.0, 3.0, np.nan]]), Scale(-3, 3), colours)
    assert painted.dtype == np.uint8
    assert painted.shape == (1, 4, 3)
    assert (painted[0] == colours[[0, 128, 256, 128]]).all()
