"""Thumbnails on a grid: one cell for each, and neighbours near one another."""

import numpy as np
import pytest

from agnoscope.errors import OptionError
from agnoscope.feature_space import grid
from agnoscope.feature_space.grid import arrange

RNG = np.random.default_rng(8)


def steps(points: np.ndarray, cells: np.ndarray) -> float:
    """How many cells lie on average between a point and its nearest one on the map."""
    distances = ((points[:, None] - points) ** 2).sum(-1)
    np.fill_diagonal(distances, np.inf)
    return float(np.abs(cells - cells[distances.argmin(1)]).max(1).mean())


@pytest.mark.parametrize("limit", [1500, 40])
@pytest.mark.parametrize("cloud", ["even", "normal", "two far apart", "the same", "on a line"])
@pytest.mark.parametrize("shape", [None, (10, 61), (40, 30)])
def test_no_two_share_a_cell_and_all_lie_inside(monkeypatch, limit, cloud, shape):
    monkeypatch.setattr(grid, "CELLS", limit)
    monkeypatch.setattr(grid, "PART", limit)
    points = {
        "even": RNG.random((301, 2)),
        "normal": RNG.normal(size=(301, 2)),
        "two far apart": RNG.random((301, 2)) + 1e6 * (np.arange(301) < 90)[:, None],
        "the same": np.zeros((301, 2)),
        "on a line": np.arange(301)[:, None] * [1.0, 0],
    }[cloud]
    found = arrange(points, shape)
    assert len({tuple(cell) for cell in found.cells.tolist()}) == 301
    assert ((found.cells >= 0) & (found.cells < found.shape)).all()
    assert found.shape == (shape or (17, 18))
    assert found.optimal == (np.prod(found.shape) <= limit)


@pytest.mark.parametrize("limit", [1500, 40])
def test_neighbours_stay_near(monkeypatch, limit):
    monkeypatch.setattr(grid, "CELLS", limit)
    monkeypatch.setattr(grid, "PART", limit)
    points = RNG.normal(size=(400, 2))
    found = arrange(points)
    chance = steps(points, RNG.permutation(found.cells))
    assert steps(points, found.cells) < 0.3 * chance


@pytest.mark.parametrize("limit", [1500, 4])
def test_points_on_a_grid_keep_their_places(monkeypatch, limit):
    """Upward on the map is a lower row."""
    monkeypatch.setattr(grid, "CELLS", limit)
    monkeypatch.setattr(grid, "PART", limit)
    table = RNG.permutation(30).reshape(6, 5)
    row, column = np.divmod(np.argsort(table.ravel()), 5)
    found = arrange(np.stack([column * 3.0, -row * 0.1], axis=1), (6, 5))
    assert found.table().tolist() == table.tolist()


def test_empty_cells_stay_where_the_map_is_empty():
    points = np.concatenate([RNG.normal(size=(50, 2)) * 0.1, RNG.normal(size=(50, 2)) * 0.1 + [3, 3]])
    filled = arrange(points, (30, 30)).table() >= 0
    assert filled[15:, :15].sum() == filled[:15, 15:].sum() == 50


def test_the_ways_are_the_shortest():
    """Three points on four cells in a row: tried by hand, no other order is shorter."""
    assert arrange(np.array([[0.0, 0], [0.1, 0], [1.0, 0]]), (1, 4)).cells[:, 1].tolist() == [0, 1, 3]


@pytest.mark.parametrize(
    ("points", "shape", "words"),
    [
        (np.zeros((5, 2)), (2, 2), "2 × 2 cells has no room for 5 points"),
        (np.zeros((5, 3)), None, r"shape \(5, 3\)"),
        (np.zeros((0, 2)), None, r"shape \(0, 2\)"),
        (np.array([[0, np.nan]]), None, "point 0 hold NaN"),
        (np.zeros((5, 2)), (0, 9), "rows=0 must be a whole number"),
    ],
)
def test_bad_input_is_refused(points, shape, words):
    with pytest.raises(OptionError, match=words):
        arrange(points, shape)
