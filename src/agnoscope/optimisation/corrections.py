"""Corrections between steps: blur, and gray in place of what matters little (Yosinski et al., ICML Workshop 2015).

They are no part of the objective, so no gradient tells what they undo; what a step puts back again and again is what
the network insists on. All of them work on pixels, on the host.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import OptionError
from agnoscope.explainers.options import positive, share, whole
from agnoscope.optimisation.canvas import Canvas
from agnoscope.optimisation.regularisers import Correction


@final
@dataclass(frozen=True)
class Blur(Correction):
    """A Gaussian blur, which takes high frequencies away; beyond the border the outermost pixels go on.

    Attributes:
        every: so many steps.
        sigma: its standard deviation in pixels.

    Raises:
        OptionError: an option is out of range.
    """

    every: int = 4
    sigma: float = 1.0

    def __post_init__(self) -> None:
        whole("every", self.every)
        positive("sigma", self.sigma)

    def __call__(self, step: int, canvas: Canvas, images: NDArray[Any], gradient: NDArray[Any]) -> NDArray[Any]:
        from scipy.ndimage import gaussian_filter

        del canvas, gradient
        if step % self.every:
            return images
        return gaussian_filter(images, (0, self.sigma, self.sigma, 0), mode="nearest")


@final
@dataclass(frozen=True)
class Decay(Correction):
    """Every pixel a little nearer to gray.

    Attributes:
        share: of its distance from gray that a pixel loses in a step, between 0 and 1.

    Raises:
        OptionError: it is none.
    """

    share: float = 0.01

    def __post_init__(self) -> None:
        share("share", self.share)

    def __call__(self, step: int, canvas: Canvas, images: NDArray[Any], gradient: NDArray[Any]) -> NDArray[Any]:
        del step, gradient
        return images + (canvas.middle - images) * self.share


@dataclass(frozen=True)
class _ZeroLeast(Correction):
    """Gray for the pixels that matter least.

    Attributes:
        percentile: of an image's pixels that lie below; above 0, below 100.

    Raises:
        OptionError: it is none.
    """

    percentile: float = 10.0

    def __post_init__(self) -> None:
        if not isinstance(self.percentile, int | float | np.number) or not 0 < self.percentile < 100:
            raise OptionError(f"percentile={self.percentile!r} must lie between 0 and 100, and be neither.")

    def __call__(self, step: int, canvas: Canvas, images: NDArray[Any], gradient: NDArray[Any]) -> NDArray[Any]:
        del step
        importance = self.importance(images - canvas.middle, gradient)
        least = np.percentile(importance, self.percentile, axis=(1, 2), keepdims=True)
        return np.where((importance < least)[..., None], images.dtype.type(canvas.middle), images)

    @abstractmethod
    def importance(self, distance: NDArray[Any], gradient: NDArray[Any]) -> NDArray[Any]:
        """How much a pixel matters, shape (images, height, width).

        Args:
            distance: from gray, shape (images, height, width, channels).
            gradient: of the objective, of the same shape.
        """


@final
@dataclass(frozen=True)
class ZeroSmallPixels(_ZeroLeast):
    """Gray for the pixels that are near it already, by the norm over their channels.

    Attributes:
        percentile: of an image's pixels that lie below; above 0, below 100.

    Raises:
        OptionError: it is none.
    """

    def importance(self, distance: NDArray[Any], gradient: NDArray[Any]) -> NDArray[Any]:  # noqa: ARG002
        found: NDArray[Any] = np.linalg.norm(distance, axis=-1)
        return found


@final
@dataclass(frozen=True)
class ZeroSmallGradients(_ZeroLeast):
    """Gray for the pixels that the objective would miss the least, by their distance from gray times its gradient.

    Attributes:
        percentile: of an image's pixels that lie below; above 0, below 100.

    Raises:
        OptionError: it is none.
    """

    def importance(self, distance: NDArray[Any], gradient: NDArray[Any]) -> NDArray[Any]:
        found: NDArray[Any] = np.abs((distance * gradient).sum(axis=-1))
        return found
