"""Score-CAM: each of a layer's maps hides the rest of the image; what the score makes of that is its weight."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.explainers.base import Attribution, ImageByImage, OneImage
from agnoscope.explainers.cams.base import LayerMaps, equal_chunks
from agnoscope.explainers.options import whole
from agnoscope.model import Model
from agnoscope.patches import Array
from agnoscope.resizing import check_rule, resized
from agnoscope.target import Formula


@final
@dataclass(frozen=True)
class ScoreCAM(LayerMaps, ImageByImage):
    """Score-CAM (Wang, Wang, Du, Yang, Zhang, Ding, Mardziel and Hu, CVPR Workshops 2020).

    Each map, brought to the size of the image and to 0 … 1, is a mask: where it is 0 the network receives zeros. The
    softmax, over the channels, of how far the score of the masked image lies above that of nothing gives the weights
    of the maps. A channel that is constant masks nothing: it has the increase 0 and goes not through the network.
    Needs no gradient.

    Attributes:
        layer: whose maps are weighed; by default the end of the last convolutional stage.
        upsample: whether the map is brought to the size of the image.
        grid: how tokens lie in the image, where it is not recognised: (height, width, tokens skipped).
        channels: how many channels to use, those that vary most over the image; the others then have no weight
            ("faster Score-CAM" of tf-keras-vis). None uses all.
        enlarge: how the masks are brought to the size of the image: "linear", or a rule of `agnoscope.resizing`, such
            as the "corners" of pytorch-grad-cam.

    Raises:
        OptionError: `channels` is less than 1, or there is no such rule.
    """

    name = "score-cam"

    channels: int | None = None
    enlarge: str = "linear"

    def settle(self, model: Model, size: tuple[int, int]) -> Self:
        if self.channels is not None:
            whole("channels", self.channels)
        check_rule("enlarge", self.enlarge)
        return super().settle(model, size)

    def looks(self, model: Model, size: tuple[int, int]) -> int:
        every = self.chosen(model, size).shape[-1]
        return 1 + min(every, self.channels or every)

    def attribute_one(self, one: OneImage) -> Attribution:
        maps = self.maps_of(one)
        used = _most_varying(maps, self.channels)
        live = used[np.ptp(maps, axis=(0, 1))[used] > 0]
        masks = np.moveaxis(maps, -1, 0)[live]
        nothing, *scores = self.scores(one, np.concatenate([np.zeros_like(masks, shape=(1, *maps.shape[:2])), masks]))
        increases = np.zeros(maps.shape[-1])
        increases[live] = np.array(scores) - nothing
        powers = np.exp(increases[used] - increases[used].max())
        values = maps[..., used] @ (powers / powers.sum()).astype(maps.dtype)
        return Attribution(self.brought_up(np, values[None], one.size)[0], np.array(one.score))

    def scores(self, one: OneImage, masks: NDArray[Any]) -> NDArray[np.float64]:
        """The score of the image under each mask, shape (masks,); a constant mask hides everything."""
        masked = one.model.compile(_masked_program, (one.target.formula, self.enlarge))
        found: list[float] = []
        for chunk in equal_chunks(masks, one.batch_size, self.looks(one.model, one.size)):
            found += masked(one.image[None], chunk, one.arrays(len(chunk)))["scores"].tolist()
            one.tick(min(len(found), len(masks)))
        return np.array(found[: len(masks)])


def _most_varying(maps: NDArray[Any], count: int | None) -> NDArray[np.intp]:
    """The numbers of the channels that vary most, in their own order."""
    if count is None:
        return np.arange(maps.shape[-1])
    spread = maps.var(axis=(0, 1), dtype=np.float64)
    return np.sort(np.argsort(-spread, stable=True)[:count])


def _masked_program(
    model: Model, static: tuple[Formula, str], image: Array, maps: Array, arrays: Mapping[str, Any]
) -> dict[str, Array]:
    """Scores of one image under maps of shape (masks, height, width), of the layer's size."""
    (formula, enlarge), xp = static, model.xp
    large = resized(xp, maps, (image.shape[1], image.shape[2]), enlarge)
    low = xp.min(large, axis=(1, 2), keepdims=True)
    span = xp.max(large, axis=(1, 2), keepdims=True) - low
    masks = (large - low) / xp.where(span > 0, span, xp.ones_like(span))
    centre = model.centre(image.dtype)
    images = centre + masks[..., None] * (image - centre)
    return {"scores": formula(xp, model.run(images, formula.needs), arrays)}
