"""What else is wanted of an image: penalties, which are differentiated, and the contract of corrections between steps.

Penalties see pixels from -1 to 1, gray being 0, and are means over pixels and channels, so that a weight means the same
for every size, network and range.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, ClassVar, Self, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import OptionError
from agnoscope.explainers.options import positive
from agnoscope.model import Model
from agnoscope.optimisation.canvas import Canvas
from agnoscope.optimisation.parameterisations.fourier import basis, waves
from agnoscope.patches import Array
from agnoscope.targets.features import gram_matrix


@dataclass(frozen=True)
class Penalty(ABC):
    """Something that an image is to have little of. Subclasses are final, frozen dataclasses.

    Attributes:
        weight: by which it is multiplied and taken off the objective, a finite number; below zero it asks for more.

    Raises:
        OptionError: an option is out of range.
    """

    name: ClassVar[str]
    couples: ClassVar[bool] = False
    """Whether an image's penalty depends on the other images of the run; all of them are then in one batch."""

    weight: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.weight, int | float | np.number) or not np.isfinite(self.weight):
            raise OptionError(f"weight={self.weight!r} must be a finite number.")

    @abstractmethod
    def __call__(self, xp: Any, canvas: Canvas, images: Array, values: Mapping[str, Array]) -> Array:
        """How much of it each image has, shape (images,); compiled.

        Args:
            xp: the array namespace.
            canvas: what the images are painted on.
            images: shape (images, height, width, channels).
            values: what the run captured, among it what `needs` names; the views of an image side by side.
        """

    @property
    def needs(self) -> tuple[str, ...]:
        """Layers that it looks at."""
        return ()

    def settle(self, model: Model, size: tuple[int, int]) -> Self:  # noqa: ARG002
        """The same with whole names of layers.

        Raises:
            LayerError: there is no such layer.
        """
        return self


@final
@dataclass(frozen=True)
class L1(Penalty):
    """The mean distance from gray: few pixels that are not gray."""

    name = "L1"

    def __call__(self, xp: Any, canvas: Canvas, images: Array, values: Mapping[str, Array]) -> Array:  # noqa: ARG002
        return xp.mean(_size(xp, _centred(canvas, images)), axis=(1, 2, 3))


@final
@dataclass(frozen=True)
class L2(Penalty):
    """The mean squared distance from gray (Simonyan et al., ICLR Workshop 2014)."""

    name = "L2"

    def __call__(self, xp: Any, canvas: Canvas, images: Array, values: Mapping[str, Array]) -> Array:  # noqa: ARG002
        return xp.mean(xp.square(_centred(canvas, images)), axis=(1, 2, 3))


@final
@dataclass(frozen=True)
class PNorm(Penalty):
    """The mean distance from gray to a high power: colours that stay off the bounds (Mahendran and Vedaldi, CVPR 2015).

    Attributes:
        exponent: the power, at least 1.
    """

    name = "p-norm"

    exponent: float = 6.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _at_least_one("exponent", self.exponent)

    def __call__(self, xp: Any, canvas: Canvas, images: Array, values: Mapping[str, Array]) -> Array:  # noqa: ARG002
        return xp.mean(_size(xp, _centred(canvas, images)) ** self.exponent, axis=(1, 2, 3))


@final
@dataclass(frozen=True)
class TotalVariation(Penalty):
    """How much neighbouring pixels differ, downwards and to the right (Rudin, Osher and Fatemi, Physica D 1992).

    Beside the score of a class a weight of some hundreds is felt.

    Attributes:
        exponent: the power of a difference, at least 1. At 1 edges cost no more than ramps; at 2 they are smoothed away
            (Mahendran and Vedaldi, CVPR 2015).
    """

    name = "total variation"

    exponent: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _at_least_one("exponent", self.exponent)

    def __call__(self, xp: Any, canvas: Canvas, images: Array, values: Mapping[str, Array]) -> Array:  # noqa: ARG002
        pixels = _centred(canvas, images)
        down, right = pixels[:, 1:, :, :] - pixels[:, :-1, :, :], pixels[:, :, 1:, :] - pixels[:, :, :-1, :]
        total = sum(xp.sum(_size(xp, each) ** self.exponent, axis=(1, 2, 3)) for each in (down, right))
        return total / (canvas.size[0] * canvas.size[1] * canvas.depth)


