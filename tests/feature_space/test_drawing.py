"""Pictures of neighbours and maps: everything in its place, in its colour, and said."""

from typing import Any

import numpy as np
import pytest

from agnoscope.errors import OptionError
from agnoscope.feature_space import drawing
from agnoscope.feature_space.drawing import apart, draw_grid, draw_neighbours, draw_scatter, draw_thumbnails, positions
from agnoscope.feature_space.embedding import Embedding
from agnoscope.feature_space.labels import COLOURS, OTHER, Marks, colour, shape
from agnoscope.feature_space.neighbours import Neighbours

RNG = np.random.default_rng(6)


def map_of(points: Any, seed: int = 0) -> Embedding:
    return Embedding(np.asarray(points, np.float32), "pca", {}, seed, 0.875, 3, len(points), (0.5, 0.25), {})


def plain(value: int, shape: tuple[int, int] = (6, 6)) -> np.ndarray:
    return np.full((*shape, 3), value, np.uint8)


@pytest.fixture
def composed(monkeypatch) -> dict[str, Any]:
    """What the compositor was given."""
    given: dict[str, Any] = {}

    def compose(rows, **options):
        given.update(options, rows=rows)
        return compositor(rows, **options)

    compositor = drawing.compose
    monkeypatch.setattr(drawing, "compose", compose)
    return given


def colours(picture: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(c) for c in picture.reshape(-1, 3).tolist()}


def test_neighbours_stand_beside_their_query_with_name_and_distance(composed):
    found = Neighbours(np.array([[2, 0], [1, -1]]), np.array([[0.5, 1.25], [3, np.nan]]))
    queries = [(plain(200), "a.jpg"), (plain(210), "b.jpg")]
    draw_neighbours(queries, found, lambda row: plain(row * 10), ["zero", "one", "two"], pixels=found, side=8)
    first, below, second, _ = composed["rows"]
    assert [(p.title, p.subtitle) for p in first] == [("a.jpg", "query"), ("two", "0.5"), ("zero", "1.25")]
    assert [int(p.picture[0, 0, 0]) for p in first] == [200, 20, 0]
    assert [int(p.picture[0, 0, 0]) for p in below] == [255, 20, 0]
    assert [p.title for p in second] == ["b.jpg", "one"]  # what is missing is not drawn
    assert composed["labels"] == ["in feature space", "in pixel space"] * 2
    assert composed["subtitle"] == "Below each name its Euclidean distance."


def test_neighbours_need_their_queries():
    found = Neighbours(np.array([[0]]), np.array([[0.0]]))
    with pytest.raises(OptionError, match="Neighbours of 1 images were given for 2 queries"):
        draw_neighbours([(plain(0), "a"), (plain(0), "b")], found, lambda row: plain(row), ["zero"])


def test_a_map_lies_in_its_picture_at_one_scale_with_up_upward():
    places = positions(map_of([[0, 0], [4, 0], [0, 1]]), (60, 100), 10)
    np.testing.assert_allclose(places, [[10, 40], [90, 40], [10, 20]])
    np.testing.assert_allclose(positions(map_of(np.zeros((3, 2))), (60, 100), 10), [[50, 30]] * 3)


def test_thumbnails_do_not_overlap():
    places = RNG.random((300, 2)) * 100
    shown = apart(places, 12)
    distances = np.abs(places[shown][:, None] - places[shown]).max(-1)
    assert (distances[~np.eye(len(shown), dtype=bool)] >= 12).all()
    assert len(shown) > 20
    assert (np.abs(places[:, None] - places[shown]).max(-1).min(1) < 12).all()  # nowhere is there room for one more


def test_dots_have_the_colours_of_their_labels(composed):
    labels = ["cat"] * 30 + ["dog"] * 20 + [""] * 10
    draw_scatter(map_of(RNG.normal(size=(60, 2))), labels, size=(200, 300))
    drawn = colours(composed["rows"][0][0].picture)
    assert {COLOURS[0], COLOURS[1], OTHER} <= drawn
    assert COLOURS[2] not in drawn
    assert composed["subtitle"].startswith("PCA of 60 images (axes with 50% and 25% of the variance); trustworthiness")
    assert {COLOURS[0], COLOURS[1], OTHER} <= colours(composed["rows"][1][0].picture)  # the legend


def test_a_map_shows_itself_in_a_notebook():
    assert map_of([[0, 0], [1, 1], [0, 1]])._repr_png_().startswith(b"\x89PNG")


def test_a_map_without_labels_has_no_legend(composed):
    draw_scatter(map_of(RNG.normal(size=(9, 2))))
    assert len(composed["rows"]) == 1


def test_every_thumbnail_lies_in_the_grid_framed_in_its_colour(composed):
    points = np.stack(np.meshgrid([0, 1, 2], [1, 0]), -1).reshape(-1, 2)
    draw_grid(map_of(points), lambda i: plain(i * 40), list("abcabc"), side=10)
    sheet = composed["rows"][0][0].picture
    assert sheet.shape == (20, 30, 3)
    assert sheet[5::10, 5::10, 0].tolist() == [[0, 40, 80], [120, 160, 200]]
    assert [tuple(c) for c in sheet[1, 1::10].tolist()] == [COLOURS[0], COLOURS[1], COLOURS[2]]


def test_what_is_not_shown_is_said(composed):
    points = RNG.normal(size=(50, 2)) * 0.01
    asked = []
    draw_grid(map_of(points, seed=7), lambda i: asked.append(i) or plain(i), most=20)
    assert len(asked) == len(set(asked)) == 20
    assert "20 of 50 images are shown, drawn at random (seed 7)." in composed["notes"]
    draw_thumbnails(map_of([[0, 0], [0, 0.001], [5, 5]]), lambda i: plain(i))
    assert composed["notes"][0].startswith("2 of 3 images are shown; the others are dots")
    draw_thumbnails(map_of([[0, 0], [5, 5]]), lambda i: plain(i))
    assert composed["notes"] == ()


def test_frequent_labels_are_marked_and_the_rest_is_gray():
    labels = [f"label {i:02}" for i in range(20) for _ in range(20 - i)] + [""]
    marks = Marks.of(labels, len(labels))
    assert marks.names == tuple(f"label {i:02}" for i in range(12))
    assert marks.legend()[0] == (0, "label 00 (20)")
    assert marks.legend()[-1] == (-1, "8 more labels or no label (37)")
    assert marks.which[-1] == -1
    assert len({(colour(i), shape(i)) for i in range(28)}) == 28


def test_labels_must_be_as_many_as_images():
    with pytest.raises(OptionError, match="3 labels were given for 2 images"):
        draw_scatter(map_of([[0, 0], [1, 1]]), ["a", "b", "c"])
