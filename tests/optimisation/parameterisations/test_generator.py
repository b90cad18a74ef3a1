"""The code of a generator: what it paints, how the code stays near its mean, and the demo generator everywhere."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

import agnoscope as ag
from agnoscope.arrays import resize
from agnoscope.backends.reference import Conv, Dense, GlobalAverage, Network
from agnoscope.demo import generator, load_weights
from agnoscope.errors import OptionError
from agnoscope.explainers.synthesis.feature_visualization import FeatureVisualization
from agnoscope.optimisation.canvas import Canvas
from agnoscope.optimisation.optimisers import Ascent
from agnoscope.optimisation.parameterisations.generator import Generator
from tests.explainers.synthesis.frameworks import demo
from tests.frameworks import FRAMEWORKS
from tests.optimisation.parameterisations.programs import generators, gradient, images, moved, painter

PACKAGES = {"torch": "torch", "jax": "flax", "tensorflow": "keras"}


@cache
def prior(backend: str) -> Generator:
    pytest.importorskip(PACKAGES[backend])
    return Generator(generator.load(backend))


def by_hand(code: np.ndarray) -> np.ndarray:
    """The picture of `painter` for a code of shape (1, 1, 4)."""
    operation = painter(dtype="float64").network.network.layers["paint"]
    # A full convolution lays the flipped kernel out.
    return 1 / (1 + np.exp(-(np.einsum("uvko,k->uvo", operation.kernel[::-1, ::-1], code[0, 0]) + operation.bias)))


@pytest.mark.parametrize("canvas", [Canvas((3, 3)), Canvas((7, 5), bounds=(-1.0, 3.0))], ids=["own", "other"])
def test_images_are_the_generators_pictures_on_the_canvas(canvas: Canvas) -> None:
    canvas = replace(canvas, dtype="float64")
    parameters = painter(dtype="float64").start(canvas, generators(2))
    made = images(painter(dtype="float64"), canvas, parameters)
    for code, image in zip(parameters["code"], made, strict=True):
        planes = resize(np, by_hand(code).transpose(2, 0, 1), canvas.size).transpose(1, 2, 0)
        np.testing.assert_allclose(image, canvas.bounds[0] + canvas.span * planes, atol=1e-12)


def test_pictures_of_another_range_are_brought_into_the_bounds_and_cut_off() -> None:
    canvas = Canvas((3, 3), dtype="float64")
    wide = replace(painter(dtype="float64"), range=(0.2, 0.6))
    parameters = wide.start(canvas, generators(1))
    plain = by_hand(parameters["code"][0])
    assert plain.min() < 0.2
    assert plain.max() > 0.6
    np.testing.assert_allclose(images(wide, canvas, parameters)[0], np.clip((plain - 0.2) / 0.4, 0, 1), atol=1e-12)


def test_gradients_go_through_the_generator_to_the_code() -> None:
    canvas, made, random = Canvas((5, 4), dtype="float64"), painter(dtype="float64"), np.random.default_rng(1)
    parameters = made.start(canvas, generators(2))
    weights = random.normal(size=(2, 5, 4, 3))
    slopes = gradient(made, canvas, parameters, weights)["code"]
    for place in [(0, 0, 0, 1), (1, 0, 0, 3)]:
        ahead, behind = (
            (images(made, canvas, moved(parameters, ("code",), place, step)) * weights).sum() for step in (1e-5, -1e-5)
        )
        assert slopes[place] == pytest.approx((ahead - behind) / 2e-5, rel=1e-6)


def test_the_code_shrinks_and_stays_within_the_generators_bounds() -> None:
    made = replace(painter(), decay=0.9)
    kept = made.kept(Canvas((3, 3)), {"code": np.array([[[[1.0, -1.0, 5.0, -2.1]]]])})["code"]
    np.testing.assert_allclose(kept.ravel(), [0.9, -0.9, 2.0, -1.89], rtol=1e-6)
    start = replace(made, deviation=10.0).start(Canvas((3, 3)), generators(4))["code"]
    assert start.min() == -2
    assert start.max() == 2


def test_gray_pictures_for_gray_networks() -> None:
    canvas = Canvas((4, 4), depth=1, coloured=False)
    made = painter(depth=1)
    assert images(made, canvas, made.start(canvas, generators(1))).shape == (1, 4, 4, 1)
    with pytest.raises(OptionError, match="1 channels, and the explained network takes 3"):
        made.start(Canvas((4, 4)), generators(1))


def test_what_makes_no_pictures_is_refused() -> None:
    flat = Network({"pool": GlobalAverage(), "dense": Dense(np.ones((4, 3)), np.zeros(3))})
    with pytest.raises(OptionError, match="no picture"):
        Generator(ag.wrap(flat, input_size=(1, 1), channels=4))
    with pytest.raises(OptionError, match="takes a wrapped network"):
        Generator(flat)  # type: ignore[arg-type]
    anywhere = Network({"paint": Conv(np.ones((3, 3, 4, 3)), np.zeros(3))})
    with pytest.raises(OptionError, match="input_size"):
        Generator(ag.wrap(anywhere, channels=4))


@pytest.mark.parametrize(
    "options", [{"decay": 0.0}, {"decay": 1.1}, {"deviation": -1.0}, {"range": (1.0, 0.0)}], ids=str
)
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        replace(painter(), **options)


@pytest.mark.torch
def test_a_generator_of_another_framework_is_refused() -> None:
    pytest.importorskip("torch")
    with pytest.raises(OptionError, match="reference network"):
        FeatureVisualization(iterations=1, parameterisation=painter())(demo("torch"), "ball")


@pytest.mark.parametrize("backend", FRAMEWORKS)
def test_the_demo_generator_paints_the_same_everywhere(backend: str) -> None:
    made, canvas = prior(backend), Canvas((96, 96))
    parameters = made.start(canvas, generators(2))
    assert made.network.outline().scores == (96, 96, 3)
    found = images(made, canvas, parameters, demo(backend))
    np.testing.assert_allclose(found, painted(parameters["code"]), atol=1e-5)


@pytest.mark.parametrize("backend", FRAMEWORKS)
def test_classes_drawn_by_a_generator_are_answered_with_certainty(backend: str) -> None:
    steps = Ascent(0.02, momentum=0.9)
    method = FeatureVisualization(iterations=150, parameterisation=prior(backend), views=None, optimiser=steps)
    made = method(demo(backend), ["ball", "cone", "crate"] * 4)
    assert [row[0][0] for row in made.making.answers] == ["ball [0]", "cone [1]", "crate [2]"] * 4
    found = np.array([row[0][1] for row in made.making.answers]).reshape(4, 3)
    assert found.min() >= 0.94  # as the median of real scenes
    assert (found.max(axis=0) >= 0.99).all()


def painted(code: np.ndarray) -> np.ndarray:
    """The demo generator in NumPy, float64."""
    weights = {name: array.astype(np.float64) for name, array in load_weights("generator").items()}
    x = code.astype(np.float64)
    for name, _, _, _, padding, factor in generator.CONVOLUTIONS:
        x = np.maximum(x, 0) if factor > 1 else x
        x = x.repeat(factor, axis=1).repeat(factor, axis=2)
        network = Network({name: Conv(weights[f"{name}/kernel"], weights[f"{name}/bias"], padding=padding)})
        wrapped = ag.wrap(network, input_size=x.shape[1:3], channels=x.shape[3], bounds=(-1e9, 1e9))
        x = wrapped.compile(_output, None)(x)["output"]
    return 1 / (1 + np.exp(-x))


def _output(model: ag.Model, _: None, x: np.ndarray) -> dict[str, np.ndarray]:
    return model.run(x, ("output",))
