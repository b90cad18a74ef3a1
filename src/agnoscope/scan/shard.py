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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.archive import read_archive, write_archive
from agnoscope.batches import within_memory
from agnoscope.errors import ImageError
from agnoscope.images import InputSpec, brought_into, load_array
from agnoscope.model import Model
from agnoscope.patches import Array
from agnoscope.scan.array_files import Row, block_of
from agnoscope.scan.collection import Item
from agnoscope.scan.features import in_positions
from agnoscope.scan.plan import Settled
from agnoscope.tokens import as_map

KIND: Final = "shard"
FORMAT: Final = 1
ANSWERS: Final = 5
"""How many of the network's answers are kept of each image."""
READERS: Final = 4
"""Threads that read and resize photos while the network computes."""
LARGEST: Final = float(np.finfo(np.float16).max)
"""In half precision; what lies beyond becomes this."""


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
        order, owners = order[:keep], np.broadcast_to(owners[:, None] if ordered else owners, values.shape)
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
        items: the images, at least one; those that cannot be read are left out and noted.

    Raises:
        OutOfMemoryError: not even one image at a time fits.
    """
    parts, _ = within_memory(
        model, ("scan", plan.size), plan.batch_size, lambda size: _passes(model, plan, items, size)
    )
    found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    reasons = [reason for part in parts for reason in part["reasons"].tolist()]
    done = [item for item, reason in zip(items, reasons, strict=True) if not reason]
    ids = np.array([item.number for item in done], dtype=np.int64)
    kept = {"ids": ids} | {n: found[n] for n in found if n.startswith(("mean ", "map "))}
    if plan.neurons:
        places = [place for _, _, place in plan.neurons]
        found["place n"] = np.broadcast_to(np.array(places), found["peak n"].shape)
    for unit in (*map(str, range(len(plan.layers))), *(["n"] if plan.neurons else [])):
        peaks = Peaks.of(found[f"peak {unit}"], ids, found[f"place {unit}"], plan.keep)
        kept |= {f"values {unit}": peaks.values, f"owners {unit}": peaks.owners, f"places {unit}": peaks.places}
    kept |= {"classes": found["classes"], "scores": found["scores"]}
    failures = tuple((item.name, reason) for item, reason in zip(items, reasons, strict=True) if reason)
    return Shard(kept, tuple(item.name for item in done), tuple(item.label for item in done), failures)


def _passes(model: Model, plan: Settled, items: Sequence[Item], size: int) -> list[dict[str, NDArray[Any]]]:
    """What the batches gave, each of one length."""
    program = model.compile(_keep_program, (plan.layers, plan.neurons, plan.maps))
    spec = replace(model.spec, size=plan.size)
    batches = [items[start : start + size] for start in range(0, len(items), size)]
    # Pixels are read in less time than it takes to have a thread do it.
    read = _read_in_turn if isinstance(items[0].image, Row | np.ndarray) else _read_ahead
    return [
        _pass(program, batch, images, reasons)
        for batch, (images, reasons) in zip(batches, read(batches, spec, model.dtype, size), strict=True)
    ]


def _read_in_turn(
    batches: list[Sequence[Item]], spec: InputSpec, dtype: str, length: int
) -> Iterator[tuple[NDArray[Any], list[str]]]:
    """The arrays of batches, all in one memory, and for each image why it has none, or "".

    What stands in places without an image does not matter.
    """
    images = np.zeros((length, *spec.size_or(None), spec.depth), dtype=dtype)
    for batch in batches:
        yield images, _read(batch, spec, images)


def _read_ahead(
    batches: list[Sequence[Item]], spec: InputSpec, dtype: str, length: int
) -> Iterator[tuple[NDArray[Any], list[str]]]:
    """Likewise, by threads, which read the next batch while one is computed."""
    share = -(-length // READERS)
    with ThreadPoolExecutor(READERS) as pool:

        def asked(batch: Sequence[Item]) -> tuple[NDArray[Any], Iterator[list[str]]]:
            images = np.zeros((length, *spec.size_or(None), spec.depth), dtype=dtype)
            starts = range(0, len(batch), share)
            shares = ([batch[i : i + share] for i in starts], [images[i : i + share] for i in starts])
            return images, pool.map(lambda items, places: _read(items, spec, places), *shares)

        ahead = asked(batches[0])
        for following in (*batches[1:], ()):
            images, answers = ahead
            reasons = [reason for answer in answers for reason in answer]
            ahead = asked(following)
            yield images, reasons


def _read(items: Sequence[Item], spec: InputSpec, places: NDArray[Any]) -> list[str]:
    """Put images into their places; for each one the reason why it cannot be read, or ""."""
    block = block_of([item.image for item in items])
    if block is not None and block.dtype == np.uint8 and block.shape[1:] == places.shape[1:]:
        brought_into(spec, block, places[: len(items)])
        return [""] * len(items)
    reasons = []
    for item, place in zip(items, places, strict=False):
        try:
            place[...] = load_array(item.read(), spec, places.dtype.name, item.name)
            reasons.append("")
        except ImageError as error:
            reasons.append(str(error))
    return reasons


def _pass(program: Any, items: Sequence[Item], images: NDArray[Any], reasons: list[str]) -> dict[str, NDArray[Any]]:
    """What one batch gave, of the images that could be read and whose numbers are finite; and why others failed."""
    found = {name: array[: len(items)] for name, array in program(images).items()}
    scores = found.pop("scores").reshape(len(items), -1)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :ANSWERS]
    found |= {"classes": best.astype(np.int32), "scores": np.take_along_axis(scores, best, axis=1).astype(np.float32)}
    finite = np.isfinite(scores).all(axis=1)
    for name, array in found.items():
        if name.startswith(("mean ", "peak ")):
            finite &= np.isfinite(array).all(axis=1)
        elif name.startswith("map "):
            found[name] = np.clip(array, -LARGEST, LARGEST).astype(np.float16)
    told = [
        reason or ("" if fine else f"The network gives NaN or infinity for {item.name}.")
        for item, reason, fine in zip(items, reasons, finite, strict=True)
    ]
    good = np.array([not reason for reason in told])
    return {name: array[good] for name, array in found.items()} | {"reasons": np.array(told)}


def _keep_program(model: Model, static: Any, images: Array) -> dict[str, Array]:
    """What is kept of each image."""
    layers, neurons, maps = static
    xp = model.xp
    wanted = dict.fromkeys(layer.name for layer in (*layers, *(n[0] for n in neurons), *maps))
    values = model.run(images, (*wanted, "scores"))
    found = {"scores": values["scores"]}
    for i, layer in enumerate(layers):
        flat = in_positions(xp, values[layer.name], layer)
        largest = xp.max(flat, axis=1, keepdims=True)
        # The first of the largest; `argmax` says the same, and is several times slower where XLA compiles it.
        numbers = xp.arange(flat.shape[1], dtype=xp.int32)[None, :, None]
        found[f"mean {i}"] = xp.mean(flat, axis=1)
        found[f"peak {i}"] = largest[:, 0, :]
        found[f"place {i}"] = xp.min(xp.where(flat == largest, numbers, flat.shape[1] - 1), axis=1)
    if neurons:
        units = [
            xp.reshape(values[layer.name], (images.shape[0], -1, layer.shape[-1]))[:, place, channel]
            for layer, channel, place in neurons
        ]
        found["peak n"] = xp.stack(units, axis=1)
    for i, layer in enumerate(maps):
        found[f"map {i}"] = as_map(xp, values[layer.name], layer)
    return found
