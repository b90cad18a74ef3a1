"""Nearness to given features: what makes an image resemble another one, to the network."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, final, get_args

import numpy as np
from numpy.typing import ArrayLike

from agnoscope.errors import TargetError
from agnoscope.images import ImageLike, load
from agnoscope.model import RESERVED, Model
from agnoscope.patches import Array
from agnoscope.target import Bound, Formula, Target

Measure: TypeAlias = Literal["cosine", "dot"]


@final
@dataclass(frozen=True, eq=False)
class Similarity(Target):
    """How similar the network's features of an image are to given ones.

    Attributes:
        features: finite numbers of the layer's shape, or with a leading axis of one per image. `Similarity.to` takes
            them from a reference image.
        layer: whose activation is compared, all of it: a layer's name, "scores" (what the network gives before a
            softmax or sigmoid; for an embedding network its embedding), or "output".
        measure: "cosine", from -1 to 1, or "dot", the inner product. The cosine with an activation that is all zero
            is 0.
    """

    features: ArrayLike = field(repr=False)
    layer: str = "scores"
    measure: Measure = "cosine"

    @classmethod
    def to(cls, model: Model, images: ImageLike, layer: str = "scores", measure: Measure = "cosine") -> "Similarity":
        """The similarity to what a reference image gives.

        Args:
            model: what `agnoscope.wrap` returned.
            images: one reference for all images, or several, one for each.
            layer: whose activation is taken, and compared later.
            measure: "cosine" or "dot".

        Raises:
            ImageError: an image cannot be read or does not fit.
            LayerError: the network has no such layer.
        """
        batch = load(images, model.spec, model.dtype)
        name = _name(model, layer, (batch.images.shape[1], batch.images.shape[2]))
        features = model.compile(_features_program, name)(batch.images)["features"]
        return cls(features[0] if len(features) == 1 else features, layer, measure)

    def bind(self, model: Model, count: int, size: tuple[int, int]) -> Bound:
        if self.measure not in get_args(Measure):
            raise TargetError(f"measure={self.measure!r} is unknown: use 'cosine' or 'dot'.")
        name = _name(model, self.layer, size)
        shape = model.outline(size).scores if name in RESERVED else model.layer(name, size).shape
        try:
            features = np.asarray(self.features)
        except ValueError as error:
            raise TargetError(f"The features do not make one array: {error}.") from error
        if features.shape not in (shape, (count, *shape)):
            raise TargetError(
                f"The features have the shape {features.shape}; {name!r} gives {shape} for an image. Give that, or "
                f"{(count, *shape)} with one for each image."
            )
        if features.dtype.kind not in "buif" or not np.isfinite(features).all():
            raise TargetError("The features must be finite numbers.")
        features = np.broadcast_to(features, (count, *shape)).reshape(count, -1).astype(np.float64)
        if self.measure == "cosine":
            length = np.linalg.norm(features, axis=1, keepdims=True)
            if not length.all():
                raise TargetError("The features are all zero, which has no direction: use measure='dot', or others.")
            features = features / length
        formula = Formula(_similarity, (name,), (name, self.measure))
        names = (f"{self.measure} similarity of {name}",) * count
        return Bound(formula, {"features": features.astype(model.dtype)}, "similarity", names)


def _name(model: Model, layer: str, size: tuple[int, int]) -> str:
    return layer if layer in RESERVED else model.layer(layer, size).name


def _features_program(model: Model, name: str, images: Array) -> dict[str, Array]:
    return {"features": model.run(images, (name,))[name]}


def _similarity(xp: Any, values: Mapping[str, Array], arrays: Mapping[str, Any], name: str, measure: Measure) -> Array:
    found = xp.reshape(values[name], (values[name].shape[0], -1))
    product = xp.sum(found * arrays["features"], axis=1)
    if measure == "dot":
        return product
    squared = xp.sum(found * found, axis=1)
    # A root has no slope at 0, and what comes of that would survive the outer choice.
    length = xp.sqrt(xp.where(squared > 0, squared, xp.ones_like(squared)))
    return xp.where(squared > 0, product / length, xp.zeros_like(product))
