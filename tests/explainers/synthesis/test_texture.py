"""Textures: that they come near to their photo's statistics, tile, fit the network, and agree between frameworks."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import agnoscope as ag
from agnoscope.backends.reference import Conv, Dense, GlobalAverage, Network, Relu
from agnoscope.errors import ImageError, LayerError, ModelError, OptionError
from agnoscope.explainers.synthesis.texture import Texture
from agnoscope.optimisation.parameterisations.pixels import Pixels
from agnoscope.synthesis import Synthesis
from agnoscope.targets.features import features_of
from tests.explainers.synthesis.frameworks import OTHERS, STEPS, assert_frameworks_agree, demo, layer

LAYERS = ("layer1.0", "layer2.0", "layer2.2")
NOISE = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
STRIPES = np.broadcast_to(np.where(np.arange(96) // 6 % 2, 230, 40)[None, :, None], (96, 96, 3)).astype(np.uint8)


def named(method: Texture, model: ag.Model, photo: Any) -> Synthesis:
    """With layers by the names that each framework gives them."""
    return replace(method, layers=tuple(layer(model, name) for name in LAYERS))(model, photo)


def little() -> ag.Model:
    """A network of float64 that takes any size."""
    random = np.random.default_rng(0)
    kernels = [random.normal(size=shape) for shape in ((3, 3, 3, 4), (3, 3, 4, 5))]
    layers: dict[str, Any] = {"conv1": Conv(kernels[0], np.zeros(4), 1, 1), "relu1": Relu()}
    layers |= {"conv2": Conv(kernels[1], np.zeros(5), 2, 1), "relu2": Relu(), "gap": GlobalAverage()}
    return ag.wrap(Network(layers | {"dense": Dense(random.normal(size=(5, 2)), np.zeros(2))}), input_size=32)


@pytest.mark.torch
@pytest.mark.parametrize("framework", OTHERS)
@pytest.mark.parametrize("tileable", [False, True])
def test_frameworks_agree(framework: str, tileable: bool) -> None:
    method = Texture(iterations=STEPS, scales=1, tileable=tileable)
    assert_frameworks_agree(partial(named, method), lambda model: (NOISE,), framework)  # type: ignore[arg-type]


@pytest.mark.torch
def test_stripes_make_stripes() -> None:
    made = Texture(iterations=50)(demo("torch"), STRIPES)
    assert made.making.finished
    assert made.making.targets == ("the texture of the photo",)
    assert made.images.shape == (1, 96, 96, 3)
    assert made.history.shape == (100, 1)
    assert made.making.scores[0] > 0.1 * made.history[0, 0]
    assert made.making.scores[0] == pytest.approx(-np.mean(list(made.extras.values())), rel=1e-4)
    assert list(made.extras) == [f"distance from covariances of relu{i}" for i in range(1, 6)]
    assert steps(made.images[0], 1) > 1.5 * steps(made.images[0], 0)


@pytest.mark.torch
@pytest.mark.parametrize("tileable", [False, True])
def test_a_tileable_texture_is_one_across_its_seams(tileable: bool) -> None:
    method = Texture(iterations=60, scales=1, tileable=tileable)
    image = method(demo("torch"), STRIPES).images
    target = method.plan(demo("torch"), STRIPES).stages[0].target
    shifted = np.concatenate([image, np.roll(image, (48, 48), axis=(1, 2))])
    whole, across = target(np, features_of(demo("torch"), shifted, target.needs))
    assert (across > 1.1 * whole) == tileable  # of distances below zero


def steps(image: NDArray[Any], axis: int) -> float:
    """How much neighbouring pixels differ."""
    return float(np.abs(np.diff(image, axis=axis)).mean())


def test_the_image_may_be_larger_than_the_photo_and_oblong() -> None:
    made = Texture(iterations=2, size=(40, 56), source=32)(little(), NOISE)
    assert made.images.shape == (1, 40, 56, 3)
    assert made.photos[0].shape == (32, 32, 3)


def test_scales_too_small_for_the_layers_are_left_out() -> None:
    assert [stage.canvas.size for stage in Texture(scales=3).plan(little(), NOISE).stages] == [
        (8, 8),
        (16, 16),
        (32, 32),
    ]
    method = Texture(scales=3, layers=("relu1", "relu2"))
    assert [len(stage.target.terms) for stage in method.plan(little(), NOISE).stages] == [1, 2, 2]
    assert len(replace(method, layers=("relu2",)).plan(little(), NOISE).stages) == 2


def test_the_photo_itself_is_a_texture_of_itself() -> None:
    stage = Texture(scales=1, parameterisation=Pixels()).plan(little(), NOISE).stages[0]
    values = features_of(little(), NOISE[None] / 255.0, stage.target.needs)
    assert stage.target(np, values) == pytest.approx([0], abs=1e-12)


def test_gram_matrices_are_compared_if_asked_for() -> None:
    method = Texture(iterations=8, scales=1, statistics="gram", layer_weights=(3.0, 1.0), layers=("relu1", "relu2"))
    made = method(little(), NOISE)
    one, other = (made.extras[f"distance from correlations of relu{i}"][0] for i in (1, 2))
    assert -made.making.scores[0] == pytest.approx(0.75 * one + 0.25 * other)
    assert made.making.scores[0] > made.history[0, 0]


def test_total_variation_makes_it_smoother() -> None:
    plain, smooth = (Texture(iterations=10, total_variation=w)(little(), NOISE).images[0] for w in (0.0, 3.0))
    assert steps(smooth, 0) < 0.7 * steps(plain, 0)


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"layers": ("relu1", "relu9")}, LayerError, "relu9"),
        ({"layers": ("gap",)}, LayerError, "no map"),
        ({"layers": ("relu2",), "source": 4}, ImageError, "'relu2' sees 5 pixels, and the style photo has 4"),
        ({"source": 3}, ImageError, "smaller than what two units"),
        ({"layers": ("relu1",), "layer_weights": (1.0, 2.0)}, OptionError, "must hold 1 numbers"),
        ({"statistics": "mean"}, OptionError, "statistics='mean'"),
        ({"size": 0}, OptionError, "size"),
        ({"scales": 0}, OptionError, "scales"),
        ({"iterations": 0}, OptionError, "iterations"),
        ({"source": 1.5}, OptionError, "source"),
        ({"total_variation": -1.0}, OptionError, "total_variation"),
    ],
)
def test_bad_options(options: dict[str, Any], error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        Texture(**options)(little(), NOISE)


def test_several_photos_are_refused() -> None:
    with pytest.raises(ImageError, match="2 images"):
        Texture()(little(), [NOISE, NOISE])


@pytest.mark.torch
def test_a_size_that_the_network_cannot_take_is_refused() -> None:
    with pytest.raises(ModelError, match=r"64 × 64 pixels.*takes 32 × 32"):
        Texture(size=64)(of_one_size(), NOISE)


@pytest.mark.torch
def test_a_network_of_one_size_sees_the_middle_of_the_photo() -> None:
    wide = np.concatenate([STRIPES, np.zeros((96, 48, 3), np.uint8)], axis=1)
    (stage,) = Texture(layers=("1",)).plan(of_one_size(), wide).stages
    (square,) = Texture(layers=("1",)).plan(of_one_size(), wide[:, 24:120]).stages
    np.testing.assert_allclose(stage.target.arrays["0"]["covariance"], square.target.arrays["0"]["covariance"])


def of_one_size() -> ag.Model:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(4096, 2)
    return ag.wrap(torch.nn.Sequential(*layers).eval(), input_size=32)
