"""A spectrum whose amplitudes fall as promised, at even, odd and oblong sizes."""

import numpy as np
import pytest

from agnoscope.backends.tape import xp as reference
from agnoscope.optimisation.canvas import Canvas
from agnoscope.optimisation.parameterisations.colours import COLOURS, unpainted
from agnoscope.optimisation.parameterisations.fourier import Fourier, basis, from_spectrum
from tests.optimisation.parameterisations.programs import generators, images

SIZES = [(8, 8), (7, 7), (6, 9), (9, 4), (1, 5), (2, 2)]


@pytest.mark.parametrize("length", [1, 2, 5, 8])
def test_the_basis_is_orthonormal(length: int) -> None:
    np.testing.assert_allclose(basis(length).T @ basis(length), np.eye(length), atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_a_spectrum_is_a_sum_of_cosines_and_sines(size: tuple[int, int]) -> None:
    spectrum = np.random.default_rng(0).normal(size=(2, *size))
    wanted = basis(size[0]) @ spectrum @ basis(size[1]).T
    np.testing.assert_allclose(from_spectrum(np, spectrum), wanted, atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_a_namespace_without_fast_transforms_makes_the_same_sum(size: tuple[int, int]) -> None:
    assert not hasattr(reference, "fft")
    spectrum = np.random.default_rng(0).normal(size=(2, *size))
    np.testing.assert_allclose(from_spectrum(reference, spectrum), from_spectrum(np, spectrum), atol=1e-12)


@pytest.mark.parametrize("decay", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("size", [(48, 48), (45, 45), (32, 63)])
def test_amplitudes_fall_with_frequency_by_the_decay(size: tuple[int, int], decay: float) -> None:
    canvas, made = Canvas(size, depth=1, dtype="float64", coloured=False), Fourier(deviation=1e-4, decay=decay)
    planes = unpainted(canvas, images(made, canvas, made.start(canvas, generators(200))), made.decorrelated)
    power = np.square(np.abs(np.fft.fft2(planes))).mean(axis=(0, 1))
    frequency = np.hypot(np.fft.fftfreq(size[0])[:, None], np.fft.fftfreq(size[1])[None, :])
    counted = frequency > 1 / max(size)
    slope = np.polyfit(np.log(frequency[counted]), np.log(power[counted]) / 2, 1)[0]
    assert slope == pytest.approx(-decay, abs=0.02)


def test_a_step_on_one_channel_is_a_colour_that_photos_have() -> None:
    canvas = Canvas((4, 4), dtype="float64")
    spectrum = np.zeros((1, 3, 4, 4))
    spectrum[0, 1, 0, 0] = 1e-3
    change = images(Fourier(), canvas, {"spectrum": spectrum})[0, 0, 0] - 0.5
    np.testing.assert_allclose(change / np.abs(change).max(), COLOURS[:, 1] / 0.09, atol=1e-3)
