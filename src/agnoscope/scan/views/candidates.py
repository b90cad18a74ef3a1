"""Candidates for patches: which units to show, in which images each was largest, and which of these differ."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.batches import comfortable_batch, within_memory
from agnoscope.errors import OptionError, TargetError
from agnoscope.explainers.options import whole
from agnoscope.model import Layer, Model
from agnoscope.patches import Array
from agnoscope.scan.scan import Scan
from agnoscope.scan.views.moments import Moments
from agnoscope.scan.views.rereading import Reader

TRADE: Final = 0.5
"""How much the value counts for diverse patches; the rest is how little a patch is like those chosen before."""

WORTHY: Final = 0.5
"""Diverse patches have at least this share of the largest value."""


@final
@dataclass(frozen=True, eq=False)
class Candidates:
    """What the scan kept of a unit, best first; `places` are flat positions in the layer's own axes."""

    layer: Layer
    channel: int
    neuron: bool
    dead: str
    values: NDArray[np.float32]
    rows: NDArray[np.int64]
    places: NDArray[np.intp]

    def take(self, some: Any) -> "Candidates":
        """Some of them."""
        return replace(self, values=self.values[some], rows=self.rows[some], places=self.places[some])

    def first(self, k: int) -> "Candidates":
        """The k best."""
        return self.take(slice(k))


@final
@dataclass(frozen=True, eq=False)
class Found:
    """The units to be shown, and among how many they were chosen."""

    candidates: list[Candidates]
    alive: int
    total: int
    chosen: str


def channel_candidates(
    model: Model, scan: Scan, name: str | None, asked: int | Sequence[int] | None, k: int, count: int
) -> Found:
    """The channels asked for, or the most selective ones, with all that the scan kept of each."""
    layer = model.layer(scan.layer(name), scan.size)
    top = scan.top(layer.name, max(whole("k", k), scan.manifest["plan"]["keep"]))  # all, or refused where k is more
    total, last = len(top.values), (top.rows >= 0).sum(axis=1) - 1
    moments = Moments.of(scan.chunks(layer.name), np.zeros(len(scan), np.intp), 1)
    lowest = np.take_along_axis(top.values, last[:, None], axis=1)[:, 0]
    never = (top.values[:, 0] <= 0) & _lives_above_zero(layer)
    constant = ~never & (moments.low == moments.high) & (top.values[:, 0] == lowest)
    alive = ~(never | constant)
    if asked is None:
        best = top.values[:, : min(k, last.max() + 1)].mean(axis=1, dtype=np.float64)
        order = np.argsort(-moments.above(best), kind="stable")
        numbers = [int(channel) for channel in order if alive[channel]][: whole("count", count)]
        chosen = f"the {len(numbers)} most selective of {int(alive.sum())} live channels"
        if not numbers:
            raise OptionError(
                f"All {total} channels of {layer.name!r} are dead: none is ever above 0, or differs between the "
                f"{len(scan)} images of the scan. Take another layer."
            )
    else:
        numbers, chosen = checked_channels(asked, layer, total), "the channels asked for"
    skipped = layer.grid[2] if layer.grid else 0
    width = layer.grid[1] if layer.grid else layer.shape[1] if len(layer.shape) == 3 else 1
    places = top.y.astype(np.intp) * width + top.x + skipped
    candidates = []
    for channel in numbers:
        dead = "never above 0" if never[channel] else "the same for every image" if constant[channel] else ""
        arrays = (table[channel][: last[channel] + 1] for table in (top.values, top.rows, places))
        candidates.append(Candidates(layer, channel, False, dead, *arrays))
    return Found(candidates, int(alive.sum()), total, chosen)


def _lives_above_zero(layer: Layer) -> bool:
    """Whether a unit that is never above 0 is dead; scores and other vectors may be negative and mean something."""
    return layer.spatial or layer.kind in ("relu", "activation")


def checked_channels(asked: int | Sequence[int], layer: Layer, total: int) -> list[int]:
    """The numbers of channels that a user asks for.

    Raises:
        TargetError: the layer has no such channel, or none is asked for.
    """
    numbers = [asked] if isinstance(asked, int | np.integer) else list(asked)
    if not numbers:
        raise TargetError("No channel was asked for: leave channels out, or give a number.")
    for channel in numbers:
        if not isinstance(channel, int | np.integer) or isinstance(channel, bool) or not 0 <= channel < total:
            raise TargetError(f"Channel {channel!r} of layer {layer.name!r} was asked for; it has {total}, from 0.")
    return [int(channel) for channel in numbers]


