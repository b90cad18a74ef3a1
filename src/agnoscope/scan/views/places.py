"""What the units of a layer see: boxes in the image that the network saw, and in the photo that it was made from."""

from dataclasses import dataclass
from math import ceil, floor
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.inspection.receptive_fields import Box, ReceptiveField, receptive_fields
from agnoscope.model import Layer, Model
from agnoscope.targets.units import Neuron

LARGEST: Final = 512
"""Longer side in pixels of a patch that is kept."""


@final
@dataclass(frozen=True, eq=False)
class Places:
    """Where the units of a layer lie, and what they see; by flat positions in the layer's own axes."""

    layer: Layer
    size: tuple[int, int]
    field: ReceptiveField | None

    @classmethod
    def of(cls, model: Model, layer: Layer, size: tuple[int, int], notes: list[str]) -> "Places":
        """Measure what the units of a layer see.

        Ways through single numbers per channel, such as those of squeeze-and-excitation, are left out where every unit
        would see the whole image by them; a note says so.

        Args:
            model: the network.
            layer: whose units.
            size: height and width of the image.
            notes: gets sentences for the user.
        """
        if not layer.spatial:
            return cls(layer, size, None)
        if "patch" not in model.can:
            notes.append(
                f"What the units of {layer.name} see cannot be measured in this network: the whole image is shown."
            )
            return cls(layer, size, None)
        field = receptive_fields(model, size, [layer.name])[layer.name]
        if field.whole:
            local = receptive_fields(model, size, [layer.name], local=True)[layer.name]
            if not local.whole:
                notes.append(
                    f"Through single numbers per channel, such as a mean over the image, every unit of {layer.name} "
                    "sees all of it: the boxes leave these ways out."
                )
                field = local
        return cls(layer, size, field)

    def at(self, flat: int) -> tuple[int, int] | None:
        """Row and column in the layer's map; None for what has no place there."""
        if not self.layer.spatial:
            return None
        _, width, skipped = self.layer.grid or (0, self.layer.shape[1], 0)
        return divmod(flat - skipped, width) if flat >= skipped else None

    def box(self, flat: int) -> Box:
        """What the unit there sees; the whole image where that is not known."""
        place, whole = self.at(flat), Box(0, 0, *self.size)
        if place is None or self.field is None:
            return whole
        found = self.field.box(*place)
        return found if found.top < found.bottom and found.left < found.right else whole

    def neuron(self, channel: int, flat: int) -> Neuron:
        """It as a target."""
        axes = self.layer.shape[:-1]
        position: Any = tuple(int(i) for i in np.unravel_index(flat, axes)) if axes else None
        return Neuron(self.layer.name, channel, position)


def enlarged(box: Box, size: tuple[int, int], photo: tuple[int, int]) -> Box:
    """A box in pixels of a photo, to whole pixels outward.

    Args:
        box: in pixels of the image that the network saw.
        size: height and width of that image, to which the photo was stretched.
        photo: height and width of the photo.
    """
    down, across = photo[0] / size[0], photo[1] / size[1]
    return Box(
        floor(box.top * down + 1e-9),
        floor(box.left * across + 1e-9),
        ceil(box.bottom * down - 1e-9),
        ceil(box.right * across - 1e-9),
    )


def cut(photo: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    """A part of a photo, its longer side at most 512 pixels.

    Args:
        photo: uint8, shape (height, width, 3).
        box: in its pixels.
    """
    from agnoscope.render.blend import fitted

    part = photo[box.top : box.bottom, box.left : box.right]
    return fitted(part, LARGEST) if max(part.shape[:2]) > LARGEST else np.array(part)
