"""The network does what its parts say, at every size, the same in every framework."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import agnoscope as ag
from agnoscope.fast_style.network import Form, doubled, in_blocks, mirrored, normalised
from agnoscope.fast_style.style_network import paint_program
from tests.explainers.synthesis.frameworks import demo
from tests.frameworks import FRAMEWORKS

FORM = Form(width=4, blocks=2, styles=2)


def photos(*size: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng([seed, *size]).uniform(size=(2, *size, 3)).astype(np.float32)


def parameters(form: Form = FORM) -> dict[str, NDArray[np.float64]]:
    random = np.random.default_rng(4)
    return {name: array + random.normal(scale=0.1, size=array.shape) for name, array in form.start(0).items()}


def painted(model: ag.Model, form: Form, given: object, mix: list[list[float]], images: object) -> NDArray[np.float32]:
    return model.compile(paint_program, form)(given, np.array(mix), images)["images"]


@pytest.mark.parametrize("backend", FRAMEWORKS)
def test_frameworks_paint_what_numpy_paints(backend: str) -> None:
    pytest.importorskip({"torch": "torch", "jax": "flax", "tensorflow": "keras"}[backend])
    asked = (FORM, parameters(), [[1.0, 0.0], [0.3, 0.7]], photos(37, 50))
    one, other = (painted(demo(each), *asked) for each in ("reference", backend))
    assert one.shape == other.shape == (2, 37, 50, 3)
    assert one.std() > 0.05
    np.testing.assert_allclose(other, one, atol=1e-5)


@pytest.mark.parametrize("backend", ["reference", *FRAMEWORKS])
@pytest.mark.parametrize("side", [5, 9])
def test_a_convolution_in_blocks_is_the_same_convolution(backend: str, side: int) -> None:
    random, model = np.random.default_rng(side), demo(backend)
    kernel = random.normal(size=(side, side, 4, 3)).astype(np.float32)
    images = random.normal(size=(2, 16, 24, 4)).astype(np.float32)
    one, other = (model.compile(convolution_program, way)(images, kernel)["found"] for way in (conv2d, in_blocks))
    assert one.shape == other.shape == (2, 17 - side, 25 - side, 3)
    np.testing.assert_allclose(other, one, atol=1e-4)


def convolution_program(model: ag.Model, way: Any, images: Any, kernel: Any) -> dict[str, Any]:
    return {"found": way(model, images, kernel)}


def conv2d(model: ag.Model, images: Any, kernel: Any) -> Any:
    return model.conv2d(images, kernel)


@pytest.mark.parametrize("size", [(8, 8), (9, 15), (12, 10)])
def test_a_picture_has_the_size_of_its_photo(size: tuple[int, int]) -> None:
    found = painted(demo(), FORM, parameters(), [[1.0, 0.0]] * 2, photos(*size))
    assert found.shape == (2, *size, 3)
    assert np.isfinite(found).all()


def test_borders_are_mirrored() -> None:
    x = np.arange(5.0).reshape(1, 5, 1, 1) * 10 + np.arange(4.0).reshape(1, 1, 4, 1)
    found = mirrored(np, x, 2, 1, 0, 3)
    np.testing.assert_array_equal(found, np.pad(x, ((0, 0), (2, 1), (0, 3), (0, 0)), mode="reflect"))


def test_a_style_is_its_own_scales_and_shifts() -> None:
    """Without a last kernel the picture is the last shift alone: tanh(shift) / 2 + 1 / 2, one colour per style."""
    given = parameters() | {"out.kernel": np.zeros((9, 9, 4, 3)), "out.shift": np.array([[-1.0, 0, 1], [2, 0.5, -3]])}
    found = painted(demo(), FORM, given, [[0.0, 1.0], [0.5, 0.5]], photos(9, 11))
    for picture, shift in zip(found, ([2, 0.5, -3], [0.5, 0.25, -1]), strict=True):
        np.testing.assert_allclose(picture, np.broadcast_to(np.tanh(shift) / 2 + 0.5, picture.shape), atol=1e-6)


def test_bounds_and_depth_are_those_of_the_photo() -> None:
    form = Form(width=4, blocks=1, styles=1, depth=1, bounds=(-2.0, 6.0))
    images = photos(10, 9)[..., :1] * 8 - 2
    found = painted(demo(), form, parameters(form), [[1.0]] * 2, images)
    assert found.shape == images.shape
    assert -2 <= found.min() < 0 < 4 < found.max() <= 6
    plain = painted(demo(), Form(4, 1, 1, 1), parameters(form), [[1.0]] * 2, (images + 2) / 8)
    np.testing.assert_allclose(found, plain * 8 - 2, atol=1e-5)


def test_images_do_not_mix() -> None:
    two = painted(demo(), FORM, parameters(), [[1.0, 0.0], [0.0, 1.0]], photos(16, 12))
    alone = painted(demo(), FORM, parameters(), [[0.0, 1.0]], photos(16, 12)[1:])
    np.testing.assert_allclose(two[1:], alone, atol=1e-6)


def test_enlarging_repeats_every_pixel() -> None:
    x = photos(3, 5)
    np.testing.assert_array_equal(doubled(np, x), x.repeat(2, axis=1).repeat(2, axis=2))


def test_normalising_takes_mean_and_variance_of_each_map() -> None:
    found = normalised(np, photos(6, 7) * np.array([1.0, 50.0, 0.0]) + 3)
    np.testing.assert_allclose(found.mean(axis=(1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(found.var(axis=(1, 2)), [[1, 1, 0]] * 2, atol=2e-4)


def test_it_begins_alike_from_the_same_seed_only() -> None:
    one, same, other = FORM.start(1), FORM.start(1), FORM.start(2)
    assert {name: array.shape for name, array in one.items()} == FORM.shapes
    assert all(np.array_equal(one[name], same[name]) for name in one)
    assert not np.array_equal(one["in.kernel"], other["in.kernel"])
    assert FORM.shapes["in.kernel"] == (9, 9, 3, 4)
    assert FORM.shapes["block2b.kernel"] == (3, 3, 16, 16)
    assert FORM.shapes["out.scale"] == (2, 3)