def neuron_candidates(model: Model, scan: Scan, k: int) -> Found:
    """The scan's neurons, in the order given to it."""
    plan = scan.manifest["plan"]
    top = scan.top_neurons(max(whole("k", k), plan["keep"]))
    candidates = []
    for neuron, values, rows in zip(plan["neurons"], top.values, top.rows, strict=True):
        values, rows = values[rows >= 0], rows[rows >= 0]
        constant = len(values) == len(scan) > 1 and values[0] == values[-1]
        layer, place = model.layer(neuron["layer"], scan.size), np.full(len(rows), neuron["place"], np.intp)
        never = values[0] <= 0 and _lives_above_zero(layer)
        dead = "never above 0" if never else "the same for every image" if constant else ""
        candidates.append(Candidates(layer, neuron["channel"], True, dead, values, rows, place))
    alive = sum(not one.dead for one in candidates)
    return Found(candidates, alive, len(candidates), "the scan's neurons")


def differing(reader: Reader, one: Candidates, k: int) -> Candidates:
    """The k that are best by maximal marginal relevance, largest value first."""
    worthy = one.take(one.values >= WORTHY * one.values[0]) if one.values[0] > 0 else one
    if one.values[0] <= 0 or len(worthy.rows) <= k:
        return worthy.first(k)
    program = reader.model.compile(_vector_program, one.layer.name)

    def vectors(size: int) -> dict[int, NDArray[Any]]:
        found: dict[int, NDArray[Any]] = {}
        place = dict(zip(worthy.rows.tolist(), worthy.places.tolist(), strict=True))
        for images, arrays in reader.batches(worthy.rows.tolist(), size):
            flat = np.array([place[image.row] for image in images])
            filled = np.concatenate([flat, np.repeat(flat[-1:], len(arrays) - len(flat))])
            at = program(arrays, {"place": filled})["vectors"]
            found |= {image.row: vector for image, vector in zip(images, at, strict=False)}
        return found

    comfortable = comfortable_batch(reader.model, reader.scan.size)
    found, _ = within_memory(reader.model, ("vectors", reader.scan.size), comfortable, vectors)
    there = worthy.take([i for i, row in enumerate(worthy.rows.tolist()) if row in found])
    if not len(there.rows):
        return worthy
    chosen = marginally_relevant(there.values, np.stack([found[row] for row in there.rows.tolist()]), k)
    return there.take(sorted(chosen))


def _vector_program(model: Model, layer: str, images: Array, arrays: dict[str, Array]) -> dict[str, Array]:
    """All channels of a layer at one place of each image."""
    xp = model.xp
    values = model.run(images, (layer,))[layer]
    flat = xp.reshape(values, (values.shape[0], -1, values.shape[-1]))
    here = xp.arange(flat.shape[1], dtype=arrays["place"].dtype) == arrays["place"][:, None]
    return {"vectors": xp.sum(xp.where(here[..., None], flat, xp.zeros_like(flat)), axis=1)}


def marginally_relevant(values: NDArray[Any], vectors: NDArray[Any], k: int) -> list[int]:
    """The numbers of the k candidates that are best by maximal marginal relevance, in the order of their choice.

    Args:
        values: shape (candidates,), the largest first and above 0.
        vectors: shape (candidates, channels), by whose cosines candidates are alike.
        k: how many.
    """
    relevance = values.astype(np.float64) / float(values[0])
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    directions = np.divide(vectors, lengths, out=np.zeros(vectors.shape), where=lengths > 0)
    alike = directions @ directions.T
    chosen = [0]
    while len(chosen) < min(k, len(values)):
        # Rounded, so that the frameworks' last digits do not choose.
        marginal = np.round(TRADE * relevance - (1 - TRADE) * alike[:, chosen].max(axis=1), 5)
        marginal[chosen] = -np.inf
        chosen.append(int(marginal.argmax()))
    return chosen
