"""How many images go through the network at once: a comfortable number, less where memory runs out."""

from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import OutOfMemoryError
from agnoscope.model import Model

COMFORT: Final = 32 * 2**20
"""Bytes of the largest activation of a batch; larger ones make CPUs wait for memory."""

WORDS: Final = ("out of memory", "resource_exhausted", "allocate memory", "failed to allocate", "oom when allocating")
"""By these words the frameworks say that memory has run out."""

Result = TypeVar("Result")


def even(count: int, size: int) -> int:
    """The length into which `count` items are best cut.

    It lies above half of `size` and is `size` at the most: the one that leaves the fewest places to be filled with work
    for nothing.
    """
    size = min(size, count)
    return min(range(size // 2 + 1, size + 1), key=lambda length: (-count % length, -length))


def chunks(count: int, size: int) -> Iterator[tuple[NDArray[np.intp], int]]:
    """Cut `count` items into chunks of one length, at most `size`, so that one compiled program serves all.

    Yields:
        The items' numbers, the last one repeated to fill the last chunk, and how many of them count.
    """
    return filled(count, even(count, size))


def filled(count: int, length: int) -> Iterator[tuple[NDArray[np.intp], int]]:
    """Cut `count` items into chunks of just this length; yields as `chunks` does."""
    for start in range(0, count, length):
        rows = np.arange(start, start + length)
        yield np.minimum(rows, count - 1), min(length, count - start)


def comfortable_batch(model: Model, size: tuple[int, int]) -> int:
    """How many images keep the network's largest activation below 32 MiB; between 1 and 64."""
    numbers = max(model.outline(size).largest, 3 * size[0] * size[1])
    return int(np.clip(COMFORT // (numbers * np.dtype(model.dtype).itemsize), 1, 64))


def within_memory(model: Model, key: Any, wanted: int, work: Callable[[int], Result]) -> tuple[Result, int]:
    """Do the work with batches that memory can hold.

    The batch is halved as often as memory runs out, and what fitted is remembered for the next call.

    Args:
        model: the network, which remembers.
        key: what the memory depends on: the method and the size of the image.
        wanted: how many images at once at the most.
        work: does it with batches of a given size.

    Returns:
        What the work gave, and the size of its batches.

    Raises:
        OutOfMemoryError: not even one image at a time fits.
    """
    batch = min(wanted, model.batch_limits.get(key, wanted))
    while True:
        try:
            return work(batch), batch
        except Exception as error:
            if not ran_out_of_memory(error):
                raise
            if batch == 1:
                raise OutOfMemoryError(
                    "Memory does not suffice for one image at a time. Use a smaller image or a method of fewer passes. "
                    f"The framework says: {error}"
                ) from error
        # Beyond the `except`, or else the traceback would keep the failed batch in memory.
        batch //= 2
        model.batch_limits[key] = batch


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether memory has run out, in whichever framework's words, or in Python's own."""
    return isinstance(error, MemoryError) or any(word in str(error).lower() for word in WORDS)
