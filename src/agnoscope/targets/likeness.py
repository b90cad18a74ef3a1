"""How much of a photo's features a layer has, and how purely: what a caricature exaggerates."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike

from agnoscope.errors import TargetError
from agnoscope.images import ImageLike, load
from agnoscope.model import Model
from agnoscope.patches import Array
from agnoscope.target import Bound, Formula, Target
from agnoscope.targets.features import features_of


@final
@dataclass(frozen=True, eq=False)
class Likeness(Target):
    """The inner product of a layer's activation with given features, times their cosine to a power (Lucid).

    The product grows with the activation, beyond that of the photo itself; the cosine keeps its direction. In units of
    the features' own squared length: 1 for the photo itself.

    Attributes:
        layer: the layer's name.
        features: finite numbers of the layer's shape, or with a leading axis of one per image; not all zero.
        power: of the cosine, from 0 on; one below 0.1 counts as 0.1.
    """

    layer: str
    features: ArrayLike = field(repr=False)
    power: float = 1.0

    @classmethod
    def to(cls, model: Model, images: ImageLike, layer: str, power: float = 1.0) -> "Likeness":
        """The likeness to what reference images give.

        Args:
            model: what `agnoscope.wrap` returned.
            images: one reference for all images, or several, one for each.
            layer: whose activation is taken, and compared later.
            power: of the cosine.

        Raises:
            ImageError: an image cannot be read or does not fit.
            LayerError: the network has no such layer.
        """
        found = features_of(model, load(images, model.spec, model.dtype).images, (layer,))[layer]
        return cls(layer, found[0] if len(found) == 1 else found, power)

    def bind(self, model: Model, count: int, size: tuple[int, int]) -> Bound:
        layer = model.layer(self.layer, size)
        features = np.asarray(self.features, dtype=np.float64)
        if features.shape not in (layer.shape, (count, *layer.shape)):
            raise TargetError(
                f"Features of shape {features.shape} were given for {layer.name!r}: it takes {layer.shape}, or "
                f"{(count, *layer.shape)} with one for each image."
            )
        rows = np.broadcast_to(features, (count, *layer.shape)).reshape(count, prod(layer.shape))
        squared = np.square(rows).sum(axis=1)
        if not (np.isfinite(squared).all() and squared.all()):
            raise TargetError(f"The features of {layer.name!r} must be finite numbers, and not all zero.")
        if not isinstance(self.power, int | float | np.number) or not 0 <= self.power < float("inf"):
            raise TargetError(f"power={self.power!r} must be a finite number from 0 on.")
        arrays = {"unit": (rows / np.sqrt(squared)[:, None]), "length": np.sqrt(squared)}
        formula = Formula(_likeness, (layer.name,), (layer.name, float(self.power)))
        arrays = {name: array.astype(model.dtype) for name, array in arrays.items()}
        return Bound(formula, arrays, "similarity", (f"likeness to features of {layer.name}",) * count)


def _likeness(xp: Any, values: Mapping[str, Array], arrays: Mapping[str, Any], name: str, power: float) -> Array:
    flat = xp.reshape(values[name], (values[name].shape[0], -1))
    product, squared = xp.sum(flat * arrays["unit"], axis=1), xp.sum(flat * flat, axis=1)
    # A root has no slope at 0; a cosine below zero must not turn the product's sign.
    cosine = product / xp.sqrt(xp.where(squared > 0, squared, xp.ones_like(squared)))
    return product / arrays["length"] * xp.maximum(cosine, xp.full_like(product, 0.1)) ** power
