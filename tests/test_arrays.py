"""Resizing agrees with the libraries that do it, where they agree on what it means."""

from collections.abc import Callable
from typing import Any

import array_api_strict
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter1d
from skimage.transform import resize as skimage_resize

from agnoscope.arrays import blur_matrix, resize, resize_matrix

MAPS = np.random.default_rng(0).normal(size=(2, 7, 10))
Resize = Callable[[NDArray[Any], tuple[int, int]], NDArray[Any]]


def by_pillow(image: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    picture = Image.fromarray(image.astype(np.float32))
    return np.asarray(picture.resize(size[::-1], Image.Resampling.BILINEAR))


def by_skimage(image: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    return np.asarray(skimage_resize(image, size, order=1, mode="edge", anti_aliasing=False))


def by_torch(image: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(image)[None, None]
    found = torch.nn.functional.interpolate(tensor, size, mode="bilinear", align_corners=False, antialias=True)
    return np.asarray(found[0, 0])


PILLOW, SKIMAGE = pytest.param(by_pillow, id="Pillow"), pytest.param(by_skimage, id="scikit-image")
TORCH = pytest.param(by_torch, marks=pytest.mark.torch, id="PyTorch")


@pytest.mark.parametrize("other", [PILLOW, SKIMAGE, TORCH])
@pytest.mark.parametrize("size", [(14, 20), (15, 23), (7, 224), (100, 11)])
def test_enlarging_is_bilinear_with_half_pixel_centres(other: Resize, size: tuple[int, int]) -> None:
    expected = np.stack([other(image, size) for image in MAPS])
    np.testing.assert_allclose(resize(np, MAPS, size), expected, atol=1e-6)


@pytest.mark.parametrize("other", [PILLOW, TORCH])
@pytest.mark.parametrize("size", [(3, 5), (1, 1), (6, 9), (2, 10), (3, 20)])
def test_shrinking_counts_every_pixel(other: Resize, size: tuple[int, int]) -> None:
    expected = np.stack([other(image, size) for image in MAPS])
    np.testing.assert_allclose(resize(np, MAPS, size), expected, atol=1e-6)


def test_the_same_size_is_the_same_map() -> None:
    np.testing.assert_array_equal(resize(np, MAPS, (7, 10)), MAPS)


@pytest.mark.parametrize(("length", "wanted"), [(1, 1), (1, 9), (9, 1), (4, 7), (7, 4), (14, 224)])
def test_weights_are_shares_and_symmetric(length: int, wanted: int) -> None:
    matrix = resize_matrix(length, wanted)
    assert matrix.shape == (wanted, length)
    assert matrix.min() >= 0
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-14)
    np.testing.assert_allclose(matrix[::-1, ::-1], matrix, atol=1e-14)


def test_the_dtype_of_the_maps_is_kept_in_any_namespace() -> None:
    for dtype in ("float32", "float64"):
        maps = array_api_strict.asarray(MAPS.astype(dtype))
        found = resize(array_api_strict, maps, (3, 20))
        assert found.dtype == getattr(array_api_strict, dtype)
        np.testing.assert_array_equal(np.asarray(found), resize(np, MAPS.astype(dtype), (3, 20)))


@pytest.mark.parametrize("length", [1, 2, 5, 32, 224])
@pytest.mark.parametrize("sigma", [0, 0.01, 0.3, 1, 7, 50, 1000])
def test_blurring_is_scipys(length: int, sigma: float) -> None:
    expected = gaussian_filter1d(np.eye(length), sigma, axis=0, mode="nearest") if sigma else np.eye(length)
    np.testing.assert_allclose(blur_matrix(length, sigma), expected, atol=1e-14)
