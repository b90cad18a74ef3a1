"""The layout, read off the finished figure: every panel there, whole, in its place."""

import numpy as np
import pytest

from agnoscope.render.colour import Scale, table
from agnoscope.render.panels import Bar, Panel, beside, compose, readable, stacked
from agnoscope.render.text import Face

RED, GREEN, BLUE, PINK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 0, 255)
BAR = Bar(table("viridis"), Scale(0, 0.31), "own scale, max 0.31")


def panel(colour, height=50, width=150, **words):
    return Panel(np.full((height, width, 3), colour, np.uint8), **words)


def box(figure, colour):
    """Left, top, right and bottom of a colour, which must fill this rectangle."""
    there = (np.asarray(figure) == colour).all(axis=2)
    rows, columns = np.flatnonzero(there.any(axis=1)), np.flatnonzero(there.any(axis=0))
    assert there[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all(), "something overlaps it"
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def strip(figure, bar=BAR):
    """Where a colour bar lies: left, right, and its rows."""
    first, last = ((np.asarray(figure) == bar.colours[i]).all(axis=2) for i in (3, -4))
    rows = np.flatnonzero(first.any(axis=1) & last.any(axis=1))
    return np.flatnonzero(first.any(axis=0))[0], np.flatnonzero(last.any(axis=0))[-1], rows


def white_edge(figure, width=10):
    pixels = np.asarray(figure)
    edges = (pixels[:width], pixels[-width:], pixels[:, :width], pixels[:, -width:])
    return all((edge == 255).all() for edge in edges)


def test_panels_are_whole_and_lie_in_rows_and_columns():
    figure = compose([[panel(RED), panel(GREEN, 40, 130)], [panel(BLUE), panel(PINK)]])
    red, green, blue, pink = (box(figure, colour) for colour in (RED, GREEN, BLUE, PINK))
    assert (red[2] - red[0], red[3] - red[1]) == (150, 50)
    assert (green[2] - green[0], green[3] - green[1]) == (130, 40)
    assert red[1] == green[1]
    assert blue[1] == pink[1] > red[3]
    assert red[0] == blue[0]
    assert green[0] == pink[0] > red[2]


def test_pictures_of_a_row_are_level_whatever_is_written_above_them():
    long = "a title that is so long that it takes several lines above its picture"
    figure = compose([[panel(RED, title=long, subtitle=long), panel(GREEN, title="short"), panel(BLUE)]])
    left, top, right, _ = box(figure, GREEN)
    assert {box(figure, colour)[1] for colour in (RED, BLUE)} == {top}
    near = np.asarray(figure)[top - 60 : top, left:right].min(axis=2) < 128
    assert near.any(), "a short title stands right above its picture"
    assert white_edge(figure)


def test_figure_grows_with_columns_rows_and_words():
    one = compose([[panel(RED)] * 2])
    assert compose([[panel(RED)] * 3]).width == one.width + 150 + 12
    assert compose([[panel(RED)] * 2] * 2).height == one.height + 50 + 12
    assert compose([[panel(RED)] * 2], title="method", subtitle="layer").height > one.height + 20
    assert compose([[panel(RED)] * 2], notes=["all zero", "careful"]).height > one.height + 20
    assert compose([[panel(RED)] * 2], bar=BAR).height > one.height + 30


@pytest.mark.parametrize("side", [8, 60, 300])
def test_words_are_never_cut(side):
    words = {"title": "w" * 200, "subtitle": "a long line of words " * 5}
    figure = compose(
        [[panel(RED, side, side, **words, bar=BAR)]], **words, notes=["w" * 300], bar=BAR, labels=["y" * 90]
    )
    assert white_edge(figure)


def test_words_have_room_above_a_small_picture():
    figure = compose([[panel(RED, 8, 8, title="a title"), panel(GREEN, 8, 8)]])
    assert box(figure, GREEN)[0] - box(figure, RED)[0] >= 120
    assert compose([[panel(RED, 8, 8), panel(GREEN, 8, 8)]]).height < figure.height


def test_a_short_row_leaves_its_place_free():
    figure = compose([[panel(RED), panel(GREEN)], [panel(BLUE)]])
    assert box(figure, BLUE)[0] == box(figure, RED)[0]


def test_bar_of_the_figure_lies_below_all_panels():
    figure = compose([[panel(RED), panel(GREEN)]], bar=BAR)
    left, right, rows = strip(figure)
    assert rows[0] > box(figure, RED)[3]
    assert left - box(figure, RED)[0] < 10
    assert right < figure.width - 10


def test_bar_of_a_panel_lies_below_it_and_is_as_wide():
    figure = compose([[panel(RED), panel(GREEN, bar=BAR)]])
    left, right, rows = strip(figure)
    assert rows[0] >= box(figure, GREEN)[3]
    assert abs(left - box(figure, GREEN)[0]) < 6
    assert abs(right - box(figure, GREEN)[2]) < 6


def test_bar_has_numbers_below_it():
    figure = compose([[panel(RED)]], bar=Bar(table("viridis"), Scale(0, 0.31)))
    rows = strip(figure)[2]
    below = np.asarray(figure)[rows[-1] + 6 :]
    ink = np.flatnonzero((below.max(axis=2) < 100).any(axis=0))
    assert ink[0] < 20, "the low end is written"
    assert ink[-1] > strip(figure)[1] - 10, "and the high end"


def test_bar_of_zeros_has_one_number():
    compose([[panel(RED)]], bar=Bar(table("viridis"), Scale()))


def test_labels_stand_at_the_left_of_their_rows():
    figure = compose([[panel(RED, width=400)], [panel(BLUE)]], labels=["cat.jpg", ""], bar=BAR)
    left, top, _, bottom = box(figure, RED)
    ink = np.asarray(figure)[:, : left - 5].min(axis=2) < 128
    rows = np.flatnonzero(ink.any(axis=1))
    assert top <= rows[0]
    assert rows[-1] < bottom
    assert abs((rows[0] + rows[-1]) - (top + bottom)) < 6, "in the middle"
    wrapped = compose([[panel(RED, width=400)]], labels=["a long label in several lines"])
    assert box(wrapped, RED)[0] > left + 30
    assert abs(strip(figure)[0] - left) < 6, "the bar begins below the pictures"


def test_density_doubles_everything_but_the_pictures():
    one, two = (compose([[panel(RED, title="title")]], title="t", face=Face(density)) for density in (1, 2))
    assert box(two, RED)[2] - box(two, RED)[0] == 150
    assert box(two, RED)[1] == pytest.approx(2 * box(one, RED)[1], abs=3)


def test_layout_is_deterministic():
    first, second = (
        compose([[panel(RED, title="a", bar=BAR), panel(GREEN)]], title="t", notes=["n"], labels=["l"])
        for _ in range(2)
    )
    assert first.tobytes() == second.tobytes()


def test_stacked_and_beside_leave_the_gap_between():
    one = compose([[panel(RED)]])
    assert stacked([one, one], 5).size == (one.width, 2 * one.height + 5)
    assert beside([one, one], 5).size == (2 * one.width + 5, one.height)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (-0.0, "0"),
        (0.31, "0.31"),
        (-12.345, "-12.3"),
        (999.4, "999"),
        (999.6, "1000"),
        (12345.6, "12346"),
        (1234567, "1.2e6"),
        (-0.00001234, "-1.2e-5"),
        (0.001, "0.001"),
        (float("nan"), "nan"),
    ],
)
def test_numbers_are_readable(value, text):
    assert readable(value) == text
