"""Neighbours equal those of brute force, however the collection is cut, and where digits are lost."""

from collections.abc import Iterator

import numpy as np
import pytest

from agnoscope.errors import OptionError
from agnoscope.feature_space import neighbours
from agnoscope.feature_space.neighbours import MISSING, nearest, pixels

RNG = np.random.default_rng(5)


def chunked(features: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    rows = np.arange(len(features))
    return ((rows[i : i + size], features[i : i + size]) for i in range(0, len(features), size))


def brute_force(queries: np.ndarray, features: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    distances = np.array([[np.sqrt(((q - x) ** 2).sum()) for x in features] for q in queries.astype(np.float64)])
    rows = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return rows, np.take_along_axis(distances, rows, axis=1)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """So that a test's few rows are cut as many are."""
    monkeypatch.setattr(neighbours, "QUERIES", 7)
    monkeypatch.setattr(neighbours, "ROWS", 31)
    monkeypatch.setattr(neighbours, "NUMBERS", 100)


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e9])
def test_neighbours_equal_brute_force(offset):
    """At 1e9 the squares, near 1e19, say nothing of differences near 1."""
    features = (RNG.normal(size=(120, 20)) + offset).astype(np.float64)
    queries = RNG.normal(size=(15, 20)) + offset
    found = nearest(queries, chunked(features, 50), 6)
    rows, distances = brute_force(queries, features, 6)
    assert found.rows.tolist() == rows.tolist()
    np.testing.assert_allclose(found.distances, distances, rtol=1e-13)


def test_nearly_equal_rows_are_told_apart():
    """Steps of 1e-7 at length 1: their squares, 1e-14, are near the last digit of the product."""
    query = np.zeros((1, 64)) + 1
    features = query + np.arange(1, 9)[:, None] * 1e-7
    found = nearest(query, chunked(features[::-1], 8), 3)
    assert found.rows.tolist() == [[7, 6, 5]]
    np.testing.assert_allclose(found.distances[0], np.arange(1, 4) * 8e-7, rtol=1e-6)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_chunks_do_not_change_a_bit(metric):
    features = RNG.normal(size=(90, 33)).astype(np.float32)
    whole = nearest(features[:9], chunked(features, 90), 5, metric)
    for size in (1, 7, 64):
        cut = nearest(features[:9], chunked(features, size), 5, metric)
        assert cut.rows.tobytes() == whole.rows.tobytes()
        assert cut.distances.tobytes() == whole.distances.tobytes()


def test_the_order_of_the_chunks_does_not_count():
    features = RNG.integers(0, 3, (60, 4)).astype(np.float32)
    parts = list(chunked(features, 9))
    assert (nearest(features, parts, 5).rows == nearest(features, parts[::-1], 5).rows).all()


def test_ties_come_in_the_order_of_the_rows():
    features = np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1], [0, 0]])
    found = nearest(np.zeros((1, 2)), chunked(features[:, ::-1], 2), 4)
    assert found.rows.tolist() == [[4, 0, 1, 2]]
    assert found.distances.tolist() == [[0, 1, 1, 1]]


def test_a_query_does_not_find_itself_where_it_says_who_it_is():
    features = np.array([[0.0], [0.0], [5.0], [6.0]])
    found = nearest(features[[0, 3, 2]], chunked(features, 3), 2, itself=np.array([0, 3, -1]))
    assert found.rows.tolist() == [[1, 2], [2, 0], [2, 3]]


def test_missing_neighbours_are_minus_one_at_no_distance():
    found = nearest(np.zeros((2, 3)), chunked(np.ones((2, 3)), 2), 4, itself=np.array([0, -1]))
    assert found.rows.tolist() == [[1, -1, -1, -1], [0, 1, -1, -1]]
    assert np.isnan(found.distances[found.rows == MISSING]).all()
    np.testing.assert_allclose(found.distances[found.rows != MISSING], np.sqrt(3))
    assert nearest(np.zeros((2, 3)), [], 2).rows.tolist() == [[-1, -1], [-1, -1]]


def test_cosine_knows_no_lengths():
    features = np.array([[2.0, 0], [0, 7], [-1e-3, 0], [1, 1], [1e-200, 1e-200]])
    found = nearest(np.array([[0.5, 0]]), chunked(features, 2), 5, "cosine")
    assert found.rows.tolist() == [[0, 3, 4, 1, 2]]
    np.testing.assert_allclose(found.distances[0], [0, 1 - np.sqrt(0.5), 1 - np.sqrt(0.5), 1, 2], atol=1e-15)


def test_zeros_are_nobodys_neighbours_by_the_cosine_and_are_counted():
    features = np.array([[0.0, 0], [1, 1], [0, 0]])
    found = nearest(np.array([[1.0, 0], [0, 0]]), chunked(features, 2), 2, "cosine")
    assert found.rows.tolist() == [[1, -1], [-1, -1]]
    assert np.isnan(found.distances[1]).all()
    assert found.undirected == 2


@pytest.mark.parametrize(
    ("queries", "chunks", "options", "words"),
    [
        (np.array([[0.0, np.nan]]), [], {}, "query 0 hold NaN"),
        (np.zeros((1, 2)), [(np.array([40, 41]), np.array([[0, 0], [np.inf, 0]]))], {}, "row 41 hold NaN, infinity"),
        (np.zeros((1, 2)), [(np.arange(2), np.zeros((2, 3)))], {}, "2 features and the collection 3"),
        (np.zeros((1, 2)), [(np.arange(3), np.zeros((2, 2)))], {}, "3 numbers of rows were given for 2"),
        (np.zeros(2), [], {}, r"shape \(2,\)"),
        (np.zeros((1, 2)), [], {"k": 0}, "k=0 must be a whole number"),
        (np.zeros((1, 2)), [], {"metric": "l2"}, "there are euclidean, cosine"),
        (np.zeros((1, 2)), [], {"itself": np.zeros(2)}, "itself of shape"),
    ],
)
def test_bad_input_is_refused(queries, chunks, options, words):
    with pytest.raises(OptionError, match=words):
        nearest(queries, chunks, **options)


def test_pictures_of_any_size_become_points_in_pixel_space():
    dark, bright = np.zeros((4, 9, 3), np.uint8), np.full((5, 3, 3), 255, np.uint8)
    points = pixels([dark, bright], side=2)
    assert points.shape == (2, 12)
    assert points.dtype == np.float32
    assert np.unique(points, axis=1).tolist() == [[0], [1]]
    assert pixels([]).shape == (0, 3072)
