"""A sum of levels: each one's pixel moves a region of its own width."""

import numpy as np
import pytest

from agnoscope.optimisation.canvas import Canvas
from agnoscope.optimisation.parameterisations.pyramid import Pyramid
from tests.optimisation.parameterisations.programs import images

GRAY = Canvas((16, 24), depth=1, dtype="float64", coloured=False)


def empty(pyramid: Pyramid, canvas: Canvas) -> dict[str, np.ndarray]:
    return {name: np.zeros((1, canvas.depth, *size)) for name, size in pyramid._sizes(canvas).items()}


def test_each_level_is_half_as_high_and_wide_and_at_least_a_pixel() -> None:
    sizes = Pyramid(levels=6)._sizes(Canvas((9, 20)))
    assert list(sizes.values()) == [(9, 20), (4, 10), (2, 5), (1, 2), (1, 1), (1, 1)]


@pytest.mark.parametrize(("level", "width"), [(0, 1), (1, 4), (2, 8), (3, 16)])
def test_a_pixel_of_a_level_moves_a_triangle_around_it(level: int, width: int) -> None:
    levels = empty(Pyramid(), GRAY)
    levels[f"level {level}"][0, 0, 0, (24 >> level) // 2] = 1
    row = images(Pyramid(), GRAY, levels)[0, 0, :, 0]
    assert (row > 0.5).sum() == width
    assert (row >= 0.5).all()


def test_a_smooth_image_is_told_by_the_coarse_levels() -> None:
    wave = 0.5 + 0.2 * np.cos(2 * np.pi * (np.arange(24) + 0.5) / 24) * np.ones((1, 16, 1))
    levels = Pyramid().of(GRAY, wave[..., None])
    finest, fine, coarse, coarsest = (np.square(levels[f"level {n}"]).mean() for n in range(4))
    assert coarsest > coarse > 10 * fine > 100 * finest
