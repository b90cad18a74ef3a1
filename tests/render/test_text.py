"""No word is lost, none runs over its edge, and none becomes an empty box."""

import numpy as np
import pytest
from PIL import ImageFont

from agnoscope.errors import OptionError
from agnoscope.render.text import FAINT, Face, legible, wrapped


def test_text_is_cut_between_words():
    assert wrapped("one two three four", 9, len) == ["one two", "three", "four"]


def test_a_word_longer_than_a_line_is_cut_inside():
    assert wrapped("a features.denseblock4 b", 8, len) == ["a", "features", ".densebl", "ock4 b"]


def test_every_letter_is_kept_even_where_none_has_room():
    assert wrapped("ab c", 0, len) == ["a", "b", "c"]


def test_line_breaks_are_kept_and_empty_text_has_no_lines():
    assert wrapped("one\ntwo", 99, len) == ["one", "two"]
    assert wrapped(" \n ", 99, len) == []


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("Egyptian cat [286] · 12.3 (µ)", "Egyptian cat [286] · 12.3 (u)"),
        ("naïve café → 3 × 4 − 1", "naive cafe -> 3 x 4 - 1"),
        ("weiß łódź Ærø", "weiss lodz ?ro"),
        ("ねこ", "??"),
        ("zero\u200bwidth e\u0301 \x07", "zerowidth e "),
        ("one\ntwo", "one\ntwo"),
    ],
)
def test_what_the_font_lacks_is_written_with_what_it_has(text, drawn):
    assert legible(text) == drawn


def test_block_is_as_wide_as_asked_at_most_and_has_ink():
    block = Face().block("a title of several words and averyveryverylongword", 14, 90)
    ink = np.asarray(block).min(axis=2) < 128
    assert block.width <= 90
    assert ink.any()
    assert not ink[:, -1].any() or block.width < 90
    assert Face().block("", 14, 90).height == 0


def test_block_has_its_colour():
    assert (np.asarray(Face(2).block("III", 20, 90, FAINT)).reshape(-1, 3) == FAINT).all(axis=1).any()


def test_density_scales_text():
    one, two = (Face(density).block("some text", 14, 1000) for density in (1, 2))
    assert two.height == pytest.approx(2 * one.height, abs=1)
    assert two.width == pytest.approx(2 * one.width, rel=0.1)


def test_font_of_the_users_own(tmp_path):
    file = tmp_path / "own.ttf"
    file.write_bytes(ImageFont.load_default(12).path.getvalue())
    own, ours = (Face(font=font).block("text", 14, 100) for font in (file, None))
    # The same letters, but laid out for any script, and so by a hair elsewhere.
    assert own.size == pytest.approx(ours.size, abs=2)
    assert (np.asarray(own) < 128).any()
    assert legible("é", file) == "e"


def test_file_that_is_no_font_is_refused(tmp_path):
    (tmp_path / "no.ttf").write_text("nothing")
    for name in ("no.ttf", "missing.ttf"):
        with pytest.raises(OptionError, match=f"{name}.* is no font file"):
            Face(font=tmp_path / name).block("text", 14, 100)
