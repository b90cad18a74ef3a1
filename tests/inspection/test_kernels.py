"""Kernels come with the same axes and numbers out of every framework."""

import numpy as np
import pytest

import agnoscope as ag
from agnoscope.backends.reference import Conv, Network
from agnoscope.demo import models
from agnoscope.demo.architecture import load_weights
from agnoscope.inspection.kernels import kernel
from tests.frameworks import FRAMEWORKS

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("framework", ["reference", *FRAMEWORKS])
def test_every_framework_shows_the_demo_networks_kernels_alike(framework: str) -> None:
    model, weights = models.load("honest", framework), load_weights("honest")
    for name in ("conv1", "conv5", "dense"):
        np.testing.assert_array_equal(kernel(model, name), weights[f"{name}/kernel"])


DEPTHWISE = RANDOM.normal(size=(2, 3, 1, 6)).astype(np.float32)  # of three channels, two kernels for each


@pytest.mark.torch
def test_a_depthwise_kernel_in_pytorch() -> None:
    torch = pytest.importorskip("torch")
    layer = torch.nn.Conv2d(3, 6, (2, 3), groups=3)
    layer.weight.data = torch.tensor(DEPTHWISE.transpose(3, 2, 0, 1))
    model = ag.wrap(torch.nn.Sequential(layer), input_size=(8, 8))
    np.testing.assert_array_equal(kernel(model, "0"), DEPTHWISE)


@pytest.mark.torch
def test_a_kernel_made_of_others_is_shown_as_it_is_used() -> None:
    torch = pytest.importorskip("torch")
    layer = torch.nn.utils.parametrizations.weight_norm(torch.nn.Conv2d(3, 4, 3))
    model = ag.wrap(torch.nn.Sequential(layer), input_size=(8, 8))
    used = layer.weight.detach().numpy().transpose(2, 3, 1, 0)
    np.testing.assert_allclose(kernel(model, "0"), used, rtol=1e-6)


@pytest.mark.jax
def test_a_depthwise_kernel_in_jax() -> None:
    jax = pytest.importorskip("jax")
    linen = pytest.importorskip("flax.linen")
    layer = linen.Conv(6, (2, 3), feature_group_count=3, use_bias=False, name="deep")
    module = linen.Sequential([layer])
    variables = module.init(jax.random.key(0), np.zeros((1, 8, 8, 3)))
    variables = jax.tree.map(lambda _: DEPTHWISE, variables)
    model = ag.wrap(module, variables, input_size=(8, 8))
    np.testing.assert_array_equal(kernel(model, next(iter(model.layers()))), DEPTHWISE)


@pytest.mark.jax
def test_a_plain_function_in_jax_that_has_its_outputs_first() -> None:
    jax = pytest.importorskip("jax")

    def network(params, x):
        y = jax.lax.conv_general_dilated(x, params, (1, 1), "SAME", dimension_numbers=("NHWC", "OIHW", "NHWC"))
        return y.mean(axis=(1, 2))

    weights = RANDOM.normal(size=(4, 3, 2, 5)).astype(np.float32)
    model = ag.wrap(network, weights, input_size=(8, 8), backend="jax")
    np.testing.assert_array_equal(kernel(model, "conv"), weights.transpose(2, 3, 1, 0))


@pytest.mark.tensorflow
def test_a_depthwise_kernel_in_tensorflow() -> None:
    pytest.importorskip("tensorflow")
    layers = pytest.importorskip("keras").layers
    stack = [layers.Input((8, 8, 3)), layers.DepthwiseConv2D((2, 3), depth_multiplier=2, name="deep")]
    network = pytest.importorskip("keras").Sequential([*stack, layers.GlobalAveragePooling2D()])
    network.get_layer("deep").set_weights([DEPTHWISE.reshape(2, 3, 3, 2), np.zeros(6)])
    np.testing.assert_array_equal(kernel(ag.wrap(network), "deep"), DEPTHWISE)


def test_what_has_no_kernel_is_refused() -> None:
    model = models.load("honest", "reference")
    with pytest.raises(ag.CapabilityError, match="not one convolution or matrix product"):
        kernel(model, "relu1")
    with pytest.raises(ag.LayerError, match="no layer 'conv9'"):
        kernel(model, "conv9")
    model.can = frozenset({"gradient"})
    with pytest.raises(ag.CapabilityError, match="reading a kernel needs 'patch'"):
        kernel(model, "conv1")


def test_nan_in_a_kernel_is_an_error() -> None:
    broken = Conv(np.full((1, 1, 3, 2), np.nan, np.float32), np.zeros(2, np.float32))
    with pytest.raises(ag.NonFiniteError, match="kernel of the layer 'conv' has NaN"):
        kernel(ag.wrap(Network({"conv": broken}), input_size=(4, 4)), "conv")
