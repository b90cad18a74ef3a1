"""Every rule of resizing is that of the library that it is named for."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import zoom
from skimage.transform import resize as skimage_resize

from agnoscope.resizing import RULES

MAP = np.random.default_rng(0).normal(size=(7, 10))
SIZES = [(14, 20), (15, 23), (7, 224), (100, 11), (7, 10)]


def by_scipy(size: tuple[int, int]) -> NDArray[Any]:
    # Its constant border, the default, may take the last row for outside by a rounding error.
    return np.asarray(
        zoom(MAP, [after / before for before, after in zip(MAP.shape, size, strict=True)], order=1, mode="nearest")
    )


def by_skimage(size: tuple[int, int]) -> NDArray[Any]:
    return np.asarray(skimage_resize(MAP, size))


def by_torch(size: tuple[int, int]) -> NDArray[Any]:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    return np.asarray(torch.nn.functional.interpolate(torch.tensor(MAP)[None, None], size)[0, 0])


LIBRARIES = [
    ("corners", by_scipy),
    ("mirrored", by_skimage),
    pytest.param("nearest", by_torch, marks=pytest.mark.torch),
]


@pytest.mark.parametrize(("rule", "theirs"), LIBRARIES)
@pytest.mark.parametrize("size", SIZES)
def test_a_rule_is_its_librarys(rule: str, theirs: Callable[[tuple[int, int]], NDArray[Any]], size: Any) -> None:
    down, across = RULES[rule](MAP.shape[0], size[0]), RULES[rule](MAP.shape[1], size[1])
    np.testing.assert_allclose(down @ MAP @ across.T, theirs(size), atol=1e-12)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("length", "wanted"), [(1, 1), (1, 9), (9, 1), (4, 7), (14, 224)])
def test_weights_are_shares(rule: str, length: int, wanted: int) -> None:
    matrix = RULES[rule](length, wanted)
    assert matrix.shape == (wanted, length)
    assert matrix.min() >= 0
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-12)


def test_places_by_hand() -> None:
    np.testing.assert_allclose(RULES["corners"](2, 3) @ [0, 1], [0, 0.5, 1])
    np.testing.assert_allclose(RULES["mirrored"](2, 4) @ [0, 1], [0.25, 0.25, 0.75, 0.75])
    np.testing.assert_allclose(RULES["nearest"](2, 5) @ [0, 1], [0, 0, 0, 1, 1])
