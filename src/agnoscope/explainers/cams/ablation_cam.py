"""Ablation-CAM: each of a layer's maps is taken away; how far the score falls is its weight."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.batches import ran_out_of_memory
from agnoscope.errors import LayerError
from agnoscope.explainers.base import Attribution, ImageByImage, OneImage
from agnoscope.explainers.cams.base import LayerMaps, equal_chunks
from agnoscope.model import Model
from agnoscope.patches import Array
from agnoscope.target import Formula


@final
@dataclass(frozen=True)
class AblationCAM(LayerMaps, ImageByImage):
    """Ablation-CAM (Desai and Ramaswamy, WACV 2020).

    A map's weight is the fall of the score when the map is set to zero, as a share of the score: (y − y_k) / |y|,
    or the fall itself where the score is 0. Only what comes after the layer is run once per channel; a channel that
    is zero already is not run at all. Needs no gradient.

    Attributes:
        layer: whose maps are weighed; by default the end of the last convolutional stage.
        upsample: whether the map is brought to the size of the image.
        grid: how tokens lie in the image, where it is not recognised: (height, width, tokens skipped).
    """

    name = "ablation-cam"
    needs = frozenset({"capture", "patch"})

    def looks(self, model: Model, size: tuple[int, int]) -> int:
        return self.chosen(model, size).shape[-1]

    def attribute_one(self, one: OneImage) -> Attribution:
        maps = self.maps_of(one)
        live = np.flatnonzero(maps.any(axis=(0, 1)))
        falls = np.zeros(maps.shape[-1])
        falls[live] = one.score - self.scores(one, live)
        weights = falls / abs(one.score or 1)
        values = maps @ weights.astype(maps.dtype)
        return Attribution(self.brought_up(np, values[None], one.size)[0], np.array(one.score))

    def scores(self, one: OneImage, channels: NDArray[np.intp]) -> NDArray[np.float64]:
        """The score without each of the channels, shape (channels,)."""
        every = self.looks(one.model, one.size)
        # What comes after the layer is small, so that more of it fits into the memory of a batch of whole images.
        layers = list(one.model.layers(one.size).values())
        after = layers[layers.index(self.chosen(one.model, one.size)) :]
        largest = max(prod(layer.shape) for layer in after)
        room = one.batch_size * (one.model.outline(one.size).largest // largest)
        try:
            return self._scores(one, equal_chunks(channels, room, every), len(channels), copies=1)
        except Exception as error:  # whatever a framework says when one image cannot be joined with many
            if ran_out_of_memory(error):
                raise
        # A branch that passes the layer by is joined with it later, or the network counts its images before the layer:
        # all copies take the whole way.
        chunks = equal_chunks(channels, one.batch_size, every)
        return self._scores(one, chunks, len(channels), copies=None)

    def _scores(self, one: OneImage, chunks: Any, count: int, copies: int | None) -> NDArray[np.float64]:
        ablated = one.model.compile(_ablated_program, (self, one.target.formula))
        found: list[float] = []
        for chunk in chunks:
            images = np.repeat(one.image[None], copies or len(chunk), axis=0)
            found += ablated(images, chunk.astype(np.int32), one.arrays(len(chunk)))["scores"].tolist()
            one.tick(min(len(found), count))
        return np.array(found[:count])


def _ablated_program(
    model: Model, static: tuple[AblationCAM, Formula], images: Array, channels: Array, arrays: Mapping[str, Any]
) -> dict[str, Array]:
    """Scores of one image, or of as many copies as channels, each without one channel of the layer."""
    (explainer, formula), xp = static, model.xp
    layer = explainer.chosen(model, (images.shape[1], images.shape[2]))
    kept = xp.arange(layer.shape[-1], dtype=channels.dtype)[None, :] != channels[:, None]

    def without(activation: Array) -> Array:
        between = (1,) * (len(activation.shape) - 2)
        return activation * xp.astype(xp.reshape(kept, (-1, *between, layer.shape[-1])), activation.dtype)

    values = model.run(images, formula.needs, {layer.name: without})
    if any(values[need].shape[0] != channels.shape[0] for need in formula.needs):
        raise LayerError(f"What comes after {layer.name!r} does not keep its copies apart.")  # to be caught above
    return {"scores": formula(xp, values, arrays)}
