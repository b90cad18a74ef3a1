"""The gallery: what is written at made images, and changed ones between their before and their change."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from agnoscope.errors import OptionError
from agnoscope.render import gallery
from agnoscope.synthesis import Making, Synthesis


def made(count: int = 3, change: Any = None, told: bool = True, **facts: Any) -> Synthesis:
    """Dark gray images, changed by so much if at all."""
    images = np.full((count, 4, 5, 3), 0.4) + (0 if change is None else change)
    extras: dict[str, Any] = {} if change is None else {"change": images - 0.4}
    if change is not None and told:
        extras |= {
            "answer before": np.array(["dog [0]"] * count),
            "answer": np.array(["cat [1]"] * count),
            "confidence before": np.full(count, 1.2e-8),
            "confidence": np.full(count, 0.961),
            "largest change": np.full(count, 0.0157),
            "mean change": np.full(count, 0.008),
        }
    names = tuple(f"cat [{i}]" for i in range(1, count + 1))
    words = {"method": "fooling", "options": {}, "targets": names, "scores": (1.5,) * count, "steps": 1}
    making = Making(**{**words, "finished": True, "backend": "torch", "versions": {}, "input": {}, "seed": 0, **facts})
    return Synthesis(images, (0.0, 1.0), names, making, np.zeros((1, count)), extras=extras)


@pytest.fixture
def drawn(monkeypatch):
    """The rows of panels that the gallery hands to the compositor."""

    def draw(synthesis: Synthesis, **options: Any):
        monkeypatch.setattr(gallery, "compose", lambda rows: rows)
        return gallery.gallery(synthesis, **options)

    return draw


def test_answer_is_named_where_it_is_not_the_target(drawn):
    answers = ((("cat [1]", 0.991),), (("dog [0]", 0.5),), (("cat [3]", 1.0),))
    panels = [panel for row in drawn(made(answers=answers)) for panel in row]
    assert [panel.title for panel in panels] == ["cat [1]", "cat [2]", "cat [3]"]
    assert [panel.subtitle for panel in panels] == ["1.5, 99.1%", "1.5, dog [0] 50.0%", "1.5, 100.0%"]


def test_made_images_stand_in_a_square(drawn):
    assert [len(row) for row in drawn(made(5))] == [3, 2]
    assert [len(row) for row in drawn(made(5), columns=4)] == [4, 1]


def photos(count: int) -> dict[str, Any]:
    return {"photos": (np.zeros((4, 5, 3), np.uint8),) * count, "captions": ("photo",) * count}


def test_what_several_layers_know_stands_in_a_row_beside_the_photo(drawn):
    ((photo, *images),) = drawn(replace(made(5), **photos(1)))
    assert photo.title == "photo"
    assert len(images) == 5
    assert [len(row) for row in drawn(replace(made(5), **photos(1)), columns=2)] == [3, 2, 1]
    assert [len(row) for row in drawn(replace(made(9), **photos(1)))] == [9, 1]


def test_every_image_stands_beside_its_own_photo(drawn):
    rows = drawn(replace(made(4), **photos(4)))
    assert [[panel.title for panel in row] for row in rows] == [
        ["photo", "cat [1]", "photo", "cat [2]"],
        ["photo", "cat [3]", "photo", "cat [4]"],
    ]


def test_a_distance_is_told_by_its_name(drawn):
    ((panel,),) = drawn(replace(made(1), extras={"distance": np.array([0.25])}))
    assert panel.subtitle == "distance 0.25"


def test_a_changed_image_tells_its_score_where_nothing_is_known_of_the_answer(drawn):
    ((_, _, after),) = drawn(made(1, 0.1, told=False))
    assert (after.title, after.subtitle) == ("cat [1]", "1.5")


def test_a_changed_image_stands_after_its_before_and_its_change(drawn):
    change = np.zeros((4, 5, 3))
    change[0] = 4 / 255
    ((before, between, after),) = drawn(made(1, change))
    assert np.unique(before.picture).tolist() == [102]
    assert np.unique(after.picture[0] - before.picture[0]).tolist() == [4]
    # Half the span holds 4/255 thirty-two times: 20 is the next round number.
    assert np.unique(between.picture).tolist() == [128, 208]
    assert (before.title, before.subtitle) == ("dog [0]", "cat [1]: 1.2e-6 %")
    assert (between.title, between.subtitle) == ("change × 20", "largest 1.57 %, mean 0.8 % of the span")
    assert (after.title, after.subtitle) == ("cat [1]", "cat [1]: 96.1 %")


@pytest.mark.parametrize(("size", "factor"), [(0.0, 1000), (1e-4, 1000), (0.02, 20), (0.05, 10), (0.4, 1), (0.9, 1)])
def test_changes_are_magnified_by_round_numbers_that_fit(drawn, size, factor):
    ((_, between, _),) = drawn(made(1, np.full((4, 5, 3), -size), told=False))
    assert between.title == f"change × {factor}"


def test_every_changed_image_has_a_row_unless_columns_are_asked_for(drawn):
    assert [len(row) for row in drawn(made(3, 0.1))] == [3, 3, 3]
    assert [len(row) for row in drawn(made(3, 0.1), columns=2)] == [6, 3]


def test_titles_of_changed_images(drawn):
    own = drawn(made(2, 0.1), titles=["one", "two"])
    assert [row[2].title for row in own] == ["one", "two"]
    assert {panel.title for row in drawn(made(2, 0.1), titles=False) for panel in row} == {""}
    with pytest.raises(OptionError, match="1 titles were given for 2 images"):
        drawn(made(2, 0.1), titles=["one"])


def test_it_draws():
    assert made(2, 0.1).draw().mode == "RGB"
    assert made(2).draw().mode == "RGB"
