"""Reach: how far a change of one layer's map spreads in a later one, measured instead of read off the network.

A layer is a *cut* if the scores depend on the image through its map alone. Between two neighbouring cuts lies a
stage, whose `Reach` along an axis tells which inputs an output sees. Both are found in one run of a few random
images, in which every candidate's map is replaced by maps of our own. Some of these differ everywhere from one
candidate to the other, in a pattern of its own: what differs at the next candidate although its own map is the
same has flowed around it, and it is no cut. One of them differs in four single pixels: where the next map differs
shows the reach.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, count, islice, pairwise
from math import comb
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.model import Layer, Model
from agnoscope.patches import Array, Patch

IMAGE: Final = ""
"""Stands for the image among the names of layers."""

SMALLEST: Final = 12
"""Sides of the smallest map, in pixels, that is worth a cut: changes fill smaller ones soon."""

ROUNDS: Final = 4
"""How often the candidates are measured; what turns out to be none is left out of the next round."""

NOISE: Final = 100
"""Differences up to so many roundings of the largest number are none: a convolution's way may depend on the place."""


@final
@dataclass(frozen=True)
class Reach:
    """Along one axis: output j sees the inputs from `step · j - before` up to, without, `step · j + after`."""

    step: int
    before: int
    after: int

    def changed(self, spans: NDArray[np.intp], length: int) -> NDArray[np.intp]:
        """What differs in an output of this length where these spans (spans, 2) of the input differ."""
        first = (spans[:, 0] - self.after) // self.step + 1
        last = -((-spans[:, 1] - self.before) // self.step)
        return np.stack([first, np.maximum(first, last)], axis=1).clip(0, length)

    def needed(self, spans: NDArray[np.intp], length: int) -> NDArray[np.intp]:
        """What these spans (spans, 2) of the output see of an input of this length."""
        first = self.step * spans[:, 0] - self.before
        last = self.step * (spans[:, 1] - 1) + self.after
        return np.stack([first, np.maximum(first, last)], axis=1).clip(0, length)

    def then(self, later: "Reach") -> "Reach":
        """The reach of both stages, one after the other."""
        before, after = self.step * later.before + self.before, self.step * (later.after - 1) + self.after
        return Reach(self.step * later.step, before, after)


HERE: Final = (Reach(1, 0, 1), Reach(1, 0, 1))
"""From a layer to itself, along rows and columns."""


@final
@dataclass(frozen=True)
class Cuts:
    """Where a network can be cut at one image size.

    Attributes:
        names: `IMAGE` and the layers that are cuts, in order.
        sizes: height and width of each one's map.
        reaches: along rows and columns, from each to the next; one less.
    """

    names: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    reaches: tuple[tuple[Reach, Reach], ...]


def find_cuts(model: Model, size: tuple[int, int]) -> Cuts:
    """Find the cuts among the layers before convolutions, and measure the reach from each to the next.

    Args:
        model: the network; it must offer "capture" and "patch".
        size: height and width of the image in pixels.

    Returns:
        The cuts; the image alone where the network has none.
    """
    layers = model.layers(size)
    sizes = {IMAGE: size} | {name: (layer.shape[0], layer.shape[1]) for name, layer in layers.items() if layer.spatial}
    names: tuple[str, ...] = (IMAGE, *_candidates(layers))
    for _ in range(ROUNDS):
        if len(names) == 1:
            break
        stages = _measure(model, names, [sizes[name] for name in names])
        if len(stages) == len(names) and all(stages):
            return Cuts(names, tuple(sizes[name] for name in names), tuple(filter(None, stages[:-1])))
        names = tuple(name for name, reach in zip(names, stages, strict=False) if reach)
    return Cuts((IMAGE,), (size,), ())


def _candidates(layers: Mapping[str, Layer]) -> list[str]:
    """Layers right before a convolution; the ends of blocks alone, where there are such."""
    before = [one for one, following in pairwise(layers.values()) if following.kind == "conv" and one.spatial]
    before = [layer for layer in before if min(layer.shape[:2]) >= SMALLEST]
    if any(layer.kind in ("block", "add") for layer in before):
        before = [layer for layer in before if layer.kind in ("block", "add", "pool")]
    return [layer.name for layer in before]


def _measure(
    model: Model, names: tuple[str, ...], sizes: Sequence[tuple[int, int]]
) -> list[tuple[Reach, Reach] | None]:
    """The reach from each layer to the next along both axes, of the last one `HERE`.

    None stands where another way leads around the layer. The list ends at the first layer from which a change
    spreads too far: it can be a cut, but only the last one.
    """
    steps = [tuple(max(1, round(a / b)) for a, b in zip(*pair, strict=True)) for pair in pairwise(sizes)] + [(1, 1)]
    probes = tuple(_probes(size, step) for size, step in zip(sizes, steps, strict=True))
    groups = next(number for number in count(2) if comb(number, number // 2) >= len(names))
    # No layer's groups are all among another's: in one of them each other layer differs while this one does not.
    same = tuple(islice(combinations(range(groups), groups // 2), len(names)))
    low, high = (b if np.isfinite(b) else d for b, d in zip(model.spec.bounds, (0.0, 1.0), strict=True))
    image = np.random.default_rng(0).uniform(low, high, (1, *sizes[0], model.spec.depth)).astype(model.dtype)
    seen = model.compile(_probe_program, (names, probes, same, groups))(image)
    found: list[tuple[Reach, Reach] | None] = []
    for i, there in enumerate((*names[1:], "scores")):
        differs = ~(seen[there] <= NOISE * np.finfo(model.dtype).eps)  # NaN differs
        if differs[[2 + group for group in same[i]]].any():
            found.append(None)
            continue
        reach = HERE if there == "scores" else _reach(differs[1], probes[i], steps[i])
        found.append(reach or HERE)
        if reach is None:
            break
    return found


def _probes(size: tuple[int, int], step: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """A pixel near the centre of each quarter of the map, each at another phase of the step."""
    rows, columns = ([(2 * i + 1) * n // 4 // s * s for i in range(2)] for n, s in zip(size, step, strict=True))
    return tuple((rows[k // 2] + k % step[0], columns[k % 2] + k % step[1]) for k in range(4))


def _reach(
    differs: NDArray[np.bool_], probes: tuple[tuple[int, int], ...], step: tuple[int, ...]
) -> tuple[Reach, Reach] | None:
    """The reach along both axes from where the map differs around each probe; None where it leaves its quarter."""
    befores: list[list[int]] = [[], []]
    afters: list[list[int]] = [[], []]
    half = [n // 2 for n in differs.shape]
    for k, pixel in enumerate(probes):
        corner = [k // 2 * half[0], k % 2 * half[1]]
        quarter = differs[corner[0] : half[0] if k < 2 else None, corner[1] : half[1] if k % 2 == 0 else None]
        for axis in (0, 1):
            where = np.flatnonzero(quarter.any(axis=1 - axis))
            if len(where) == 0:
                continue  # a step may pass over a pixel
            if where[0] == 0 or where[-1] == quarter.shape[axis] - 1:
                return None
            first, last = corner[axis] + where[0], corner[axis] + where[-1]
            befores[axis].append(int(step[axis] * last - pixel[axis]))
            afters[axis].append(int(pixel[axis] - step[axis] * first + 1))
    if not befores[0]:
        return None
    rows, columns = (Reach(s, max(b), max(a)) for s, b, a in zip(step, befores, afters, strict=True))
    return rows, columns


def _probe_program(model: Model, static: Any, image: Array) -> dict[str, Array]:
    """How much each layer's map differs from the first run's, relative to its largest number."""
    names, probes, same, groups = static
    xp = model.xp
    seen: dict[str, Array] = {}

    def varied(number: int, plain: Array) -> Array:
        """The map itself, the map with other pixels at the probes, and for each group the map or quite another one."""
        mask = np.zeros((1, *plain.shape[1:3], 1))
        for row, column in probes[number]:
            mask[0, row, column] = 1
        # Signs that take turns: a normalisation over channels takes a sum away.
        bump = mask * (1 - 2 * (np.arange(plain.shape[3]) % 2))
        probed = plain + xp.max(xp.abs(plain)) * xp.asarray(bump, dtype=plain.dtype)
        other = xp.max(plain) - xp.flip(plain, axis=(1, 2))  # of another mean too, which is what some ways around take
        return xp.concat([plain, probed, *(plain if group in same[number] else other for group in range(groups))])

    def differences(values: Array) -> Array:
        first = values[:1]
        return xp.max(xp.abs(values - first), axis=-1) / xp.max(xp.abs(first))

    def looked(number: int) -> Patch:
        def look(activation: Array) -> Array:
            seen[names[number]] = differences(activation)
            return varied(number, activation[:1])

        return look

    patch = {name: looked(number) for number, name in enumerate(names) if name != IMAGE}
    scores = model.run(varied(0, image), ("scores",), patch)["scores"]
    return seen | {"scores": differences(xp.reshape(scores, (scores.shape[0], -1)))}
