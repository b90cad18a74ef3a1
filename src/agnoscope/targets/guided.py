"""What a second image leads a dream towards: its features, each place choosing the one that suits it best."""

from collections.abc import Mapping
from dataclasses import dataclass, field
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
class Guided(Target):
    """How much a layer has of a guide's features: DeepDream's guided objective (Mordvintsev, Olah and Tyka, 2015).

    At each place of the layer's map the inner product with that feature of the guide that gives the largest one; the
    mean over the places.

    Attributes:
        layer: the layer's name.
        features: finite numbers, shape (features, channels): what the guide has at each place of its map.
    """

    layer: str
    features: ArrayLike = field(repr=False)

    @classmethod
    def to(cls, model: Model, guide: ImageLike, layer: str) -> "Guided":
        """Guided by the features of an image.

        Args:
            model: what `agnoscope.wrap` returned.
            guide: one image, or several that guide together.
            layer: whose activation is compared.

        Raises:
            ImageError: the image cannot be read or does not fit.
            LayerError: the network has no such layer.
        """
        found = features_of(model, load(guide, model.spec, model.dtype).images, (layer,))[layer]
        return cls(layer, found.reshape(-1, found.shape[-1]))

    def bind(self, model: Model, count: int, size: tuple[int, int]) -> Bound:
        layer = model.layer(self.layer, size)
        features = np.asarray(self.features, dtype=model.dtype)
        if features.ndim != 2 or features.shape[1] != layer.shape[-1] or not np.isfinite(features).all():
            raise TargetError(
                f"A guide needs finite features of shape (features, {layer.shape[-1]}) for layer {layer.name!r}; these "
                f"have the shape {features.shape}. Guided.to(model, image, layer) takes them from an image."
            )
        formula = Formula(_guided, (layer.name,), (layer.name,))
        arrays = {"features": np.broadcast_to(features, (count, *features.shape))}
        return Bound(formula, arrays, "activation", (f"guided activity of {layer.name}",) * count)


def _guided(xp: Any, values: Mapping[str, Array], arrays: Mapping[str, Any], name: str) -> Array:
    activation = values[name]
    flat = xp.reshape(activation, (activation.shape[0], -1, activation.shape[-1]))
    products = xp.matmul(flat, xp.permute_dims(arrays["features"], (0, 2, 1)))
    return xp.mean(xp.max(products, axis=2), axis=1)
