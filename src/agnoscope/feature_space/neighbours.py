"""Nearest neighbours, exactly, in a collection that need not fit into memory.

    ‖q − x‖² = ‖q‖² + ‖x‖² − 2 q·x

The right side is one matrix product, which is fast and loses digits where q and x are close. How many is known, so
it only tells which rows may be among the nearest; their distances are then taken from the differences themselves. So
the answer is the one of brute force, and the same however the collection is cut into chunks.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, final, get_args

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import OptionError
from agnoscope.explainers.options import whole

Metric: TypeAlias = Literal["euclidean", "cosine"]
Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]

MISSING: Final = -1
"""The row of a neighbour that is not there."""

QUERIES: Final = 256
"""How many queries are compared at once."""

ROWS: Final = 2048
"""With how many rows of the collection."""

NUMBERS: Final = 2**21
"""How many differences are held at once."""

LARGEST: Final = 1e150
"""Squares of larger numbers may overflow."""


@final
@dataclass(frozen=True, eq=False)
class Neighbours:
    """The nearest rows of a collection for each query, nearest first; equal distances in the order of the rows.

    Attributes:
        rows: int64, shape (queries, k): numbers of rows; -1 where there are fewer than k.
        distances: float64, shape (queries, k): Euclidean distances in the unit of the features, or 1 − cosine, from
            0 to 2; NaN where the row is -1.
        metric: "euclidean" or "cosine".
        undirected: how many rows were left out because all their features are 0, which makes no angle with anything.
    """

    rows: Integers
    distances: Floats
    metric: Metric = "euclidean"
    undirected: int = 0

    def __len__(self) -> int:
        return len(self.rows)


def nearest(
    queries: NDArray[Any],
    chunks: Iterable[tuple[NDArray[Any], NDArray[Any]]],
    k: int = 9,
    metric: Metric = "euclidean",
    *,
    itself: NDArray[Any] | None = None,
) -> Neighbours:
    """The k nearest rows of a collection for each query, exactly, with sums in float64.

    Args:
        queries: shape (queries, features).
        chunks: of the collection: numbers of rows from 0 on, shape (rows,), and their features, shape (rows,
            features). One chunk at a time is held. A whole array is `[(np.arange(len(features)), features)]`.
        k: how many.
        metric: "euclidean", or "cosine" for 1 − cosine of the angle at the origin. A query of zeros makes no angle
            and gets no neighbours by it.
        itself: for each query the number of its own row, which is left out; -1 for one that is not in the collection.

    Raises:
        OptionError: the shapes do not fit, a value is NaN or infinite, or `k` or the metric is none.
    """
    k = whole("k", k)
    if metric not in get_args(Metric):
        raise OptionError(f"metric={metric!r} is unknown; there are {', '.join(get_args(Metric))}.")
    asked = checked(queries, np.arange(len(queries)), "query")
    own = np.full(len(asked), MISSING) if itself is None else np.asarray(itself)
    if own.shape != (len(asked),):
        raise OptionError(f"itself of shape {own.shape} must hold one number for each of the {len(asked)} queries.")
    asked, able = _directed(asked, metric)
    best, squares = np.full((len(asked), k), MISSING, np.int64), np.full((len(asked), k), np.inf)
    undirected = 0
    for some, values in _pieces(chunks, asked.shape[1]):
        directed, usable = _directed(values, metric)
        rows, features = some[usable], directed[usable]
        undirected += int((~usable).sum())
        for start in range(0, len(asked), QUERIES):
            part = slice(start, start + QUERIES)
            others = own[part, None] != rows
            possible = _possible(asked[part], features, others, squares[part])
            best[part], squares[part] = _merged(asked[part], features, rows, possible, best[part], squares[part])
    best[~able], squares[~able] = MISSING, np.nan
    distances = squares / 2 if metric == "cosine" else np.sqrt(squares)  # of unit vectors: ‖q − x‖² = 2 (1 − cos)
    return Neighbours(best, np.where(best == MISSING, np.nan, distances), metric, undirected)


def pixels(pictures: Iterable[NDArray[np.uint8]], side: int = 32) -> NDArray[np.float32]:
    """Pictures as points in pixel space, to be compared with their neighbours in feature space.

    Args:
        pictures: uint8, each of shape (height, width, 3) and of any size.
        side: in pixels of the square to which each is stretched, as networks stretch them.

    Returns:
        float32, shape (pictures, side × side × 3), 0 to 1.
    """
    from PIL import Image

    size = whole("side", side), whole("side", side)
    points = [
        np.asarray(Image.fromarray(np.ascontiguousarray(p)).resize(size, Image.Resampling.BOX)).ravel()
        for p in pictures
    ]
    return np.array(points, np.float32).reshape(len(points), side * side * 3) / np.float32(255)


def checked(values: Any, rows: Sequence[int] | NDArray[Any], what: str = "row") -> Floats:
    """Features in float64.

    Args:
        values: shape (rows, features).
        rows: their numbers, for the error.
        what: a row is.

    Raises:
        OptionError: the shape is another one, or a value is NaN, infinite or beyond 1e150.
    """
    found = np.asarray(values)
    if found.ndim != 2 or found.dtype.kind not in "biuf" or found.shape[1] == 0:
        raise OptionError(
            f"Features of shape {found.shape} and dtype {found.dtype} must be numbers of the shape (rows, features)."
        )
    if len(found) != len(rows):
        raise OptionError(f"{len(rows)} numbers of rows were given for {len(found)} rows of features.")
    found = found.astype(np.float64)
    good = (np.abs(found) < LARGEST).all(axis=1)  # NaN is not, either
    if not good.all():
        raise OptionError(
            f"The features of {what} {int(np.asarray(rows)[~good][0])} hold NaN, infinity or numbers beyond "
            f"{LARGEST:g} ({int((~good).sum())} of {len(good)} rows do): leave such rows out."
        )
    return found


def squared_distances(a: Floats, b: Floats) -> Floats:
    """The squares of all distances by one matrix product, shape (rows of a, rows of b); digits are lost near 0."""
    return _sizes(a, b) - 2 * a @ b.T


def _sizes(a: Floats, b: Floats) -> Floats:
    return (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)


def _pieces(chunks: Iterable[tuple[NDArray[Any], NDArray[Any]]], width: int) -> Iterator[tuple[Integers, Floats]]:
    """The collection in pieces small enough to compare many queries with."""
    for rows, features in chunks:
        if np.ndim(features) == 2 and np.shape(features)[1] != width:
            raise OptionError(
                f"The queries have {width} features and the collection {np.shape(features)[1]}: take one layer."
            )
        if len(rows) != len(features):
            checked(features, rows)
        for start in range(0, len(rows), ROWS):
            some = np.asarray(rows[start : start + ROWS], np.int64)
            yield some, checked(features[start : start + ROWS], some)


def _directed(values: Floats, metric: Metric) -> tuple[Floats, NDArray[np.bool_]]:
    """For the cosine: rows of length 1, and which of them have a direction at all."""
    if metric == "euclidean":
        return values, np.ones(len(values), np.bool_)
    scaled = values / np.maximum(np.abs(values).max(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    lengths = np.sqrt((scaled**2).sum(axis=1, keepdims=True))
    able = lengths[:, 0] > 0
    return np.divide(scaled, lengths, out=scaled, where=lengths > 0), able


def _possible(queries: Floats, features: Floats, others: NDArray[np.bool_], reached: Floats) -> NDArray[np.bool_]:
    """Which rows may be among the nearest of a query, whatever the product's rounding errors are.

    Args:
        queries: shape (queries, features).
        features: shape (rows, features).
        others: which rows are not the query itself, shape (queries, rows).
        reached: squared distances of the nearest found before, shape (queries, k); infinite where there are none.
    """
    # A sum of n products is off by less than n ε times the sum of their sizes; one of differences is so, too.
    slack = 8 * (queries.shape[1] + 4) * np.finfo(np.float64).eps * _sizes(queries, features)
    squares = squared_distances(queries, features)
    known = np.concatenate([np.where(others, squares + slack, np.inf), reached], axis=1)
    k = reached.shape[1]
    limit = np.partition(known, k - 1, axis=1)[:, k - 1 : k]
    return others & (squares - slack <= limit)


def _merged(
    queries: Floats, features: Floats, rows: Integers, possible: NDArray[np.bool_], best: Integers, squares: Floats
) -> tuple[Integers, Floats]:
    """The k nearest of those found before and those that are possible now."""
    k = best.shape[1]
    which, found = np.nonzero(possible)
    query = np.concatenate([np.repeat(np.arange(len(best)), k), which])
    row = np.concatenate([best.ravel(), rows[found]])
    square = np.concatenate([squares.ravel(), _differences(queries, features, which, found)])
    order = np.lexsort((row, square, query))
    place = np.arange(len(order)) - np.searchsorted(query[order], query[order])
    first = order[place < k]
    return row[first].reshape(best.shape), square[first].reshape(best.shape)


def _differences(queries: Floats, features: Floats, which: Integers, found: Integers) -> Floats:
    """The squared distances of pairs, from their differences; the sum of a row knows nothing of other rows."""
    step = max(1, NUMBERS // queries.shape[1])
    squares = np.empty(len(which))
    for start in range(0, len(which), step):
        part = slice(start, start + step)
        squares[part] = ((queries[which[part]] - features[found[part]]) ** 2).sum(axis=1)
    return squares
