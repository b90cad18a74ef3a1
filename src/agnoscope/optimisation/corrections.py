"""Corrections between steps: blur, and gray in place of what matters little (Yosinski et al., ICML Workshop 2015).

They are no part of the objective, so no gradient tells what they undo; what a step puts back again and again is what
the network insists on. All of them work on pixels, on the host.
"""

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


@final
@dataclass(frozen=True)
class ZeroSmallPixels(Correction):
    """Gray for the pixels that are near it already, by the norm over their channels.

    Attributes:
        percentile: of an image's pixels that lie below; above 0, below 100.

    Raises:
        OptionError: it is none.
    """

    percentile: float = 10.0

    def __post_init__(self) -> None:
        _check_percentile(self.percentile)

    def __call__(self, step: int, canvas: Canvas, images: NDArray[Any], gradient: NDArray[Any]) -> NDArray[Any]:
        del step, gradient
        return _without_least(images, np.linalg.norm(images - canvas.middle, axis=-1), self.percentile, canvas)


@final
@dataclass(frozen=True)
class ZeroSmallGradients(Correction):
    """Gray for the pixels that the objective would miss the least, by their distance from gray times its gradient.

    Attributes:
        percentile: of an image's pixels that lie below; above 0, below 100.

    Raises:
        OptionError: it is none.
    """

    percentile: float = 10.0

    def __post_init__(self) -> None:
        _check_percentile(self.percentile)

    def __call__(self, step: int, canvas: Canvas, images: NDArray[Any], gradient: NDArray[Any]) -> NDArray[Any]:
        del step
        missed = np.abs(((images - canvas.middle) * gradient).sum(axis=-1))
        return _without_least(images, missed, self.percentile, canvas)


def _without_least(images: NDArray[Any], importance: NDArray[Any], percentile: float, canvas: Canvas) -> NDArray[Any]:
    """The images with gray where the importance, shape (images, height, width), is below the image's percentile."""
    least = np.percentile(importance, percentile, axis=(1, 2), keepdims=True)
    return np.where((importance < least)[..., None], images.dtype.type(canvas.middle), images)


def _check_percentile(given: Any) -> None:
    if not isinstance(given, int | float | np.number) or not 0 < given < 100:
        raise OptionError(f"percentile={given!r} must lie between 0 and 100, and be neither.")
