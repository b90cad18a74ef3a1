"""RISE against the loop that its paper describes, mask by mask in NumPy."""

from math import ceil
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agnoscope import OptionError, wrap
from agnoscope.backends.reference import Conv, Dense, GlobalAverage, Network
from agnoscope.explainers.perturbation.rise import RISE
from agnoscope.testing import SIZE, images, rectified_network
from tests.explainers.perturbation.closed_forms import LAYERS, X, scores


def enlarged(grid: NDArray[Any], size: tuple[int, int], shift: NDArray[Any]) -> NDArray[Any]:
    """Bilinear interpolation to one cell more than the image, then the image's part of it."""
    mask = grid.astype(np.float64)
    for axis, length in enumerate(size):
        cells = grid.shape[0]
        long = (cells + 1) * ceil(length / cells)
        places = (np.arange(long) + 0.5) * cells / long - 0.5
        mask = np.apply_along_axis(lambda line, at=places: np.interp(at, np.arange(len(line)), line), axis, mask)
    return mask[shift[0] : shift[0] + size[0], shift[1] : shift[1] + size[1]]


@pytest.mark.parametrize(
    ("options", "filling"),
    [
        ({}, 0.0),
        ({"grid": 2, "keep": 0.2}, 0.0),
        ({"grid": 5, "seed": 4}, 0.0),
        ({"fill": 0.25}, 0.25),
        ({"fill": (0.1, 0.2, 0.9)}, (0.1, 0.2, 0.9)),
    ],
)
def test_the_values_are_the_masks_weighted_by_their_scores(options: dict[str, Any], filling: Any) -> None:
    rise = RISE(**{"samples": 40, "grid": 3, **options})
    found = rise(wrap(rectified_network()), X, [2, 0, 3], batch_size=6)
    masks = np.array([enlarged(grid, SIZE, shift) for grid, shift in zip(*rise.draw(SIZE), strict=True)])
    assert masks.std(axis=0).min() > 0.05
    for x, values, target in zip(X.astype(np.float64), found.values, [2, 0, 3], strict=True):
        seen = masks[..., None] * x + (1 - masks[..., None]) * np.asarray(filling)
        expected = np.tensordot(scores(seen)[:, target], masks, 1) / (40 * rise.keep)
        np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-5)


def test_masks_show_the_share_that_is_kept_at_every_shift() -> None:
    grids, shifts = RISE(samples=3000, grid=3, keep=0.3).draw((11, 20))
    assert set(np.unique(grids)) == {0, 1}
    np.testing.assert_allclose(grids.mean(axis=0), 0.3, atol=0.04)
    assert [set(column) for column in shifts.T] == [set(range(4)), set(range(7))]
    assert len(np.unique(grids, axis=0)) > 400  # of 512


def test_a_score_that_never_varies_gives_the_masks_alone() -> None:
    constant = Network({**LAYERS, "dense": Dense(0 * LAYERS["dense"].kernel, np.ones(4, np.float32))})
    found = RISE(samples=2000, grid=3)(wrap(constant), X[0], 1)
    np.testing.assert_allclose(found.values, 1, atol=0.08)


def test_it_finds_the_only_pixel_that_counts() -> None:
    kernel = np.zeros((12, 12, 3, 2), np.float32)
    kernel[8, 3, :, 1] = 1
    spot = wrap(Network({"conv": Conv(kernel, np.zeros(2, np.float32)), "gap": GlobalAverage()}))
    found = RISE(samples=500, grid=4)(spot, np.ones((12, 12, 3)), 1).values[0]
    top, left = np.unravel_index(found.argmax(), found.shape)
    assert max(abs(top - 8), abs(left - 3)) <= 1


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_chunks_and_company_make_no_difference(batch_size: int) -> None:
    model, rise = wrap(rectified_network()), RISE(samples=10, grid=3)
    whole = rise(model, images(3), 1).values
    for image, values in zip(images(3), whole, strict=True):
        alone = rise(model, image, 1, batch_size=batch_size).values[0]
        np.testing.assert_allclose(alone, values, rtol=1e-4, atol=1e-5)


def test_it_is_a_black_box_and_tells_its_progress() -> None:
    model = wrap(rectified_network())
    model.can = frozenset()
    seen: list[tuple[int, int]] = []
    found = RISE(samples=9, grid=3)(model, X, batch_size=4, progress=lambda done, total: seen.append((done, total)))
    assert np.isfinite(found.values).all()
    assert seen == [(n, 27) for n in (0, 3, 6, 9, 12, 15, 18, 21, 24, 27)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "samples=0 must be a whole number, at least 1"),
        ({"keep": 0.0}, "keep=0.0 must lie between 0 and 1"),
        ({"keep": 1}, "keep=1 must lie between"),
        ({"keep": float("nan")}, "keep=nan must"),
        ({"keep": "half"}, "keep='half' must"),
        ({"grid": 6}, r"grid=6 is more than the image \(5, 7\) has pixels"),
        ({"grid": 0}, "grid=0 must be a whole number"),
        ({"grid": 3, "fill": "pink"}, "fill='pink' is unknown"),
    ],
)
def test_it_refuses_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        RISE(**options)(wrap(rectified_network()), X)
