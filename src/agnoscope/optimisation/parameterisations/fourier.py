"""The spectrum of the image, its colours decorrelated: steps that favour no frequency and no colour.

In pixels, gradient ascent moves high frequencies the most, since neighbouring pixels get different gradients; what
comes out is noise. Steps on a spectrum scaled by 1/frequency move all scales of a natural image alike (Olah,
Mordvintsev and Schubert, Distill 2017). The spectrum is real: cosines and sines of each axis, an orthonormal basis. An
image is made of it by a fast transform where the array namespace has one, else by products with the basis.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.explainers.options import positive
from agnoscope.optimisation.canvas import Canvas
from agnoscope.optimisation.parameterisations.base import Parameterisation, Tree
from agnoscope.optimisation.parameterisations.colours import painted, unpainted
from agnoscope.patches import Array

DAMPING: Final = 4.0
"""By which Lucid divides the image before the sigmoid."""


@final
@dataclass(frozen=True)
class Fourier(Parameterisation):
    """A spectrum, colours decorrelated, a sigmoid into the bounds (Olah, Mordvintsev and Schubert, Distill 2017).

    The defaults are Lucid's. Its complex spectrum is here a real one of cosines and sines along each axis, scaled so
    that noise and steps of Adam have the same size.

    Attributes:
        deviation: of the noise in the spectrum to begin with.
        decay: amplitudes fall with frequency to the power -decay; 0 favours none, which is noise.
        decorrelated: whether the colours are; of images of three colours only.

    Raises:
        OptionError: an option is out of range.
    """

    name = "fourier"

    deviation: float = 0.01
    decay: float = 1.0
    decorrelated: bool = True

    def __post_init__(self) -> None:
        positive("deviation", self.deviation, or_zero=True)
        positive("decay", self.decay, or_zero=True)

    def start(self, canvas: Canvas, generators: Sequence[np.random.Generator]) -> Tree:
        shape = (canvas.depth, *canvas.size)
        return {"spectrum": np.stack([self.deviation * g.normal(size=shape) for g in generators]).astype(canvas.dtype)}

    def images(self, xp: Any, canvas: Canvas, parameters: Tree, constants: Tree) -> Array:  # noqa: ARG002
        spectrum = parameters["spectrum"]
        planes = from_spectrum(xp, spectrum * xp.asarray(_scale(canvas.size, self.decay), dtype=spectrum.dtype))
        return painted(xp, canvas, planes, self.decorrelated)

    def of(self, canvas: Canvas, images: NDArray[Any]) -> Tree:
        height, width = canvas.size
        spectrum = basis(height).T @ unpainted(canvas, images, self.decorrelated) @ basis(width)
        return {"spectrum": (spectrum / _scale(canvas.size, self.decay)).astype(canvas.dtype)}


def from_spectrum(xp: Any, spectrum: Array) -> Array:
    """The planes (..., height, width) of which these are the cosine and sine coefficients, in an orthonormal basis.

    Along each axis the first half holds those of cosines, from the mean on, and the rest those of sines.
    """
    if hasattr(xp, "fft"):
        rows = _sum_of_waves(xp, spectrum)
        return xp.matrix_transpose(_sum_of_waves(xp, xp.matrix_transpose(rows)))
    down, across = (xp.asarray(basis(length), dtype=spectrum.dtype) for length in spectrum.shape[-2:])
    return xp.matmul(xp.matmul(down, spectrum), xp.matrix_transpose(across))


def _sum_of_waves(xp: Any, coefficients: Array) -> Array:
    """The product with the basis along the last axis, by a fast Fourier transform."""
    length = coefficients.shape[-1]
    half = length // 2 + 1
    cosines, sines = coefficients[..., :half], coefficients[..., half:]
    none = xp.zeros_like(cosines[..., :1])
    sines = xp.concat([none, sines, none][: 3 - length % 2], axis=-1)
    norm = xp.asarray(np.sqrt(np.where(sineless(length), length, length / 2)), dtype=coefficients.dtype)
    return xp.fft.irfft((cosines - 1j * sines) * norm, n=length, axis=-1)


@lru_cache(maxsize=32)
def basis(length: int) -> NDArray[np.float64]:
    """The orthonormal basis of cosines and sines along an axis, shape (pixels, coefficients)."""
    place = np.arange(length)[:, None]
    waves = np.arange(length // 2 + 1)
    cosines = np.cos(2 * np.pi * place * waves / length) * np.sqrt(2 / length)
    cosines[:, sineless(length)] /= np.sqrt(2)
    sines = np.sin(2 * np.pi * place * waves[1 : (length + 1) // 2] / length) * np.sqrt(2 / length)
    return np.concatenate([cosines, sines], axis=1)


def sineless(length: int) -> NDArray[np.bool_]:
    """Which waves along an axis have no sine, from frequency 0 on: the mean, and that of two pixels if there is one."""
    return np.arange(length // 2 + 1) % (length / 2) == 0


def waves(length: int) -> NDArray[np.float64]:
    """The frequency of each coefficient along an axis, in cycles per pixel."""
    cosines = np.arange(length // 2 + 1) / length
    return np.concatenate([cosines, cosines[1 : (length + 1) // 2]])


@lru_cache(maxsize=32)
def _scale(size: tuple[int, int], decay: float) -> NDArray[np.float64]:
    """What the coefficients are multiplied by, shape (height, width)."""
    height, width = size
    frequency = np.hypot(waves(height)[:, None], waves(width)[None, :])
    # √2: Lucid's complex coefficients count twice in a real image, each wave with its conjugate.
    return np.sqrt(2) / DAMPING / np.maximum(frequency, 1 / max(size)) ** decay