@final
@dataclass(frozen=True)
class Spectrum(Penalty):
    """The mean squared image, every wave in it times its frequency to a power (Olah et al., Distill 2017).

    A frequency of 1 is that of a wave of two pixels along one axis, so that noise costs much and a smooth image little.

    Attributes:
        power: of the frequency, above 0.
    """

    name = "spectrum"

    power: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        positive("power", self.power)

    def __call__(self, xp: Any, canvas: Canvas, images: Array, values: Mapping[str, Array]) -> Array:  # noqa: ARG002
        parts = (basis(canvas.size[0]).T, basis(canvas.size[1]), _frequencies(canvas.size) ** self.power)
        rows, columns, cost = (xp.asarray(part, dtype=images.dtype) for part in parts)
        planes = xp.permute_dims(_centred(canvas, images), (0, 3, 1, 2))
        spectrum = xp.matmul(xp.matmul(rows, planes), columns)
        return xp.mean(xp.square(spectrum) * cost, axis=(1, 2, 3))


@final
@dataclass(frozen=True)
class Diversity(Penalty):
    """How alike the images of a run are in a layer (Olah, Mordvintsev and Schubert, Distill 2017).

    For each image the mean cosine, over the others, between the Gram matrices of the layer's channels; -1 to 1, and 0
    for an image that is alone. The views of an image count together. A weight of some tens drives images of a class far
    apart, or even off the class.

    Attributes:
        layer: the layer's name.
    """

    name = "diversity"
    couples = True

    layer: str = field(kw_only=True)

    def __call__(self, xp: Any, canvas: Canvas, images: Array, values: Mapping[str, Array]) -> Array:  # noqa: ARG002
        count, activation = images.shape[0], values[self.layer]
        grams = xp.reshape(gram_matrix(xp, activation), (count, activation.shape[0] // count, -1))
        rows = xp.sum(grams, axis=1)
        squared = xp.sum(rows * rows, axis=1, keepdims=True)
        # A root has no slope at 0, where a layer is silent.
        rows = rows / xp.sqrt(xp.where(squared > 0, squared, xp.ones_like(squared)))
        others = xp.asarray(1 - np.eye(count), dtype=rows.dtype)
        return xp.sum(xp.matmul(rows, xp.permute_dims(rows, (1, 0))) * others, axis=1) / max(1, count - 1)

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.layer,)

    def settle(self, model: Model, size: tuple[int, int]) -> Self:
        return replace(self, layer=model.layer(self.layer, size).name)


class Correction(ABC):
    """A change of the image between steps, on the host; of pixels only. `corrections.py` has them."""

    @abstractmethod
    def __call__(self, step: int, canvas: Canvas, images: NDArray[Any], gradient: NDArray[Any]) -> NDArray[Any]:
        """The images that the run goes on with.

        Args:
            step: number of the step just done, from 1.
            canvas: what the images are painted on.
            images: shape (images, height, width, channels), as the step made them; they may lie beyond the bounds, and
                are cut off there afterwards.
            gradient: of the objective with respect to the images before the step, of the same shape.
        """


def _centred(canvas: Canvas, images: Array) -> Array:
    """From -1 to 1."""
    return (images - canvas.middle) * (2 / canvas.span)


def _size(xp: Any, numbers: Array) -> Array:
    """The absolute value; its slope at 0 is 0 in every framework, while that of JAX's own is 1."""
    return numbers * xp.sign(numbers)


@lru_cache(maxsize=32)
def _frequencies(size: tuple[int, int]) -> NDArray[np.float64]:
    """Of each coefficient of a plane; 1 for a wave of two pixels along one axis."""
    return 2 * np.hypot(waves(size[0])[:, None], waves(size[1])[None, :])


def _at_least_one(option: str, given: Any) -> None:
    if positive(option, given) < 1:
        raise OptionError(f"{option}={given!r} must be at least 1: below it the gradient has no end at gray.")
