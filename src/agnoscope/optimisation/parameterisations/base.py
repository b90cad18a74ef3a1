"""What every parameterisation is: numbers, and the images that they stand for."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from agnoscope.arrays import resize
from agnoscope.errors import OptionError
from agnoscope.optimisation.canvas import Canvas
from agnoscope.patches import Array

Tree: TypeAlias = Mapping[str, Any]
"""Arrays in dictionaries, nested at will; the images are the leading axis of every one."""


class Parameterisation(ABC):
    """Numbers that gradient steps move, and how images are made of them.

    Subclasses are final, frozen dataclasses: equal ones share compiled programs. Every array of the parameters has the
    images as leading axis, and no image depends on the parameters of another.

    Attributes:
        name: in results and on the command line.
    """

    name: ClassVar[str]

    @abstractmethod
    def start(self, canvas: Canvas, generators: Sequence[np.random.Generator]) -> Tree:
        """Parameters to begin with, on the host.

        Args:
            canvas: what the images are painted on.
            generators: of random numbers, one per image.
        """

    @abstractmethod
    def images(self, xp: Any, canvas: Canvas, parameters: Tree, constants: Tree) -> Array:
        """The images, in array-API code; compiled.

        Args:
            xp: the array namespace.
            canvas: what they are painted on.
            parameters: as `start` gives them, in the framework's arrays.
            constants: as `constants` gives them, likewise.

        Returns:
            Shape (images, height, width, channels), as far as possible within the bounds.
        """

    def constants(self, canvas: Canvas) -> Tree:  # noqa: ARG002
        """Arrays that `images` needs and no step moves; without a leading axis of images."""
        return {}

    def of(self, canvas: Canvas, images: NDArray[Any]) -> Tree:
        """Parameters that stand for given images, on the host.

        Args:
            canvas: what the images are painted on.
            images: shape (images, height, width, channels), within the bounds.

        Raises:
            OptionError: this parameterisation cannot begin from an image.
        """
        del canvas, images
        raise OptionError(
            f"The parameterisation {self.name!r} cannot begin from an image: use 'pixels', 'fourier' or 'pyramid', or "
            "start from noise."
        )

    def kept(self, canvas: Canvas, parameters: Tree) -> Tree:  # noqa: ARG002
        """The parameters of all images after a step, brought back to where they are allowed; on the host."""
        return parameters


def resized_planes(xp: Any, planes: Array, size: tuple[int, int]) -> Array:
    """Planes at another size, bilinear, shape (images, channels, *size)."""
    if tuple(planes.shape[2:]) == size:
        return planes
    return xp.reshape(resize(xp, xp.reshape(planes, (-1, *planes.shape[2:])), size), (*planes.shape[:2], *size))
