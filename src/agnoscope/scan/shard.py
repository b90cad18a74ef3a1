"""One shard: some images go through the network, and what is kept of them goes into a file.

    ids         numbers of the images that were done, increasing                    int64   (images,)
    mean i      of layer i: the mean of each channel over the positions             float32 (images, channels)
    values i    of layer i: each channel's largest values, best first               float32 (channels, keep)
    owners i    the images that they come from; equal values lie in their order     int64   (channels, keep)
    places i    where in the layer's map, as row · width + column                   int32   (channels, keep)
    ... n       likewise for the neurons
    map i       of the i-th layer kept whole, channels last                         float16 (images, ..., channels)
    classes     the network's first answers                                         int32   (images, answers)
    scores      and their scores before the softmax or sigmoid                      float32 (images, answers)

The header, in JSON, has the images' names and labels, and those that could not be read with the reason.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.archive import read_archive, write_archive
from agnoscope.batches import within_memory
from agnoscope.errors import ImageError
from agnoscope.images import load_one
from agnoscope.model import Layer, Model
from agnoscope.patches import Array
from agnoscope.scan.collection import Item
from agnoscope.scan.plan import Settled
from agnoscope.tokens import as_map

KIND: Final = "shard"
FORMAT: Final = 1
ANSWERS: Final = 5
"""How many of the network's answers are kept of each image."""
READERS: Final = 4
"""Threads that read and resize photos while the network computes."""


@final
@dataclass(frozen=True)
class Peaks:
    """The largest values of units, best first, and where they were found; equal ones in the order of the images.

    Attributes:
        values: shape (units, keep); -inf where there are fewer images.
        owners: numbers of the images; -1 where there are fewer.
        places: flat positions in the layer's map.
    """

    values: NDArray[np.float32]
    owners: NDArray[np.int64]
    places: NDArray[np.int32]

    @classmethod
    def of(cls, values: NDArray[Any], owners: NDArray[np.int64], places: NDArray[Any], keep: int) -> "Peaks":
        """The best of candidates.

        Args:
            values: shape (candidates, units).
            owners: of the candidates, shape (candidates,) and increasing, or (candidates, units) in any order.
            places: shape (candidates, units).
            keep: how many.
        """
        ordered = owners.ndim == 1
        order = np.argsort(-values, axis=0, kind="stable") if ordered else np.lexsort((owners, -values), axis=0)
        order, owners = order[:keep], np.broadcast_to(owners.reshape(len(owners), -1), values.shape)
        chosen = [np.take_along_axis(table, order, axis=0).T for table in (values, owners, places)]
        short = keep - len(order)
        fillings = (-np.inf, -1, 0)
        padded = [np.pad(t, ((0, 0), (0, short)), constant_values=f) for t, f in zip(chosen, fillings, strict=True)]
        return cls(padded[0].astype(np.float32), padded[1].astype(np.int64), padded[2].astype(np.int32))

    def with_others(self, other: "Peaks") -> "Peaks":
        """The best of these and others; the order in which peaks are put together does not matter."""
        values, owners, places = (
            np.concatenate([getattr(self, name).T, getattr(other, name).T]) for name in ("values", "owners", "places")
        )
        return Peaks.of(values, owners, places, self.values.shape[1])


@final
@dataclass(frozen=True)
class Shard:
    """What is kept of some images; the arrays are named as at the head of this file."""

    arrays: dict[str, NDArray[Any]]
    names: tuple[str, ...]
    labels: tuple[str, ...]
    failures: tuple[tuple[str, str], ...] = ()

    def save(self, path: Path) -> Path:
        """Write it, whole or not at all; equal shards give equal bytes.

        Raises:
            FileError: it cannot be written.
        """
        header = {"kind": KIND, "format": FORMAT, "names": self.names, "labels": self.labels}
        return write_archive(path, header | {"failures": self.failures}, self.arrays, packed=False)

    @classmethod
    def load(cls, path: Path) -> "Shard":
        """Read it.

        Raises:
            FileError: it is missing, damaged or no shard.
        """
        header, arrays = read_archive(path, KIND, FORMAT)
        failures = tuple((name, reason) for name, reason in header["failures"])
        return cls(arrays, tuple(header["names"]), tuple(header["labels"]), failures)


def scan_shard(model: Model, plan: Settled, items: Sequence[Item]) -> Shard:
    """Let images pass through the network, and keep what the plan says.

    Args:
        model: the network.
        plan: settled for it.
        items: the images; those that cannot be read are left out and noted.

    Raises:
        OutOfMemoryError: not even one image at a time fits.
    """
    parts, _ = within_memory(
        model, ("scan", plan.size), plan.batch_size, lambda size: _passes(model, plan, items, size)
    )
    done = [item for part in parts for item in part.items]
    failures = tuple(failure for part in parts for failure in part.failures)
    ids = np.array([item.number for item in done], dtype=np.int64)
    found = {name: np.concatenate([part.found[name] for part in parts]) for name in parts[0].found}
    kept = {"ids": ids} | {n: a for n, a in found.items() if not n.startswith(("peak ", "place "))}
    for unit in [n.removeprefix("peak ") for n in found if n.startswith("peak ")]:
        peaks = Peaks.of(found[f"peak {unit}"], ids, found[f"place {unit}"], plan.keep)
        kept |= {f"values {unit}": peaks.values, f"owners {unit}": peaks.owners, f"places {unit}": peaks.places}
    return Shard(kept, tuple(i.name for i in done), tuple(i.label for i in done), failures)


