"""Receptive fields: which pixels a unit of each layer sees, measured and exact, whatever the network is made of.

A *probe* is a noise image in which one pixel is another one. Where a layer's activation differs from that of the plain
noise, the unit sees the pixel. Such differences fade as they spread, so every layer is patched: wherever anything
differs, the plain activation with a big change takes its place, and elsewhere the plain one itself. What
spreads then is the network's structure alone, through every branch. A probe for each pixel of the diagonal tells rows
and columns at once, for a unit sees a pixel if it sees its row and its column.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.batches import chunks, within_memory
from agnoscope.errors import LayerError, NonFiniteError, nearest
from agnoscope.explainers.base import Progress, silent
from agnoscope.model import Layer, Model
from agnoscope.patches import Array, Patch
from agnoscope.tokens import as_map

NOISE: Final = 100
"""Differences up to so many roundings of the largest number are none: a convolution's way may depend on the place."""

MEMORY: Final = 64 * 2**20
"""Bytes of the largest activation of a batch of probes, of which there are between 4 and 32."""

Probe: TypeAlias = tuple[int | None, int | None]
"""Row and column of the pixel that is changed; None stands for all of them."""

Seen: TypeAlias = NDArray[np.bool_]
"""Which probe reached which row, or column, of units: shape (probes, units)."""


class Box(NamedTuple):
    """Pixels of an image: from `top` up to, without, `bottom`, and likewise `left` and `right`."""

    top: int
    left: int
    bottom: int
    right: int


