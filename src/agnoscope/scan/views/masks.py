"""Masks of the objects in a scan's images: given by name, or a folder of them beside or in that of the photos.

In a folder a mask has its photo's name, whatever the ending, in the same subfolder or in none: black or transparent is
background, all else the object.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Self, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import ImageError, OptionError
from agnoscope.photos import decode_mask
from agnoscope.runs import photos_in
from agnoscope.scan.scan import Scan

Masks: TypeAlias = Mapping[str, Any] | str | Path | None
"""Name of an image to its mask (an array of two axes, or the path of a picture), a folder of masks, or none at all."""


@final
@dataclass(frozen=True, eq=False)
class ObjectMasks:
    """Where the masks of a scan's images are.

    Attributes:
        scan: the scan.
        known: name of an image, or what its mask is called, to the mask or where it lies.
        unfit: name and reason of each image whose mask cannot be used.
    """

    scan: Scan
    known: Mapping[str, Any]
    unfit: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, scan: Scan, masks: Masks) -> Self:
        """What a user gives.

        Raises:
            FileError: there is no such folder, or nothing in it.
            OptionError: no image of the scan has a mask among those given.
        """
        if masks is None:
            return cls(scan, {})
        if isinstance(masks, str | Path):
            folder = Path(masks)
            found = cls(scan, {p.relative_to(folder).with_suffix("").as_posix(): p for p in photos_in(folder)})
        else:
            found = cls(scan, dict(masks))
        if not any(found._place(name) is not None for name in scan.names):
            raise OptionError(
                f"None of {len(found.known)} masks has the name of an image in the scan, such as {scan.names[0]!r}."
            )
        return found

    def read(self, rows: Sequence[int]) -> dict[int, NDArray[np.bool_]]:
        """The masks of some images at the size at which the network saw them; those without a fit one are left out.

        Returns:
            Row of the scan to mask, shape (height, width): true where the object is, neither everywhere nor nowhere.
        """
        return dict(self._read(rows))

    def _read(self, rows: Sequence[int]) -> Iterator[tuple[int, NDArray[np.bool_]]]:
        from PIL import Image

        height, width = self.scan.size
        for row in rows:
            name = self.scan.names[row]
            place = self._place(name)
            if place is None:
                continue
            try:
                drawn = decode_mask(place) if isinstance(place, str | Path) else np.asarray(place) > 0
                if drawn.ndim != 2:
                    raise ImageError(f"The mask of {name!r} has the shape {drawn.shape}; it must be (height, width).")
            except ImageError as error:
                self.unfit[name] = str(error)
                continue
            shown = Image.fromarray(drawn).resize((width, height), Image.Resampling.NEAREST)
            mask = np.asarray(shown, dtype=np.bool_)
            if mask.any() and not mask.all():
                yield row, mask
            else:
                self.unfit[name] = f"The mask of {name!r} holds {'nothing but' if mask.any() else 'no'} object."

    def _place(self, name: str) -> Any:
        """The mask of an image, or where it lies."""
        path = PurePosixPath(name)
        for key in (name, path.with_suffix("").as_posix(), path.stem):
            if key in self.known:
                return self.known[key]
        return None