@dataclass(frozen=True)
class _Part:
    """What one batch gave, of the images that could be read and whose numbers are finite."""

    items: list[Item]
    found: dict[str, NDArray[Any]]
    failures: list[tuple[str, str]]


def _passes(model: Model, plan: Settled, items: Sequence[Item], batch_size: int) -> list[_Part]:
    program = model.compile(_keep_program, (plan.layers, plan.neurons, plan.maps))
    return [_pass(program, *batch) for batch in _batches(model, plan, items, batch_size)]


def _batches(
    model: Model, plan: Settled, items: Sequence[Item], size: int
) -> Iterator[tuple[list[Item], NDArray[Any], list[tuple[str, str]]]]:
    """Batches of one length, the last image repeated; the next one is read while this one is computed."""
    starts = range(0, len(items), size)
    with ThreadPoolExecutor(READERS) as pool:

        def ask(start: int) -> list[Future[NDArray[Any] | str]]:
            return [pool.submit(_read, item, model, plan.size) for item in items[start : start + size]]

        asked = ask(0)
        for start in starts:
            read, asked = [each.result() for each in asked], ask(start + size)
            batch = items[start : start + size]
            good = [item for item, one in zip(batch, read, strict=True) if not isinstance(one, str)]
            arrays = [one for one in read if not isinstance(one, str)]
            blank = np.zeros((*plan.size, model.spec.depth), dtype=model.dtype)
            filled = np.stack(arrays + [arrays[-1] if arrays else blank] * (size - len(arrays)))
            yield good, filled, [(i.name, one) for i, one in zip(batch, read, strict=True) if isinstance(one, str)]


def _read(item: Item, model: Model, size: tuple[int, int]) -> NDArray[Any] | str:
    """An image for the network, or why there is none."""
    try:
        array, _ = load_one(item.read(), model.spec, model.dtype, item.name)
        if array.shape[:2] != size:
            return f"{item.name} has height and width {array.shape[:2]}; this scan is of images of {size}."
    except ImageError as error:
        return str(error)
    return array


def _pass(program: Any, items: list[Item], images: NDArray[Any], failures: list[tuple[str, str]]) -> _Part:
    found = {name: array[: len(items)] for name, array in program(images).items()}
    scores = found.pop("scores").reshape(len(items), -1)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :ANSWERS]
    found["classes"] = best.astype(np.int32)
    found["scores"] = np.take_along_axis(scores, best, axis=1).astype(np.float32)
    sound = np.isfinite(scores).all(axis=1)
    for name, array in found.items():
        if name.startswith(("mean ", "peak ")):
            sound &= np.isfinite(array).all(axis=1)
        elif name.startswith("map "):
            found[name] = array.astype(np.float16)
    failures += [
        (item.name, f"The network gives NaN or infinity for {item.name}.")
        for item, fine in zip(items, sound, strict=True)
        if not fine
    ]
    return _Part(
        [i for i, fine in zip(items, sound, strict=True) if fine], {n: a[sound] for n, a in found.items()}, failures
    )


def _keep_program(model: Model, static: Any, images: Array) -> dict[str, Array]:
    """What is kept of each image."""
    layers, neurons, maps = static
    xp = model.xp
    wanted = dict.fromkeys(layer.name for layer in (*layers, *(n[0] for n in neurons), *maps))
    values = model.run(images, (*wanted, "scores"))
    found = {"scores": values["scores"]}
    for i, layer in enumerate(layers):
        flat = _flat(xp, values[layer.name], layer)
        found[f"mean {i}"] = xp.mean(flat, axis=1)
        found[f"peak {i}"] = xp.max(flat, axis=1)
        found[f"place {i}"] = xp.argmax(flat, axis=1)
    if neurons:
        units = [
            xp.reshape(v, (v.shape[0], -1, v.shape[-1]))[:, place, channel]
            for v, channel, place in ((values[layer.name], channel, place) for layer, channel, place in neurons)
        ]
        found["peak n"] = xp.stack(units, axis=1)
        found["place n"] = xp.zeros_like(found["peak n"]) + xp.asarray(
            [place for _, _, place in neurons], dtype=found["peak n"].dtype
        )
    for i, layer in enumerate(maps):
        found[f"map {i}"] = as_map(xp, values[layer.name], layer)
    return found


def _flat(xp: Any, activation: Array, layer: Layer) -> Array:
    """A layer's activation as (images, positions, channels)."""
    if layer.grid is not None:
        activation = as_map(xp, activation, layer)
    return xp.reshape(activation, (activation.shape[0], -1, activation.shape[-1]))
