"""Files of pixels, of which images are read where they are needed, alone or many at once.

They are read, not mapped: what was mapped counts as memory as long as it is open. No file stays open between two reads,
so that threads and processes share what stands here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import ImageError


@final
@dataclass(frozen=True)
class ArrayFile:
    """An array file: what its head said when it was opened.

    Attributes:
        path: of the file.
        shape: of the whole array.
        dtype: of the numbers.
        offset: bytes before the numbers; None where they stand in Fortran's order, and an image lies all over the file.
    """

    path: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int | None

    @classmethod
    def open(cls, path: str) -> Self:
        """Read the head of a file.

        Raises:
            OSError, ValueError, EOFError: it holds no array, or is damaged.
        """
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        return cls(path, array.shape, array.dtype, array.offset if array.flags.c_contiguous else None)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, number: int) -> NDArray[Any]:
        return self.read(number, 1)[0]

    def read(self, start: int, count: int) -> NDArray[Any]:
        """Images that lie one after the other.

        Raises:
            OSError, ValueError, EOFError: the file has gone or has become shorter.
        """
        if self.offset is None:
            return np.array(np.load(self.path, mmap_mode="r")[start : start + count])
        size = prod(self.shape[1:])
        before = self.offset + start * size * self.dtype.itemsize
        found = np.fromfile(self.path, self.dtype, count * size, offset=before)
        if len(found) < count * size:
            raise EOFError("the file has become shorter")
        return found.reshape(count, *self.shape[1:])


@final
@dataclass(frozen=True)
class Row:
    """One image of an array file, which is read where it is needed.

    Attributes:
        file: in which it lies.
        number: of the image, from 0.
    """

    file: ArrayFile
    number: int

    def read(self) -> NDArray[Any]:
        """The pixels.

        Raises:
            ImageError: the file has gone or has changed.
        """
        try:
            return self.file[self.number]
        except (OSError, ValueError, EOFError) as error:
            raise ImageError(f"Image {self.number} of {self.file.path!r} cannot be read: {error}.") from error


def block_of(rows: Sequence[Any]) -> NDArray[Any] | None:
    """The pixels of images that lie one after the other in a file, read at once; None of any others."""
    first, last = rows[0], rows[-1]
    if not (isinstance(first, Row) and isinstance(last, Row) and last.file == first.file):
        return None
    if last.number - first.number != len(rows) - 1:
        return None
    try:
        return first.file.read(first.number, len(rows))
    except (OSError, ValueError, EOFError):  # of which images that is true shows where they are read alone
        return None
