"""Expected gradients: integrated gradients from many baselines at once, by random points on their paths."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Self, final

import numpy as np

from agnoscope.errors import OptionError
from agnoscope.explainers.base import Attribution, ImageByImage, OneImage, full_name
from agnoscope.explainers.fillings import Fill, check_fill, hashable, several
from agnoscope.explainers.gradients.noise import check_noise, contrast, normals
from agnoscope.explainers.gradients.paths import Paths
from agnoscope.explainers.options import generator
from agnoscope.model import Model


@final
@dataclass(frozen=True)
class ExpectedGradients(ImageByImage):
    """Expected gradients (Erion et al., Nature Machine Intelligence 2021), also called gradient SHAP.

    The mean of (x - b) × gradient at random points between baselines b and the image x. It estimates the SHAP values
    (Lundberg and Lee, NIPS 2017) of a network whose pixels are independent and whose score is linear between them.
    The values are signed, in units of the score, shape (images, height, width, channels); their map is the sum over
    the channels.

    The result's extras hold "delta" for each image: the sum of the values less the mean rise of the score from the
    baselines, which shrinks as the samples grow.

    Attributes:
        baselines: fillings as `agnoscope.explainers.fillings` knows them, or pictures: the paper takes images of the
            training set. By default black and white: from black alone, what is black in the image could not count.
            They take turns, from a random one on. Each costs one more forward pass.
        samples: how many points.
        noise: standard deviation of what is added to the image at each sample, as a share of its own range of values.
        seed: of the points, the turns and the noise.
        layer: a layer within which the paths lie, in place of the image; the values then have its shape.
    """

    name = "expected-gradients"
    needs = frozenset({"gradient"})
    reduction = "signed"

    baselines: "Fill | tuple[Fill, ...]" = ("black", "white")
    samples: int = 50
    noise: float = 0.0
    seed: int = 0
    layer: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "baselines", hashable(self.baselines))

    def settle(self, model: Model, size: tuple[int, int]) -> Self:
        check_noise(self.samples, self.noise)
        if self.noise and self.layer is not None:
            raise OptionError(f"noise={self.noise!r} is for images: with layer={self.layer!r} use noise=0.")
        for fill in several(self.baselines):
            check_fill("baselines", fill, model.spec, size)
        return replace(self, layer=full_name(model, self.layer, size))

    def looks(self, model: Model, size: tuple[int, int]) -> int:  # noqa: ARG002
        return self.samples

    def attribute_one(self, one: OneImage) -> Attribution:
        rng, given = generator(self.seed), several(self.baselines)
        turns = (np.arange(self.samples) + rng.integers(len(given))) % len(given)
        met, which = np.unique(turns, return_inverse=True)
        nodes = rng.random(self.samples, dtype=np.float32)
        weights = np.full(self.samples, 1 / self.samples)
        paths = Paths.between(one, [given[i] for i in met], self.layer, self.samples)
        draw = partial(normals, rng, self.noise * contrast(one.image), one.image.shape) if self.noise else None
        values = paths.total(which, nodes, weights, draw)
        delta = values.sum() - paths.rises[which].mean()
        return Attribution(values, np.array(one.score), extras={"delta": delta})
