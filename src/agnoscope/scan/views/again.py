"""Images of a class once more through the network: how its score depends on each channel, and the channels' maps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.batches import comfortable_batch, within_memory
from agnoscope.errors import FileError
from agnoscope.explainers.base import Progress
from agnoscope.gradients import gradients
from agnoscope.model import Layer, Model
from agnoscope.patches import Array
from agnoscope.render.blend import fitted
from agnoscope.scan.views.rereading import Reader
from agnoscope.synthesis import as_picture
from agnoscope.target import Bound, ClassScore, Formula
from agnoscope.targets.classes import classes_of
from agnoscope.tokens import as_map

SIDE: Final = 256
"""Longer side in pixels of the photos that are kept."""


@final
@dataclass(frozen=True, eq=False)
class Sights:
    """What images look like, and the maps of some channels over them; by rows of the scan."""

    photos: Mapping[int, NDArray[np.uint8]]
    maps: Mapping[int, NDArray[Any]]
    mean_photo: NDArray[np.uint8]


@final
@dataclass(frozen=True, eq=False)
class Again:
    """Images of a scan pass through the network again.

    Attributes:
        model: the network.
        reader: of the images.
        layer: whose channels are looked at.
        progress: called with the images that went through and their number.
        notes: sentences for the user.
    """

    model: Model
    reader: Reader
    layer: Layer
    progress: Progress
    notes: list[str] = field(default_factory=list)

    def slope(self, rows: Sequence[int], label: str) -> NDArray[np.float64]:
        """How much a class's score rises with each channel's mean, on average over images, shape (channels,).

        NaN where the network has no such class, or no gradients.
        """
        index = class_index(self.model, label, self.reader.scan.size)
        if index is None or "gradient" not in self.model.can:
            why = f"has no class {label!r}" if index is None else "has no gradients"
            self.notes.append(f"This {self.model.backend} network {why}: contributions to its score are not known.")
            return np.full(self.layer.shape[-1], np.nan)
        bound = ClassScore(index).bind(self.model, 1, self.reader.scan.size)
        program = self.model.compile(_slope_program, (self.layer, bound.formula))

        def passes(batch: int) -> NDArray[np.float64]:
            total, done = np.zeros(self.layer.shape[-1]), 0
            for images, arrays in self.reader.batches(rows, batch):
                asked = bound.take(np.zeros(len(arrays), np.intp)).arrays
                total += program(arrays, asked)["slopes"][: len(images)].astype(np.float64).sum(axis=0)
                done += len(images)
            self._check(done, len(rows))
            return total / done

        return self._within_memory("slopes", passes)

    def sights(self, rows: Sequence[int], channels: Sequence[int]) -> Sights:
        """Photos, and the maps of some channels, shape (rows, columns, channels) each.

        Raises:
            FileError: none of the images can be read any more.
        """
        program = self.model.compile(_map_program, self.layer)
        pick = np.zeros((self.layer.shape[-1], len(channels)), self.model.dtype)
        pick[channels, np.arange(len(channels))] = 1

        def passes(batch: int) -> Sights:
            photos, maps, total = {}, {}, np.zeros((*self.reader.scan.size, self.model.spec.depth))
            self.progress(0, len(rows))
            for images, arrays in self.reader.batches(rows, batch):
                found = program(arrays, {"pick": pick})["maps"]
                for image, chosen in zip(images, found, strict=False):
                    photo = image.photo
                    photos[image.row] = fitted(photo, SIDE) if max(photo.shape[:2]) > SIDE else np.array(photo)
                    maps[image.row] = np.array(chosen)
                    total += image.array
                self.progress(len(maps), len(rows))
            self._check(len(maps), len(rows))
            return Sights(photos, maps, as_picture(total / len(maps), self.model.spec.bounds))

        return self._within_memory("sights", passes)

    def _within_memory(self, what: str, passes: Any) -> Any:
        size = self.reader.scan.size
        return within_memory(self.model, (what, size), comfortable_batch(self.model, size), passes)[0]

    def _check(self, done: int, wanted: int) -> None:
        if not done:
            raise FileError(
                f"None of {wanted} images that the scan points to can be read any more: {self.reader.reasons(1)[0]}"
            )


def class_index(model: Model, label: str, size: tuple[int, int]) -> int | None:
    """The number of a class by its label, or by its number where no label is called so; None where there is none.

    A label of several names, such as "Samoyed, Samoyede", is known by each that no other label has.
    """
    asked, labels = label.lower(), [known.lower() for known in model.labels or ()]
    named = [number for number, known in enumerate(labels) if asked in (name.strip() for name in known.split(","))]
    if asked in labels or len(named) == 1:
        return labels.index(asked) if asked in labels else named[0]
    return int(label) if label.isdecimal() and int(label) < classes_of(model, size)[0] else None


def _slope_program(
    model: Model, static: tuple[Layer, Formula], images: Array, arrays: Mapping[str, Any]
) -> dict[str, Array]:
    """The score's gradient at a layer, summed over the places: what a rise of the channel's mean is worth."""
    layer, formula = static
    found = gradients(model, images, Bound(formula, arrays, "", ()), needs=formula.needs, at=(layer.name,))
    return {"slopes": model.xp.sum(as_map(model.xp, found.layers[layer.name], layer), axis=(1, 2))}


def _map_program(model: Model, layer: Layer, images: Array, arrays: Mapping[str, Any]) -> dict[str, Array]:
    """The maps of some channels."""
    maps = as_map(model.xp, model.run(images, (layer.name,))[layer.name], layer)
    return {"maps": model.xp.matmul(maps, arrays["pick"])}
