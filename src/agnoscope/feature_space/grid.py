"""Points of a map put into the cells of a grid, one into each, so that thumbnails do not overlap.

Every point goes to a cell of its own such that the sum of the squared ways is the least possible. Beyond some
thousand cells that takes too long: the grid is then halved, and the points with it, until the parts are small enough.
"""

from dataclasses import dataclass
from math import ceil, sqrt
from typing import Any, Final, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import OptionError
from agnoscope.explainers.options import whole
from agnoscope.feature_space.neighbours import checked

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]

CELLS: Final = 1500
"""A grid of so many cells at the most is filled at once, in seconds."""

PART: Final = 400
"""A larger one is halved until its parts have so many: no worse to look at, and fast."""


@final
@dataclass(frozen=True, eq=False)
class Grid:
    """The cell of every point.

    Attributes:
        cells: int64, shape (points, 2): row, 0 at the top, and column.
        shape: rows and columns of the grid.
        optimal: whether no other assignment has shorter ways; false where the grid was halved.
    """

    cells: Integers
    shape: tuple[int, int]
    optimal: bool

    def table(self) -> Integers:
        """The number of the point in each cell, shape (rows, columns); -1 in empty ones."""
        table = np.full(self.shape, -1, np.int64)
        table[self.cells[:, 0], self.cells[:, 1]] = np.arange(len(self.cells))
        return table


def arrange(points: NDArray[Any], shape: tuple[int, int] | None = None) -> Grid:
    """Put points into the cells of a grid.

    Args:
        points: shape (points, 2): to the right and upward, in any unit; both axes are stretched to the grid.
        shape: rows and columns, with room for all; empty cells stay where the map is empty. By default about a square
            with hardly an empty cell.

    Raises:
        OptionError: the points are of another shape or not finite, or the grid has no room for all.
    """
    places = checked(points, np.arange(len(points)), "point")
    count = len(places)
    if places.shape[1] != 2 or not count:
        raise OptionError(f"points of shape {places.shape} must have the shape (points, 2), and one at least.")
    columns = ceil(sqrt(count))
    rows, columns = shape or (ceil(count / columns), columns)
    if whole("rows", rows) * whole("columns", columns) < count:
        raise OptionError(f"A grid of {rows} × {columns} cells has no room for {count} points.")
    low, span = places.min(axis=0), np.ptp(places, axis=0)
    within = np.divide(places - low, span, out=np.full(places.shape, 0.5), where=span > 0)
    within = np.stack([1 - within[:, 1], within[:, 0]], axis=1) * [rows, columns]
    cells = np.empty((count, 2), np.int64)
    optimal = rows * columns <= CELLS
    _fill(within, np.arange(count), np.array([[0, rows], [0, columns]]), cells, CELLS if optimal else PART)
    return Grid(cells, (rows, columns), optimal)


def _fill(places: Floats, which: NDArray[np.intp], block: Integers, cells: Integers, limit: int) -> None:
    """Give some points their cells within a block of the grid, from and to a row, from and to a column."""
    if not len(which):
        return
    sides = block[:, 1] - block[:, 0]
    if sides.prod() <= limit:
        from scipy.optimize import linear_sum_assignment
        from scipy.spatial.distance import cdist

        free = np.stack(np.meshgrid(*(np.arange(*ends) for ends in block), indexing="ij"), axis=-1).reshape(-1, 2)
        _, taken = linear_sum_assignment(cdist(places[which], free + 0.5, "sqeuclidean"))
        cells[which] = free[taken]
        return
    axis = int(sides.argmax())
    line = int(block[axis].sum()) // 2
    first, second = block.copy(), block.copy()
    first[axis, 1] = second[axis, 0] = line
    room, beyond = (int(np.ptp(half, axis=1).prod()) for half in (first, second))
    along = which[np.argsort(places[which, axis], kind="stable")]
    # Whoever lies before the line, as far as there is room on both its sides.
    cut = int(np.clip((places[which, axis] < line).sum(), len(which) - beyond, room))
    _fill(places, along[:cut], first, cells, limit)
    _fill(places, along[cut:], second, cells, limit)
