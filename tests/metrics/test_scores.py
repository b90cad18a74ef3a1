"""Asking in batches: their lengths, the fills, and what is refused."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter  # type: ignore[import-untyped]

from agnoscope.errors import NonFiniteError, OptionError
from agnoscope.metrics.scores import asked, batches, filling, scored
from tests.metrics.linear import IMAGES, linear


@pytest.mark.parametrize(("count", "size"), [(10, 3), (225, 32), (1, 5), (7, 7), (8, 1)])
def test_batches_have_one_length_and_leave_nothing_out(count: int, size: int) -> None:
    found = list(batches(count, size))
    assert len({len(rows) for rows in found}) == 1
    assert len(found[0]) <= size
    assert sorted(set(np.concatenate(found).tolist())) == list(range(count))
    assert len(found) == -(-count // size)


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_the_batch_changes_nothing(batch_size: int) -> None:
    owners = np.array([2, 0, 0, 1, 2])
    found = scored(linear(), lambda rows: IMAGES[owners[rows]] * rows[:, None, None, None], owners, batch_size)
    expected = linear()(IMAGES, np.arange(3))[owners] * np.arange(5)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_fills_have_the_images_shape_and_dtype() -> None:
    images = IMAGES.astype(np.float32)
    for fill in (0.25, "mean", "blur", np.array([0.1, 0.2]), images[0], images):
        found = filling(images, fill)
        assert (found.shape, found.dtype) == (images.shape, images.dtype)
    np.testing.assert_allclose(filling(IMAGES, "mean")[1, 3, 2], IMAGES[1].mean(axis=(0, 1)))
    np.testing.assert_array_equal(filling(IMAGES, np.array([0.1, 0.2]))[2, 1, 1], [0.1, 0.2])


def test_the_blur_is_a_gaussian_of_five_pixels_cut_off_at_five() -> None:
    point = np.zeros((1, 31, 31, 2))
    point[0, 15, 15, 0] = 1
    found = filling(point, "blur")[0]
    assert found[..., 1].max() == 0  # channels and images stay apart
    line = np.where(np.abs(np.arange(31) - 15) <= 5, np.exp(-((np.arange(31) - 15) ** 2) / 50), 0)
    np.testing.assert_allclose(found[..., 0], np.outer(line, line) / line.sum() ** 2, atol=1e-15)
    assert not np.allclose(found[..., 0], gaussian_filter(point[0, ..., 0], 5))


@pytest.mark.parametrize("fill", ["grey", np.ones(3), np.nan, np.ones((2, 6, 5, 2)), None])
def test_fills_that_do_not_fit_are_refused(fill: Any) -> None:
    with pytest.raises(OptionError, match="fill"):
        filling(IMAGES, fill)


def test_bad_answers_are_refused() -> None:
    def broken(images: NDArray[Any], owners: NDArray[np.intp]) -> NDArray[Any]:
        return np.where(owners == 2, np.nan, 0.0)

    with pytest.raises(NonFiniteError, match="image 3"):
        asked(broken, IMAGES, np.arange(3))
    with pytest.raises(OptionError, match="one per image"):
        asked(lambda images, owners: images.mean(axis=(2, 3)), IMAGES, np.arange(3))
    with pytest.raises(OptionError, match="batch_size=0"):
        list(batches(3, 0))
