"""SmoothGrad and its kin: what a method says of an image under noise, summed up. They wrap any method."""

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.batches import chunks
from agnoscope.explainers.base import Attribution, Explainer, ImageByImage, OneImage, Wrapper, silent
from agnoscope.explainers.gradients.noise import check_noise, contrast, normals
from agnoscope.explainers.gradients.saliency import Saliency
from agnoscope.explainers.options import generator
from agnoscope.model import Model


@dataclass(frozen=True)
class UnderNoise(Wrapper, ImageByImage):
    """An explainer run on noisy copies of the image. Subclasses are final and say what is kept of its values.

    The noise is normal and is added in the user's bounds; as in the paper, the noisy images are not cut off at them.
    What is asked is settled on the clean image. The values have the wrapped explainer's shape and layer.

    Attributes:
        explainer: what explains every copy, or its name; any method.
        samples: how many copies.
        noise: standard deviation of the noise, as a share of the image's own range of values, highest less lowest.
        absolute: whether `noise` is the standard deviation itself, in units of the bounds.
        seed: of the noise; the same for every image.
    """

    explainer: Explainer = field(default_factory=Saliency)
    samples: int = 50
    noise: float = 0.15
    absolute: bool = False
    seed: int = 0

    @staticmethod
    @abstractmethod
    def kept(mean: NDArray[np.float64], variance: NDArray[np.float64]) -> NDArray[np.float64]:
        """What is kept of the values: a function of their mean and variance over the copies."""

    def settle(self, model: Model, size: tuple[int, int]) -> Self:
        check_noise(self.samples, self.noise)
        return super().settle(model, size)

    def looks(self, model: Model, size: tuple[int, int]) -> int:  # noqa: ARG002
        return self.samples

    def attribute_one(self, one: OneImage) -> Attribution:
        rng = generator(self.seed)
        deviation = self.noise if self.absolute else self.noise * contrast(one.image)
        moments, notes = Moments(), dict[str, None]()
        for rows, count in chunks(self.samples, one.batch_size):
            noisy = normals(rng, deviation, one.image.shape, len(rows)) + one.image
            asked = one.target.take(np.zeros(len(rows), dtype=np.intp))
            found = self.explainer.attribute(one.model, noisy, asked, one.batch_size, silent)
            moments.add(found.values[:count])
            notes |= dict.fromkeys(found.notes)
            one.tick(int(rows[count - 1]) + 1)
        return Attribution(self.kept(moments.mean, moments.variance), np.array(one.score), notes=tuple(notes))


@final
@dataclass(frozen=True)
class SmoothGrad(UnderNoise):
    """The mean over noisy copies of the image (Smilkov, Thorat, Kim, Viégas and Wattenberg, arXiv:1706.03825, 2017).

    The mean is that of the signed values, of the gradient unless told otherwise: `SmoothGrad("grad-cam")`.

    Attributes:
        explainer: what explains every copy, or its name; any method.
        samples: how many copies; the paper's 50.
        noise: standard deviation as a share of the image's range of values; the paper's 10 to 20 %.
        absolute: whether `noise` is in units of the bounds instead.
        seed: of the noise.
    """

    name = "smoothgrad"

    @staticmethod
    def kept(mean: NDArray[np.float64], variance: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: ARG004
        return mean


@final
@dataclass(frozen=True)
class SmoothGradSquared(UnderNoise):
    """The mean square over noisy copies of the image (Hooker, Erhan, Kindermans and Kim, NeurIPS 2019).

    The values are never negative: they tell how much a pixel matters, not which way.

    Attributes:
        explainer: what explains every copy, or its name; any method.
        samples: how many copies.
        noise: standard deviation as a share of the image's range of values.
        absolute: whether `noise` is in units of the bounds instead.
        seed: of the noise.
    """

    name = "smoothgrad-squared"

    @staticmethod
    def kept(mean: NDArray[np.float64], variance: NDArray[np.float64]) -> NDArray[np.float64]:
        return mean**2 + variance


@final
@dataclass(frozen=True)
class VarGrad(UnderNoise):
    """The variance over noisy copies of the image (Adebayo et al., ICLR Workshop 2018; Hooker et al., NeurIPS 2019).

    The values are never negative: they tell how far the explanation varies around the image. The variance is that
    of the copies, divided by their number.

    Attributes:
        explainer: what explains every copy, or its name; any method.
        samples: how many copies.
        noise: standard deviation as a share of the image's range of values.
        absolute: whether `noise` is in units of the bounds instead.
        seed: of the noise.
    """

    name = "vargrad"

    @staticmethod
    def kept(mean: NDArray[np.float64], variance: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: ARG004
        return variance


@final
class Moments:
    """Mean and variance of arrays that come chunk by chunk.

    Sums are of differences from the first array, so that a small variance beside a large mean keeps its digits
    (Chan, Golub and LeVeque, The American Statistician 1983).
    """

    def __init__(self) -> None:
        self._count = 0
        self._first: Any = None
        self._sum: Any = 0.0
        self._squares: Any = 0.0

    def add(self, values: NDArray[Any]) -> None:
        """Take in a chunk; its leading axis counts."""
        self._first = values[0].copy() if self._count == 0 else self._first
        change = values - self._first
        self._count += len(values)
        self._sum += change.sum(axis=0, dtype=np.float64)
        self._squares += np.einsum("n...,n...->...", change, change, dtype=np.float64)

    @property
    def mean(self) -> NDArray[np.float64]:
        """Of all that came."""
        return self._first + self._sum / self._count

    @property
    def variance(self) -> NDArray[np.float64]:
        """Of all that came, divided by their number."""
        return np.maximum(self._squares / self._count - np.square(self._sum / self._count), 0)
