"""Incremental occlusion: the network computes anew only what a hidden window can change, and exactly so.

A hidden window changes a small part of the early maps. Windows far enough apart keep clear of each other there, so
one image hides many of them at once, each at its own place. Deeper in the network the changed parts grow and would
meet. So at some layers, the cuts, the parts are taken out and put into more copies of the clean map, fewer to each,
until at the last cut every window has a map for itself. All of this is one run, in which patches enlarge the batch
from cut to cut; its first image is the clean one, of which the copies are made.

That inference can be incremental is the idea of Nakandala, Kumar and Papakonstantinou (SIGMOD 2019), who crop; that
windows share a map, so that a network sees no other size and no border where there is none, is ours.
What may share a map follows from the measured `reach`; a few windows are hidden in full runs besides, and if a
score differs nothing of this is used.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, prod
from typing import Any, Final, final
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from agnoscope.batches import ran_out_of_memory
from agnoscope.explainers.base import OneImage, score_program
from agnoscope.explainers.perturbation.reach import HERE, IMAGE, Cuts, find_cuts
from agnoscope.model import Layer, Model
from agnoscope.patches import Array
from agnoscope.target import Formula

FEWEST: Final = 64
"""Windows below which finding the cuts costs about what they save."""

WORTHWHILE: Final = 1.3
"""The estimated saving below which full runs are used."""

TOLERANCE: Final = {"float32": 1e-5, "float64": 1e-9}
"""How much a score may differ from that of a full run, relative to the largest of them."""

ROUNDING: Final = 64
"""Roundings of a score by which two ways to compute it may differ, where hiding changes it by less than that."""

COPY: Final = 16.0
"""Products that take as long as to read a number from memory and write another one."""

ROOM: Final = 8
"""How many times the memory of a batch one run may take; fewer and longer runs share more maps."""

_found: WeakKeyDictionary[Model, dict[Any, Cuts]] = WeakKeyDictionary()


def scores_incrementally(
    one: OneImage, filling: NDArray[Any], windows: NDArray[np.int32]
) -> NDArray[np.float64] | None:
    """The target's score with each window hidden, as full runs give it, or None where full runs must be used.

    Args:
        one: the image and the question, settled.
        filling: what shows through the windows, of the image's shape.
        windows: shape (windows, 4): top, bottom, left, right in pixels.

    Returns:
        Shape (windows,), in the order of the windows, within `TOLERANCE` of full runs; None if the target reads
        other values than the scores, the network cannot be cut, cutting would save little, or the scores of
        some windows turn out to differ from those of full runs.
    """
    model, key = one.model, (one.size, one.model.binding)
    if len(windows) < FEWEST or one.target.needs != ("scores",) or not {"capture", "patch"} <= model.can:
        return None
    known = _found.setdefault(model, {})
    try:
        if key not in known:
            known[key] = find_cuts(model, one.size)
        grid = Grid.of(windows)
        route = best_route(model, known[key], grid)
        if route is None:
            return None
        scores = _scores(one, filling, grid, route)
    except Exception as error:  # whatever the framework or the network raises at maps of ours
        if ran_out_of_memory(error) and one.batch_size > 1:
            raise  # with fewer at once it may fit; where one is too many, a full run may
        scores = None
    if scores is None or not _agrees(one, filling, windows, scores):
        known[key] = Cuts((IMAGE,), (one.size,), ())  # so that the next image does not try again
        return None
    return scores


# -- the route: at which cuts the windows part ------------------------------------------------------------------------


@final
@dataclass(frozen=True)
class Grid:
    """Windows, as pairs of a span of rows and a span of columns.

    Attributes:
        spans: along rows and along columns, each of shape (spans, 2): first and behind the last pixel.
        windows: shape (windows, 2): numbers of both spans.
    """

    spans: tuple[NDArray[np.intp], NDArray[np.intp]]
    windows: NDArray[np.intp]

    @staticmethod
    def of(windows: NDArray[np.int32]) -> "Grid":
        """The grid of windows given as (top, bottom, left, right)."""
        rows, row = np.unique(windows[:, :2].astype(np.intp), axis=0, return_inverse=True)
        columns, column = np.unique(windows[:, 2:].astype(np.intp), axis=0, return_inverse=True)
        return Grid((rows, columns), np.stack([row.reshape(-1), column.reshape(-1)], axis=1))


@final
@dataclass(frozen=True)
class Stop:
    """A cut on the way through the network, and what the windows' spans have become there.

    Attributes:
        name: `IMAGE` or the layer.
        size: height and width of its map.
        changed: rows and columns that differ, for each span of the grid.
        needed: rows and columns that the changed part at the next stop sees; at the last stop the whole map.
    """

    name: str
    size: tuple[int, int]
    changed: tuple[NDArray[np.intp], ...]
    needed: tuple[NDArray[np.intp], ...]

    def places(self, axis: int, chosen: NDArray[np.intp]) -> NDArray[np.intp]:
        """Numbers from 0 for some spans of an axis; of two with the same one none changes what the other needs."""
        changed, needed = self.changed[axis][chosen], self.needed[axis][chosen]
        numbers = np.zeros(len(chosen), dtype=np.intp)
        for i in range(len(chosen)):
            clash = _meet(changed[:i], needed[i]) | _meet(needed[:i], changed[i])
            taken = set(numbers[:i][clash].tolist())
            numbers[i] = next(number for number in range(i + 1) if number not in taken)
        return numbers


def _meet(spans: NDArray[np.intp], span: NDArray[np.intp]) -> NDArray[np.bool_]:
    return (spans[:, 0] < span[1]) & (span[0] < spans[:, 1])


def best_route(model: Model, cuts: Cuts, grid: Grid) -> tuple[Stop, ...] | None:
    """The cheapest choice of cuts for these windows, or None where it saves little.

    Between two stops the windows take as many maps as the numbers of their places along rows, times those along
    columns, and from the last one on a map each.
    """
    changed = [grid.spans]
    for size, reach in zip(cuts.sizes[1:], cuts.reaches, strict=True):
        changed.append(tuple(r.changed(c, n) for r, c, n in zip(reach, changed[-1], size, strict=True)))  # type: ignore[arg-type]
    costs, copying = _costs(model, cuts)
    best: dict[int, tuple[float, tuple[Stop, ...]]] = {}  # from each cut on: the least cost, and the stops
    for here in reversed(range(len(cuts.names))):
        name, size = cuts.names[here], cuts.sizes[here]
        whole = tuple(np.tile([[0, n]], (len(c), 1)) for n, c in zip(size, changed[here], strict=True))
        last = Stop(name, size, changed[here], whole)
        best[here] = len(grid.windows) * (sum(costs[here:]) + copying[here]), (last,)
        reach = HERE
        for there in range(here + 1, len(cuts.names)):
            reach = (reach[0].then(cuts.reaches[there - 1][0]), reach[1].then(cuts.reaches[there - 1][1]))
            needed = tuple(r.needed(c, n) for r, c, n in zip(reach, changed[there], size, strict=True))
            stop = Stop(name, size, changed[here], needed)
            cost = _maps(stop, grid, (1, 1)) * (sum(costs[here:there]) + copying[here]) + best[there][0]
            if cost < best[here][0]:
                best[here] = cost, (stop, *best[there][1])
    cost, stops = best[0]
    return stops if len(grid.windows) * sum(costs) >= WORTHWHILE * cost else None


def _maps(stop: Stop, grid: Grid, parts: tuple[int, int]) -> int:
    """How many maps the windows of a run take at the most, with the clean one, if runs take every so manyth span."""
    most = [
        max(int(stop.places(axis, np.arange(first, len(grid.spans[axis]), step)).max()) + 1 for first in range(step))
        for axis, step in enumerate(parts)
    ]
    return 1 + most[0] * most[1]


def _costs(model: Model, cuts: Cuts) -> tuple[list[float], list[float]]:
    """Estimated operations of one image from each cut to the next, and for copying its map into another."""
    depth = model.spec.depth
    costs, copying = [0.0], [COPY * prod(cuts.sizes[0]) * depth]
    for layer in model.layers(cuts.sizes[0]).values():
        costs[-1] += _operations(layer, depth)
        depth = layer.shape[-1] if layer.shape else 1
        if layer.name in cuts.names:
            costs.append(0.0)
            copying.append(COPY * prod(layer.shape))
    return costs, copying


def _operations(layer: Layer, depth: int) -> float:
    """Roughly: products for each number of a convolution, taken to be of 3 × 3; elsewhere the way to memory."""
    each = {"conv": 9.0 * depth + COPY, "dense": float(depth), "block": 0.0}.get(layer.kind, COPY)
    return each * prod(layer.shape)


# -- the run ----------------------------------------------------------------------------------------------------------


def _scores(one: OneImage, filling: NDArray[Any], grid: Grid, route: tuple[Stop, ...]) -> NDArray[np.float64]:
    program = one.model.compile(_incremental_program, one.target.formula)
    room = ROOM * one.batch_size * one.model.outline(one.size).largest
    scores, done = np.empty(len(grid.windows)), 0
    chunks, counts = runs(one.model, route, grid, room)
    for chosen in chunks:
        maps = sources(route, grid, chosen, counts)
        found = program(one.image[None], filling[None], maps, one.arrays(counts[-1]))["scores"]
        scores[chosen] = found[1 : len(chosen) + 1]  # the first one is the clean image's
        done += len(chosen)
        one.tick(done)
    return scores


def runs(
    model: Model, route: tuple[Stop, ...], grid: Grid, room: int
) -> tuple[list[NDArray[np.intp]], tuple[int, ...]]:
    """Windows for one run each, and how many maps depart from each stop, the same in every run.

    The windows of a run lie as far apart as can be, so that they share maps.

    Args:
        model: the network.
        route: the stops.
        grid: the windows.
        room: how many numbers the largest activation of a run may have, if that can be.
    """
    layers = model.layers(route[0].size)
    for down, right in _parts(len(grid.spans[0]), len(grid.spans[1])):
        group = grid.windows[:, 0] % down * right + grid.windows[:, 1] % right
        chunks = [chunk for number in range(down * right) if len(chunk := np.flatnonzero(group == number))]
        maps = [*(_maps(stop, grid, (down, right)) for stop in route[:-1]), 1 + max(map(len, chunks))]
        # Some frameworks map over whole batches, so each number of maps is a multiple of the first.
        counts = tuple(ceil(count / maps[0]) * maps[0] for count in maps)
        if _largest(layers, route, counts) <= room:
            break
    return chunks, counts


def _parts(rows: int, columns: int) -> Iterator[tuple[int, int]]:
    """Into how many parts to divide rows and columns: ever more of them."""
    down = right = 1
    yield down, right
    while (down, right) != (rows, columns):
        if (down <= right and down < rows) or right == columns:
            down = min(ceil(1.5 * down), rows)
        else:
            right = min(ceil(1.5 * right), columns)
        yield down, right


def _largest(layers: Mapping[str, Layer], route: tuple[Stop, ...], counts: Sequence[int]) -> int:
    """How many numbers the largest activation of a run has."""
    departing = {stop.name: count for stop, count in zip(route, counts, strict=True)}
    now, largest = departing[IMAGE], 0
    for name, layer in layers.items():
        now = departing.get(name, now)
        largest = max(largest, now * prod(layer.shape))
    return largest


def sources(
    route: tuple[Stop, ...], grid: Grid, chosen: NDArray[np.intp], counts: Sequence[int]
) -> dict[str, NDArray[np.int32]]:
    """For each stop, from which of the arriving maps each pixel of each departing map comes.

    Args:
        route: the stops.
        grid: the windows.
        chosen: numbers of the windows of this run.
        counts: how many maps depart from each stop, the clean one at their head.

    Returns:
        Name to an array of shape (maps, height, width); 0 is the clean map. At the image 1 is the filling.
    """
    found = {}
    arrived = np.ones(len(chosen), dtype=np.intp)
    spans = [np.unique(grid.windows[chosen, axis], return_inverse=True) for axis in (0, 1)]
    for stop, count in zip(route, counts, strict=True):
        rows, columns = (stop.places(axis, which)[of.reshape(-1)] for axis, (which, of) in enumerate(spans))
        departing = 1 + (np.arange(len(chosen)) if stop is route[-1] else rows * (columns.max() + 1) + columns)
        source = np.zeros((count, *stop.size), dtype=np.int32)
        for (row, column), old, new in zip(grid.windows[chosen], arrived, departing, strict=True):
            (top, bottom), (left, right) = stop.changed[0][row], stop.changed[1][column]
            source[new, top:bottom, left:right] = old
        found[stop.name], arrived = source, departing
    return found


def _incremental_program(
    model: Model,
    formula: Formula,
    image: Array,
    filling: Array,
    sources: Mapping[str, Array],
    arrays: Mapping[str, Any],
) -> dict[str, Array]:
    xp = model.xp
    patch = {
        name: lambda maps, source=source: regrouped(xp, maps, source)
        for name, source in sources.items()
        if name != IMAGE
    }
    images = regrouped(xp, xp.concat([image, filling]), sources[IMAGE])
    return {"scores": formula(xp, model.run(images, formula.needs, patch), arrays)}


def regrouped(xp: Any, maps: Array, source: Array) -> Array:
    """Maps whose every pixel comes from the same place of one of the given maps.

    Args:
        xp: the array namespace.
        maps: shape (maps, height, width, channels).
        source: shape (new maps, height, width), which map it is.
    """
    _, height, width = source.shape
    place = xp.reshape(xp.arange(height * width, dtype=source.dtype), (1, height, width))
    wanted = xp.reshape(source * (height * width) + place, (-1,))
    pixels = xp.take(xp.reshape(maps, (-1, maps.shape[-1])), wanted, axis=0)
    return xp.reshape(pixels, (*source.shape, maps.shape[-1]))


# -- the check --------------------------------------------------------------------------------------------------------


def _agrees(one: OneImage, filling: NDArray[Any], windows: NDArray[np.int32], scores: NDArray[np.float64]) -> bool:
    """Whether windows at a corner, an edge and the centre have the scores of full runs."""
    program = one.model.compile(score_program, one.target.formula)
    edge = int((windows[:, 0] == windows[0, 0]).sum()) // 2
    chosen = [0, edge, len(windows) // 2, len(windows) - 1]
    full = []
    for top, bottom, left, right in windows[chosen]:
        hidden = one.image.copy()
        hidden[top:bottom, left:right] = filling[top:bottom, left:right]
        full.append(float(program(hidden[None], one.arrays(1))["scores"][0]))
    scale, fall = np.abs([one.score, *full]).max(), np.abs(one.score - np.array(full)).max()
    # Where hiding changes little, an error as large as the falls would pass for rounding.
    rounding = ROUNDING * np.finfo(one.model.dtype).eps * scale
    limit = min(TOLERANCE[one.model.dtype] * scale, rounding + 0.01 * fall)
    return bool((np.abs(scores[chosen] - full) <= limit).all())
