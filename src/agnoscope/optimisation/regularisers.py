"""What else is wanted of an image: penalties, which are differentiated, and corrections between steps."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self, final

from numpy.typing import NDArray

from agnoscope.model import Model
from agnoscope.optimisation.canvas import Canvas
from agnoscope.patches import Array


@dataclass(frozen=True)
class Penalty(ABC):
    """Something that an image is to have little of. Subclasses are final, frozen dataclasses.

    Attributes:
        weight: by which it is multiplied and taken off the objective.
    """

    name: ClassVar[str]
    weight: float = 1.0

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
class L2(Penalty):
    """The mean squared distance from gray, in units of half the span (Simonyan et al., ICLR Workshop 2014)."""

    name = "L2"

    def __call__(self, xp: Any, canvas: Canvas, images: Array, values: Mapping[str, Array]) -> Array:  # noqa: ARG002
        return xp.mean(xp.square(_centred(canvas, images)), axis=(1, 2, 3))


def _centred(canvas: Canvas, images: Array) -> Array:
    """From -1 to 1."""
    return (images - canvas.middle) * (2 / canvas.span)


class Correction(ABC):
    """A change of the image between steps, on the host; of pixels only."""

    @abstractmethod
    def __call__(self, step: int, canvas: Canvas, images: NDArray[Any], gradient: NDArray[Any]) -> NDArray[Any]:
        """The images that the run goes on with.

        Args:
            step: number of the step just done, from 1.
            canvas: what the images are painted on.
            images: shape (images, height, width, channels), within the bounds.
            gradient: of the objective with respect to the images before the step, of the same shape.
        """
