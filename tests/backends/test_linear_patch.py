"""A linear layer asked what it makes of another input and kernel: answered, and differentiated, in every backend."""

from typing import Any

import numpy as np
import pytest

import agnoscope as ag
from agnoscope.gradients import gradients
from agnoscope.model import Model
from agnoscope.patches import Array, LinearPatch, Product
from agnoscope.testing import deep_network, images
from tests.backends.test_conformance import keras, linen

X = images(2)


def torch(network: Any) -> Model:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from tests.backends.torch_builder import build

    return build(network)


BUILDERS = {"torch": torch, "jax": linen, "tensorflow": keras}
EACH = [pytest.param(name, marks=getattr(pytest.mark, name)) for name in BUILDERS]


def asking(model: Model, layer: str, images: Array) -> dict[str, Array]:
    """Program: what a layer makes of squares and of a kernel whose channels are counted, put in its output's place."""
    xp = model.xp
    told = []

    def ask(activation: Array, product: Product) -> Array:
        def counted(kernel: Array) -> Array:
            return xp.abs(kernel) * xp.asarray(np.arange(1.0, kernel.shape[-1] + 1), dtype=kernel.dtype)

        told.append(product(lambda a: a * a, counted))
        return activation * 0.5 + told[-1]

    def score(xp: Any, values: Any) -> Array:
        return values["scores"][:, 1]

    patch = {layer: LinearPatch(ask)}
    found = gradients(model, images, score, needs=("scores",), at=(layer,), wrt_images=True, patch=patch)
    told.clear()
    scores = model.run(images, ("scores",), patch)["scores"]
    return {"product": told[-1], "image": found.images, "layer": found.layers[layer], "scores": scores}


@pytest.mark.parametrize("layer", ["conv1", "conv2", "dense"])
@pytest.mark.parametrize("backend", EACH)
def test_a_layer_answers_what_it_makes_of_something_else(backend: str, layer: str) -> None:
    network = deep_network()
    model = BUILDERS[backend](network)
    found, oracle = (each.compile(asking, layer)(X) for each in (model, ag.wrap(network)))
    for name, value in oracle.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-5 * np.abs(value).max(), err_msg=name)


def test_the_product_of_a_dense_layer_is_that_of_its_input_and_kernel() -> None:
    network, model = deep_network(), ag.wrap(deep_network())
    before = model.compile(capturing, "gap")(X)["gap"].astype(float)
    kernel = np.abs(network.layers["dense"].kernel.astype(float)) * np.arange(1, 5)  # type: ignore[union-attr]
    np.testing.assert_allclose(model.compile(asking, "dense")(X)["product"], before**2 @ kernel, rtol=1e-5)


def capturing(model: Model, name: str, images: Array) -> dict[str, Array]:
    return model.run(images, (name,))


@pytest.mark.parametrize("backend", ["reference", *EACH])
def test_a_layer_that_multiplies_nothing_cannot_be_asked(backend: str) -> None:
    build = BUILDERS.get(backend, ag.wrap)
    with pytest.raises(ag.CapabilityError, match="not one convolution or matrix product"):
        build(deep_network()).compile(asking, "relu1")(X)


@pytest.mark.tensorflow
@pytest.mark.parametrize("multiplier", [1, 2])
def test_a_depthwise_kernel_shows_its_output_channels_last(multiplier: int) -> None:
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    library = pytest.importorskip("keras", reason="Keras is not installed")
    layers = library.layers
    deep = layers.DepthwiseConv2D(3, depth_multiplier=multiplier, name="deep")
    stack = [library.Input((5, 7, 3)), deep, layers.GlobalAveragePooling2D(), layers.Dense(2)]
    found = ag.wrap(library.Sequential(stack)).compile(asking, "deep")(X)["product"]
    kernel = np.abs(np.asarray(deep.kernel)).reshape(3, 3, -1) * np.arange(1, 3 * multiplier + 1)
    windows = np.lib.stride_tricks.sliding_window_view(np.repeat(X**2, multiplier, axis=-1), (3, 3), axis=(1, 2))
    np.testing.assert_allclose(found, np.einsum("nhwcij,ijc->nhwc", windows, kernel), rtol=1e-4)