@final
@dataclass(frozen=True, eq=False)
class ReceptiveField:
    """Which pixels the units of one layer see.

    Attributes:
        layer: its name.
        image: height and width of the image in pixels.
        rows: from which up to, without, which row of the image each row of units sees, shape (rows of units, 2);
            a row of units that sees nothing has 0 and 0.
        columns: likewise, shape (columns of units, 2).
        local: whether ways through single numbers, such as the mean over an image, were left out.
    """

    layer: str
    image: tuple[int, int]
    rows: NDArray[np.intp] = field(repr=False)
    columns: NDArray[np.intp] = field(repr=False)
    local: bool = False

    def box(self, y: int, x: int) -> Box:
        """What the unit in row `y` and column `x` of the layer's map sees, clipped to the image.

        Raises:
            LayerError: the map has no such place.
        """
        if not (0 <= y < len(self.rows) and 0 <= x < len(self.columns)):
            size = f"{len(self.rows)} × {len(self.columns)}"
            raise LayerError(f"The map of {self.layer!r} has {size} places, and ({y}, {x}) is none of them.")
        (top, bottom), (left, right) = self.rows[y].tolist(), self.columns[x].tolist()
        return Box(top, left, bottom, right)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels of what the unit that sees the most sees."""
        return tuple(int((spans[:, 1] - spans[:, 0]).max()) for spans in (self.rows, self.columns))  # type: ignore[return-value]

    @property
    def whole(self) -> bool:
        """Whether every unit sees the whole image."""
        spans = zip((self.rows, self.columns), self.image, strict=True)
        return all(bool((ends == (0, side)).all()) for ends, side in spans)


def receptive_fields(
    model: Model,
    size: tuple[int, int] | None = None,
    layers: Sequence[str] | None = None,
    *,
    local: bool = False,
    progress: Progress = silent,
) -> Mapping[str, ReceptiveField]:
    """Find which pixels each unit of the layers with maps sees. It is measured once and then remembered.

    It takes a run of the network for each row of pixels (or column, if there are more), with all its layers patched.

    Global pooling whose result goes back into the maps (squeeze-and-excitation), normalisation over the image and
    attention let every unit after them see the whole image.

    Args:
        model: the network.
        size: height and width of the image in pixels; by default the network's own.
        layers: names, or endings of them; by default all layers with maps, and the fewer, the faster.
        local: leave out ways through vectors and maps of one pixel, such as that of squeeze-and-excitation.
        progress: called with the probes done and their number.

    Returns:
        Name to receptive field, in the order of the layers.

    Raises:
        LayerError: a layer is unknown, or has no map.
        CapabilityError: "patch" is not in what the network can do.
        NonFiniteError: NaN or infinity in an activation.
        OptionError: the size of the image is not known.
    """
    model.require("patch", "measuring receptive fields")
    size = model.spec.size_or(size)
    wanted = layers_with_maps(model, size, layers)
    known: dict[str, ReceptiveField | None] = model.measured.setdefault(("seen", size, model.binding, local), {})
    if missing := [layer for layer in wanted if layer.name not in known]:
        known |= _measured(model, size, missing, local, progress)
    found = {layer.name: known[layer.name] for layer in wanted}
    if layers is not None and (unfit := [name for name, one in found.items() if one is None]):
        raise LayerError(f"The first axis of the activations of {unfit[0]!r} is not that of the images, but of parts.")
    return MappingProxyType({name: one for name, one in found.items() if one is not None})


def layers_with_maps(model: Model, size: tuple[int, int], names: Sequence[str] | None = None) -> list[Layer]:
    """The layers that have maps, or those of them that were asked for, in the order in which they run.

    Args:
        model: the network.
        size: height and width of the image in pixels.
        names: whole ones, or endings of them.

    Raises:
        LayerError: a layer is unknown, or has no map.
    """
    everything = model.layers(size)
    if names is None:
        return [layer for layer in everything.values() if layer.spatial]
    asked = {model.layer(name, size).name for name in names}
    maps = [layer.name for layer in everything.values() if layer.spatial]
    if flat := sorted(asked.difference(maps)):
        raise LayerError(
            f"The layer {flat[0]!r} has activations of shape {everything[flat[0]].shape}, no map of (height, width, "
            f"channels). Layers with maps: {nearest(flat[0], maps)}."
        )
    return [layer for layer in everything.values() if layer.name in asked]


def _measured(
    model: Model, size: tuple[int, int], wanted: Sequence[Layer], local: bool, progress: Progress
) -> dict[str, ReceptiveField | None]:
    """The receptive fields of these layers, from pixels on the diagonal and, where steps skip those, from lines.

    None stands for a layer that mixes images and places in its first axis.
    """
    probes: list[Probe] = [(i % size[0], i % size[1]) for i in range(max(size))]
    found = _probed(model, size, wanted, local, probes, progress)
    lines = list(dict.fromkeys(line for rows, _ in found.values() for line in _untold(size, probes, rows)))
    if lines:
        more = _probed(model, size, wanted, local, lines, progress)
        found = {name: [np.concatenate(seen) for seen in zip(found[name], more[name], strict=True)] for name in found}
    fields: dict[str, ReceptiveField | None] = {layer.name: None for layer in wanted}
    for name, seen in found.items():
        rows, columns = (_spans(seen[axis], [probe[axis] for probe in probes + lines]) for axis in (0, 1))
        fields[name] = ReceptiveField(name, size, rows, columns, local)
    return fields


def _untold(size: tuple[int, int], probes: Sequence[Probe], seen: Seen) -> Iterator[Probe]:
    """The rows and columns of the image of which no probe told anything: a step may skip the pixels of one axis."""
    told = [probes[number] for number in np.flatnonzero(seen.any(axis=1)).tolist()]
    rows, columns = ({probe[axis] for probe in told} for axis in (0, 1))
    yield from ((row, None) for row in range(size[0]) if row not in rows)
    yield from ((None, column) for column in range(size[1]) if column not in columns)


def _spans(seen: Seen, places: Sequence[int | None]) -> NDArray[np.intp]:
    """From which up to, without, which place of the image each unit sees, shape (units, 2).

    Args:
        seen: which probe reached which unit.
        places: of the probes; one without a place says nothing of this axis.
    """
    telling = [number for number, place in enumerate(places) if place is not None]
    at, hits = np.array([places[number] for number in telling], dtype=np.intp)[:, None], seen[telling]
    last = np.where(hits, at + 1, 0).max(axis=0)
    first = np.where(hits, at, at.max() + 1).min(axis=0)
    return np.stack([np.minimum(first, last), last], axis=1)


def _probed(
    model: Model,
    size: tuple[int, int],
    wanted: Sequence[Layer],
    local: bool,
    probes: Sequence[Probe],
    progress: Progress,
) -> dict[str, list[Seen]]:
    """Which rows and which columns of each layer's map the probes reach."""
    every = list(model.layers(size).values())
    run = tuple(every[: 1 + max(every.index(layer) for layer in wanted)])
    # Signs take turns over the channels; a single channel needs both, or else a cap may swallow every change.
    signs = (1, -1) if any(layer.shape[-1:] == (1,) and layer.spatial for layer in run) else (1,)
    names = frozenset(layer.name for layer in wanted)
    programs = [model.compile(_probe_program, (run, names, local, sign)) for sign in signs]

    def reached(batch: int) -> list[dict[str, NDArray[Any]]]:
        parts = []
        progress(0, len(probes))
        for rows, kept in chunks(len(probes), batch):
            images = _images(model, size, [probes[row] for row in rows])
            found = _either([program(images) for program in programs])
            unsound = [layer.name for layer in wanted if not found.get(f"finite {layer.name}", True)]
            if unsound:
                raise NonFiniteError(f"The network gives NaN or infinity in {unsound[0]!r} for an image of noise.")
            parts.append({name: value[1 : 1 + kept] for name, value in found.items() if value.ndim})
            progress(min(int(rows[kept - 1]) + 1, len(probes)), len(probes))
        return parts

    largest = model.outline(size).largest * np.dtype(model.dtype).itemsize
    batch = int(np.clip(MEMORY // max(largest, 1), 4, 32))
    parts, _ = within_memory(model, ("receptive fields", size), batch, reached)
    seen = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return {
        layer.name: [seen[f"rows {layer.name}"], seen[f"columns {layer.name}"]]
        for layer in wanted
        if f"rows {layer.name}" in seen
    }


def _either(found: Sequence[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """What differs under changes of any sign, and is finite under all."""
    first, *others = found
    for other in others:
        first = {n: first[n] & v if n.startswith("finite ") else first[n] | v for n, v in other.items()}
    return first


def _images(model: Model, size: tuple[int, int], probes: Sequence[Probe]) -> NDArray[Any]:
    """Plain noise and the probes; noise from the middle of the range, so that a changed pixel lies beyond all of it."""
    low, high = (b if np.isfinite(b) else d for b, d in zip(model.spec.bounds, (0.0, 1.0), strict=True))
    noise = np.random.default_rng(0).uniform(0.25, 0.75, (*size, model.spec.depth))
    images = np.repeat(noise[None], 1 + len(probes), axis=0)
    for image, place in zip(images[1:], probes, strict=True):
        row, column = (slice(None) if at is None else at for at in place)
        image[row, column] = (np.arange(model.spec.depth) + 1) % 2
    return (low + (high - low) * images).astype(model.dtype)


def _probe_program(
    model: Model, static: tuple[tuple[Layer, ...], frozenset[str], bool, int], images: Array
) -> dict[str, Array]:
    """Which rows and columns of each wanted layer's map differ from those of the first image."""
    layers, wanted, local, sign = static
    xp, count, seen = model.xp, images.shape[0], {}
    rounding = NOISE * float(np.finfo(model.dtype).eps)

    def patch(layer: Layer) -> Patch:
        def look(activation: Array) -> Array:
            if activation.shape[0] != count or len(activation.shape) < 2:
                return activation  # of no image, such as the places in a transformer
            plain = activation[:1, ...]
            if local and prod(activation.shape[1:-1]) == 1:
                return xp.broadcast_to(plain, activation.shape)
            # One number for each place, a random mixture of its channels: all of them would take ten times as long.
            mixed = xp.matmul(activation, _random(xp, plain, (plain.shape[-1], 1)))
            differs = xp.abs(mixed - mixed[:1, ...]) > rounding * xp.max(xp.abs(mixed))
            largest = xp.max(xp.abs(plain))
            if layer.name in wanted:
                marks = as_map(xp, differs, layer)
                seen[f"rows {layer.name}"] = xp.any(marks, axis=(2, 3))
                seen[f"columns {layer.name}"] = xp.any(marks, axis=(1, 3))
                seen[f"finite {layer.name}"] = xp.isfinite(xp.sum(xp.abs(mixed)))
            bump = xp.where(largest > 0, largest, xp.ones_like(largest)) * sign * _bump(xp, plain)
            return xp.where(differs, plain + bump, plain)

        return look

    model.run(images, (layers[-1].name,), {layer.name: patch(layer) for layer in layers})
    return seen


def _bump(xp: Any, plain: Array) -> Array:
    """A change that no layer swallows, of size 1 and more, shaped as the plain activation.

    Signs take turns over the channels, as a ReLU passes one of them. Sizes are random along every axis, or else a
    kernel that sums to zero would see nothing.
    """
    bump = xp.asarray(1 - 2 * (np.arange(plain.shape[-1]) % 2), dtype=plain.dtype)
    for axis, length in enumerate(plain.shape[1:], start=1):
        along = [1] * len(plain.shape)
        along[axis] = length
        bump = bump * (1.3 + 0.3 * xp.tanh(_random(xp, plain, tuple(along))))
    return bump


def _random(xp: Any, like: Array, shape: tuple[int, ...]) -> Array:
    """Normal numbers, the same at every call."""
    return xp.asarray(np.random.default_rng(0).normal(size=shape), dtype=like.dtype)
