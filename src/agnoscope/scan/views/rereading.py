"""The images of a scan once more: read as the network takes them, one by one or in batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import FileError, ImageError, OptionError
from agnoscope.images import InputSpec, load_one
from agnoscope.model import Model
from agnoscope.scan.scan import Scan


class Reread(NamedTuple):
    """An image of the scan, as the network takes it, and its photo.

    Attributes:
        row: of the scan.
        array: shape (height, width, channels), in the network's bounds and dtype.
        photo: uint8, shape (height, width, 3), at its own size.
    """

    row: int
    array: NDArray[Any]
    photo: NDArray[np.uint8]


@final
@dataclass(frozen=True, eq=False)
class Reader:
    """Reads the images of a scan again.

    Attributes:
        model: the network that was scanned.
        scan: the scan.
        gone: name and reason of each image that could be read for the scan and cannot be read any more.
    """

    model: Model
    scan: Scan
    gone: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, model: Model, scan: Scan) -> Self:
        """A reader of a scan, where the network is the one that was scanned.

        Raises:
            OptionError: it is another one, or the scan has no image.
        """
        scan.check(model)
        if not len(scan):
            raise OptionError(
                f"The scan in {str(scan.folder)!r} holds no image: {len(scan.failures)} were left out"
                + (f", the first because: {scan.failures[0][1]}" if scan.failures else ".")
            )
        return cls(model, scan)

    @property
    def spec(self) -> InputSpec:
        """What the network expects of an image, at the size of the scan."""
        return replace(self.model.spec, size=self.scan.size)

    def read(self, row: int) -> Reread | None:
        """One image; None where it cannot be read any more, which is noted.

        Raises:
            FileError: the whole collection cannot be read again.
        """
        name = self.scan.names[row]
        try:
            return Reread(row, *load_one(self.scan.image(row), self.spec, self.model.dtype, name))
        except ImageError as error:
            self.gone[name] = str(error)
            return None

    def there(self, rows: Sequence[int]) -> list[Reread]:
        """Those of some images that can be read.

        Raises:
            FileError: none of them can.
        """
        found = [image for image in map(self.read, rows) if image is not None]
        if rows and not found:
            raise FileError(
                f"None of {len(rows)} images that the scan points to can be read any more: {self.reasons(1)[0]}"
            )
        return found

    def batches(self, rows: Sequence[int], size: int) -> Iterator[tuple[list[Reread], NDArray[Any]]]:
        """Images in batches of one length, the last one filled with its last image.

        Yields:
            Those that can be read, and their arrays, shape (size, height, width, channels).
        """
        size = min(size, len(rows))
        for start in range(0, len(rows), max(size, 1)):
            found = [image for image in map(self.read, rows[start : start + size]) if image is not None]
            if found:
                yield found, np.stack([image.array for image in found + found[-1:] * (size - len(found))])

    def reasons(self, most: int = 3) -> list[str]:
        """Why images cannot be read, for the user; the first ones, and how many more."""
        told = [f"{name}: {reason}" for name, reason in list(self.gone.items())[:most]]
        more = len(self.gone) - len(told)
        return told + ([f"{more} more images cannot be read any more."] if more > 0 else [])


def thumbnail(scan: Scan, row: int, side: int) -> NDArray[np.uint8]:
    """An image's picture with at most this longer side; a gray one where it cannot be read any more.

    Raises:
        FileError: the whole collection cannot be read again.
    """
    try:
        return scan.picture(row, side)
    except ImageError:
        return np.full((side, side, 3), 128, np.uint8)
