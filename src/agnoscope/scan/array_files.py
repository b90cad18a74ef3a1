"""Files of pixels, of which images are read where they are needed, alone or many at once."""

import os
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import ImageError


@final
@dataclass(frozen=True)
class Row:
    """One image of an array file, which is read where it is needed.

    Attributes:
        path: of the file.
        number: of the image, from 0.
    """

    path: str
    number: int

    def read(self) -> NDArray[Any]:
        """The pixels.

        Raises:
            ImageError: the file has gone or has changed.
        """
        try:
            return _opened(self.path)[self.number]
        except (OSError, ValueError, EOFError) as error:
            raise ImageError(f"Image {self.number} of {self.path!r} cannot be read: {error}.") from error


@final
@dataclass(frozen=True)
class ArrayFile:
    """An open array file. Images are read, not mapped: what was mapped counts as memory as long as it is open.

    Attributes:
        array: mapped, for its shape and dtype.
        descriptor: of the open file, closed when nobody needs it any more.
    """

    array: Any
    descriptor: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the whole array."""
        return self.array.shape

    @property
    def dtype(self) -> Any:
        """Of the numbers."""
        return self.array.dtype

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, number: int) -> NDArray[Any]:
        return self.read(number, 1)[0]

    def read(self, start: int, count: int) -> NDArray[Any]:
        """Images that lie one after the other.

        Raises:
            EOFError: the file has become shorter.
        """
        if not self.array.flags.c_contiguous:  # in Fortran's order an image lies all over the file
            return np.array(self.array[start : start + count])
        shape = self.array.shape[1:]
        size = self.array.itemsize * prod(shape)
        content = os.pread(self.descriptor, size * count, self.array.offset + start * size)
        if len(content) < size * count:
            raise EOFError("the file has become shorter")
        return np.frombuffer(content, self.array.dtype).reshape(count, *shape)


def reopened(path: str) -> ArrayFile:
    """A file as it is now, which may be another one than it was.

    Raises:
        OSError, ValueError, EOFError: it holds no array, or is damaged.
    """
    _opened.cache_clear()
    return _opened(path)


def block_of(rows: Sequence[Any]) -> NDArray[Any] | None:
    """The pixels of images that lie one after the other in a file, read at once; None of any others."""
    first, last = rows[0], rows[-1]
    if not (isinstance(first, Row) and isinstance(last, Row) and last.path == first.path):
        return None
    if last.number - first.number != len(rows) - 1:
        return None
    try:
        return _opened(first.path).read(first.number, len(rows))
    except (OSError, ValueError, EOFError):  # of which images that is true shows where they are read alone
        return None


@lru_cache(maxsize=4)
def _opened(path: str) -> ArrayFile:
    found = ArrayFile(np.load(path, mmap_mode="r", allow_pickle=False), os.open(path, os.O_RDONLY))
    weakref.finalize(found, os.close, found.descriptor)
    return found
