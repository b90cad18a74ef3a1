"""What every parameterisation promises, at every size, depth and range of values."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from agnoscope.backends.reference import Dense, GlobalAverage, Network
from agnoscope.errors import OptionError
from agnoscope.optimisation.canvas import Canvas
from agnoscope.optimisation.parameterisations.base import Parameterisation
from agnoscope.optimisation.parameterisations.cppn import CPPN
from agnoscope.optimisation.parameterisations.fixed_magnitude import FixedMagnitude
from agnoscope.optimisation.parameterisations.fourier import Fourier
from agnoscope.optimisation.parameterisations.pixels import Pixels
from agnoscope.optimisation.parameterisations.pyramid import Pyramid
from agnoscope.trees import mapped
from tests.explainers.synthesis.frameworks import demo
from tests.frameworks import FRAMEWORKS
from tests.optimisation.parameterisations.programs import (
    CANVASES,
    EACH,
    NAMES,
    SHAPES,
    generators,
    gradient,
    images,
    leaf,
    moved,
    painter,
    paths,
    taken,
)

PACKAGES = {"torch": "torch", "jax": "flax", "tensorflow": "keras"}
INVERTIBLE = [
    (each, name) for each, name in zip(EACH, NAMES, strict=True) if each.name in ("pixels", "fourier", "pyramid")
]

each = pytest.mark.parametrize("parameterisation", EACH, ids=NAMES)
everywhere = pytest.mark.parametrize("canvas", CANVASES, ids=SHAPES)


@each
@everywhere
def test_images_have_the_canvas_shape_and_lie_within_its_bounds(
    parameterisation: Parameterisation, canvas: Canvas
) -> None:
    start = parameterisation.start(canvas, generators(3))
    far = parameterisation.kept(canvas, mapped(start, lambda array: array * 30))
    assert images(parameterisation, canvas, start).std() > 0.01 * canvas.span
    for parameters in (start, far):
        made = images(parameterisation, canvas, parameters)
        assert made.shape == (3, *canvas.size, canvas.depth)
        assert made.dtype == canvas.dtype
        assert made.min() >= canvas.bounds[0]
        assert made.max() <= canvas.bounds[1]


@each
@everywhere
def test_an_image_depends_on_its_own_parameters_only(parameterisation: Parameterisation, canvas: Canvas) -> None:
    together = parameterisation.start(canvas, generators(3))
    alone = parameterisation.start(canvas, generators(3)[1:2])
    np.testing.assert_array_equal(
        *(np.concatenate([leaf(tree, path).ravel() for path in paths(tree)]) for tree in (alone, taken(together, 1)))
    )
    made = images(parameterisation, canvas, together)
    np.testing.assert_allclose(images(parameterisation, canvas, alone)[0], made[1], atol=1e-6 * canvas.span)
    assert np.abs(made[0] - made[1]).max() > 1e-2 * canvas.span


@each
@pytest.mark.parametrize("canvas", CANVASES[1:4], ids=SHAPES[1:4])
def test_gradients_are_difference_quotients(parameterisation: Parameterisation, canvas: Canvas) -> None:
    canvas, random = replace(canvas, dtype="float64"), np.random.default_rng(3)
    parameters = parameterisation.start(canvas, generators(2))
    weights = random.normal(size=(2, *canvas.size, canvas.depth))
    slopes = gradient(parameterisation, canvas, parameters, weights)
    for path in paths(parameters):
        array = leaf(parameters, path)
        for _ in range(3):
            place = tuple(random.integers(array.shape))
            ahead, behind = (
                (images(parameterisation, canvas, moved(parameters, path, place, step)) * weights).sum()
                for step in (1e-5, -1e-5)
            )
            assert leaf(slopes, path)[place] == pytest.approx((ahead - behind) / 2e-5, rel=1e-5, abs=1e-6)


@each
@pytest.mark.parametrize("backend", FRAMEWORKS)
def test_frameworks_make_the_same_images(parameterisation: Parameterisation, backend: str) -> None:
    pytest.importorskip(PACKAGES[backend])
    canvas = Canvas((32, 27), bounds=(-1.0, 1.0))
    parameters = parameterisation.start(canvas, generators(2))
    one, other = (images(parameterisation, canvas, parameters, demo(name)) for name in ("reference", backend))
    np.testing.assert_allclose(other, one, atol=1e-6 * canvas.span, rtol=0)


@each
def test_the_array_api_standard_is_enough(parameterisation: Parameterisation) -> None:
    pytest.importorskip("array_api_strict")
    from tests.strict import StrictModel

    canvas = Canvas((6, 7), dtype="float64")
    strict = StrictModel(Network({"pool": GlobalAverage(), "dense": Dense(np.ones((3, 2)), np.zeros(2))}))
    parameters = parameterisation.start(canvas, generators(2))
    made = images(parameterisation, canvas, parameters, strict)
    np.testing.assert_allclose(made, images(parameterisation, canvas, parameters), atol=1e-12)


@pytest.mark.parametrize("parameterisation", [each for each, _ in INVERTIBLE], ids=[name for _, name in INVERTIBLE])
@everywhere
def test_parameters_of_images_stand_for_these_images(parameterisation: Parameterisation, canvas: Canvas) -> None:
    random = np.random.default_rng(2)
    wanted = canvas.bounds[0] + canvas.span * random.uniform(0.01, 0.99, (2, *canvas.size, canvas.depth))
    found = images(parameterisation, canvas, parameterisation.of(canvas, wanted.astype(canvas.dtype)))
    np.testing.assert_allclose(found, wanted, atol=2e-6 * canvas.span)


@pytest.mark.parametrize("parameterisation", [each for each, _ in INVERTIBLE], ids=[name for _, name in INVERTIBLE])
def test_black_and_white_come_back_almost(parameterisation: Parameterisation) -> None:
    canvas = Canvas((5, 6))
    wanted = np.zeros((1, 5, 6, 3), dtype=np.float32)
    wanted[:, 2:] = 1
    np.testing.assert_allclose(images(parameterisation, canvas, parameterisation.of(canvas, wanted)), wanted, atol=2e-3)


@pytest.mark.parametrize("parameterisation", [CPPN(), painter()], ids=["cppn", "generator"])
def test_what_cannot_begin_from_an_image_says_so(parameterisation: Parameterisation) -> None:
    with pytest.raises(OptionError, match="cannot begin from an image"):
        parameterisation.of(Canvas((4, 4)), np.zeros((1, 4, 4, 3)))


@pytest.mark.parametrize(
    "options",
    [
        (Fourier, {"deviation": float("nan")}),
        (Fourier, {"decay": -1.0}),
        (Pixels, {"deviation": "much"}),
        (Pyramid, {"levels": 0}),
        (Pyramid, {"deviation": -1.0}),
        (CPPN, {"layers": 0}),
        (CPPN, {"width": 2.5}),
        (FixedMagnitude, {"contrast": 0.0}),
        (FixedMagnitude, {"decay": float("nan")}),
    ],
    ids=str,
)
def test_options_out_of_range_are_refused(options: tuple[type[Parameterisation], dict[str, Any]]) -> None:
    kind, given = options
    with pytest.raises(OptionError, match=next(iter(given))):
        kind(**given)
