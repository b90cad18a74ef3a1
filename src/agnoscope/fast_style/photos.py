"""The photos that a network is trained on: read when their turn comes, in an order that the seed tells."""

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import ImageError
from agnoscope.explainers.synthesis.style import cut
from agnoscope.images import ImageLike, InputSpec, load
from agnoscope.runs import photos_in

KEPT: Final = 256 * 2**20
"""Bytes of photos that are kept in memory, so as not to be read again."""


@final
class Photos:
    """Photos, shuffled anew whenever all had their turn.

    Attributes:
        items: paths or arrays.
        unread: name of each photo that could not be read, and was passed over, to the reason.
    """

    def __init__(
        self,
        images: str | Path | Iterable[ImageLike],
        spec: InputSpec,
        size: tuple[int, int],
        dtype: str,
        seed: int,
    ) -> None:
        """Look at what there is, without reading it.

        Args:
            images: a folder, or paths and arrays one by one, or one array of several images.
            spec: what the network expects of a photo.
            size: height and width in pixels to which the middle of each is brought.
            dtype: of the network.
            seed: of the order.

        Raises:
            FileError: there is no such folder, or no photo in it.
            ImageError: there is no image.
        """
        if isinstance(images, str | Path):
            images = photos_in(images)
        several = isinstance(images, Iterable) and getattr(images, "ndim", 4) == 4
        self.items: list[Any] = list(images) if several else []
        if not self.items:
            raise ImageError("There are no photos to train on: give a folder, or a list of paths or arrays.")
        self.unread: dict[str, str] = {}
        self._spec, self._size, self._dtype, self._seed = replace(spec, size=None), size, dtype, seed
        self._kept: dict[int, NDArray[Any]] = {}
        self._order: tuple[int, NDArray[np.intp]] = (-1, np.zeros(0, np.intp))

    def __len__(self) -> int:
        return len(self.items)

    def take(self, turns: Iterable[int]) -> NDArray[Any]:
        """The photos of these turns, counted from 0 over all rounds; one that cannot be read gives way to the next.

        Returns:
            Shape (photos, height, width, channels).

        Raises:
            ImageError: none of the photos can be read.
        """
        return np.stack([self._turn(turn) for turn in turns])

    def digest(self) -> str:
        """Tells these photos from others: paths by their names, arrays by their numbers."""
        digest = hashlib.sha256()
        for item in self.items:
            digest.update(str(item).encode() if isinstance(item, str | Path) else np.ascontiguousarray(item).tobytes())
        return digest.hexdigest()

    def _turn(self, turn: int) -> NDArray[Any]:
        round_, place = divmod(turn, len(self))
        if self._order[0] != round_:
            self._order = round_, np.random.default_rng([self._seed, 1, round_]).permutation(len(self))
        for row in np.roll(self._order[1], -place):
            photo = self._photo(int(row))
            if photo is not None:
                return photo
        name, reason = next(iter(self.unread.items()))
        raise ImageError(f"None of the {len(self)} photos can be read; {name}: {reason}")

    def _photo(self, row: int) -> NDArray[Any] | None:
        if row in self._kept:
            return self._kept[row]
        item = self.items[row]
        name = str(item) if isinstance(item, str | Path) else f"image {row + 1}"
        if name in self.unread:
            return None
        try:
            photo = cut(load(item, self._spec, self._dtype).images, self._size)[0]
        except ImageError as error:
            self.unread[name] = str(error)
            return None
        if (len(self._kept) + 1) * photo.nbytes <= KEPT:
            self._kept[row] = photo
        return photo
