"""A spectrum of fixed magnitude, its phase optimised: MaCo.

Steps on a spectrum may still put all their force into few frequencies. Where magnitudes are those of photos, an image
can only say where things are, and stays in the range of natural images however large it is (Fel et al., NeurIPS 2023).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.explainers.options import positive
from agnoscope.images import ImageLike, InputSpec, load
from agnoscope.optimisation.canvas import Canvas
from agnoscope.optimisation.parameterisations.base import Parameterisation, Tree
from agnoscope.optimisation.parameterisations.colours import painted, unpainted
from agnoscope.optimisation.parameterisations.fourier import sineless
from agnoscope.patches import Array


@final
@dataclass(frozen=True)
class FixedMagnitude(Parameterisation):
    """The phases of a spectrum, colours decorrelated, a sigmoid into the bounds (Fel et al., NeurIPS 2023).

    The authors' magnitudes are the mean over ImageNet; here they are those of given photos, or fall as 1/frequency, as
    photos' do. They take long steps, `Adam(1.0)`, and many small views.

    Attributes:
        photos: whose mean magnitudes are taken, brought to the size of the canvas; None takes 1/frequency.
        decay: without photos, magnitudes fall with frequency to the power -decay.
        contrast: without photos, the deviation of each channel before the sigmoid.
        decorrelated: whether the colours are; of images of three colours only.

    Raises:
        OptionError: an option is out of range.
        ImageError: a photo cannot be read or does not fit, which shows when a run begins.
    """

    name = "fixed-magnitude"

    # They are arguments of what is compiled: other photos compile nothing anew.
    photos: ImageLike = field(default=None, compare=False)
    decay: float = 1.0
    contrast: float = 1.0
    decorrelated: bool = True

    def __post_init__(self) -> None:
        positive("decay", self.decay, or_zero=True)
        positive("contrast", self.contrast)

    def start(self, canvas: Canvas, generators: Sequence[np.random.Generator]) -> Tree:
        shape = (canvas.depth, *_frequency(canvas.size).shape)
        return {"phase": np.stack([g.uniform(-np.pi, np.pi, shape) for g in generators]).astype(canvas.dtype)}

    def images(self, xp: Any, canvas: Canvas, parameters: Tree, constants: Tree) -> Array:
        phase, magnitude = parameters["phase"], constants["magnitude"]
        planes = from_waves(xp, canvas.size, magnitude * xp.cos(phase), magnitude * xp.sin(phase))
        return painted(xp, canvas, planes, self.decorrelated)

    def constants(self, canvas: Canvas) -> Tree:
        if canvas not in self._magnitudes:
            self._magnitudes[canvas] = self._magnitude(canvas).astype(canvas.dtype)
        return {"magnitude": self._magnitudes[canvas]}

    def of(self, canvas: Canvas, images: NDArray[Any]) -> Tree:
        """Parameters whose images have the phases of given ones, and the magnitudes of this parameterisation."""
        spectrum = np.fft.rfft2(unpainted(canvas, images, self.decorrelated))
        return {"phase": np.angle(spectrum).astype(canvas.dtype)}

    def kept(self, canvas: Canvas, parameters: Tree) -> Tree:
        # Whole turns change nothing, and cost digits.
        return {"phase": np.remainder(parameters["phase"] + np.pi, 2 * np.pi).astype(canvas.dtype) - np.pi}

    @cached_property
    def _magnitudes(self) -> dict[Canvas, NDArray[Any]]:
        """Those known so far."""
        return {}

    def _magnitude(self, canvas: Canvas) -> NDArray[np.float64]:
        """Of each wave, shape (channels, height, width // 2 + 1)."""
        frequency = _frequency(canvas.size)
        waves = np.isfinite(frequency)
        if self.photos is None:
            falling = np.where(waves, frequency, 1) ** -self.decay * waves
            level = self.contrast / np.sqrt(np.square(falling).sum() / 2)
            return np.tile(level * falling, (canvas.depth, 1, 1))
        channels = {1: "L", 3: "RGB"}.get(canvas.depth, canvas.depth)
        given = load(self.photos, InputSpec(canvas.size, canvas.bounds, channels=channels), "float64").images
        spectrum = np.fft.rfft2(unpainted(canvas, given, self.decorrelated)) * (2 / np.prod(canvas.size))
        return np.abs(spectrum).mean(axis=0) * waves


def from_waves(xp: Any, size: tuple[int, int], cosines: Array, sines: Array) -> Array:
    """The sum of waves, m·cos(2π(k·x) + φ) for each frequency k, from m·cos(φ) and m·sin(φ); compiled.

    Args:
        xp: the array namespace.
        size: height and width of the planes.
        cosines: shape (..., height, width // 2 + 1), frequencies in the order of `numpy.fft.rfft2`.
        sines: likewise.

    Returns:
        Shape (..., height, width).
    """
    if hasattr(xp, "fft"):
        columns = xp.fft.ifft(cosines + 1j * sines, axis=-2, norm="forward")
        # The real part of a sum over half the frequencies is half the sum over all of them.
        share = xp.asarray(np.where(sineless(size[1]), 1.0, 0.5), dtype=cosines.dtype)
        return xp.fft.irfft(columns * share, n=size[1], axis=-1, norm="forward")
    down, across = (xp.asarray(table, dtype=cosines.dtype) for table in _turns(size))
    # A complex product down the columns, and the real part of one along the rows.
    columns = xp.matmul(down, xp.concat([cosines, sines], axis=-2))
    return xp.matmul(xp.concat([columns[..., : size[0], :], columns[..., size[0] :, :]], axis=-1), across)


@lru_cache(maxsize=16)
def _turns(size: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of complex exponentials along both axes, real and imaginary parts side by side."""
    height, width = size
    down = np.outer(np.arange(height), np.arange(height)) % height * (2 * np.pi / height)
    across = np.outer(np.arange(width // 2 + 1), np.arange(width)) % width * (2 * np.pi / width)
    return (
        np.block([[np.cos(down), -np.sin(down)], [np.sin(down), np.cos(down)]]),
        np.concatenate([np.cos(across), -np.sin(across)]),
    )


@lru_cache(maxsize=16)
def _frequency(size: tuple[int, int]) -> NDArray[np.float64]:
    """Of each wave in cycles per pixel, shape (height, width // 2 + 1), as `numpy.fft.rfft2` has them.

    Infinite for what is no wave of its own: the mean, the conjugate of another one, and waves of two pixels, which have
    no phase.
    """
    height, width = size
    down, across = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    alone = (across > 0) & (across < 0.5) | (down > 0) & (down < 0.5)
    return np.where(alone, np.hypot(down, across), np.inf)
