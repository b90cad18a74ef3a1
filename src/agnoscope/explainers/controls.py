"""Controls: maps that know nothing of the network, and that an explanation must be better than.

Adebayo et al. (NeurIPS 2018) found methods that look convincing and are no more than edge filters. A score or a test
of explanations means something only beside what it gives for these.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.batches import chunks
from agnoscope.explainers.base import Attribution, Explainer, Progress, score_program
from agnoscope.explainers.options import generator
from agnoscope.model import Model
from agnoscope.target import Bound


class Control(Explainer):
    """A map of the image alone. The network runs once, so that the result tells its target and its scores."""

    reduction = "signed"

    @abstractmethod
    def map_of(self, image: NDArray[Any]) -> NDArray[Any]:
        """The map, shape (height, width), of an image of shape (height, width, channels)."""

    def attribute(
        self, model: Model, images: NDArray[Any], target: Bound, batch_size: int, progress: Progress
    ) -> Attribution:
        program = model.compile(score_program, target.formula)
        parts = []
        progress(0, len(images))
        for rows, kept in chunks(len(images), batch_size):
            found = program(images[rows], target.take(rows).arrays)
            parts.append({name: value[:kept] for name, value in found.items()})
            progress(int(rows[kept - 1]) + 1, len(images))
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        values = np.stack([self.map_of(image) for image in images])
        return Attribution(values, joined["scores"], joined.get("output"))

    def doubts(self, model: Model, size: tuple[int, int]) -> tuple[str, ...]:  # noqa: ARG002
        return (f"The map {self.name!r} is a control: it does not depend on the network.",)


@final
@dataclass(frozen=True)
class RandomMap(Control):
    """Numbers drawn evenly from 0 to 1, the same for every image of a size; shape (images, height, width).

    Attributes:
        seed: of the draw.
    """

    name = "random"

    seed: int = 0

    def map_of(self, image: NDArray[Any]) -> NDArray[np.float32]:
        return generator(self.seed).random(image.shape[:2], dtype=np.float32)


@final
@dataclass(frozen=True)
class EdgeFilter(Control):
    """The edges of the gray image: the magnitude of Sobel's filter, as scikit-image scales it.

    Gray is the luminance of a photo, and the mean of the channels of anything else. The values are at least 0, in
    units of the image's bounds, shape (images, height, width).
    """

    name = "edge-filter"

    def map_of(self, image: NDArray[Any]) -> NDArray[np.float64]:
        from skimage.color import rgb2gray
        from skimage.filters import sobel

        pixels = image.astype(np.float64)
        return np.asarray(sobel(rgb2gray(pixels) if pixels.shape[-1] == 3 else pixels.mean(axis=-1)))


@final
@dataclass(frozen=True)
class ConstantMap(Control):
    """1 everywhere, shape (images, height, width): what the area alone is worth."""

    name = "constant"

    def map_of(self, image: NDArray[Any]) -> NDArray[np.float32]:
        return np.ones(image.shape[:2], dtype=np.float32)
