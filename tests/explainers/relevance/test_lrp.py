"""Relevance: handed back in the paper's shares, and nearly all of it where there is no bias."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from agnoscope import CapabilityError, InputXGradient, OptionError, wrap
from agnoscope.backends.reference import Conv, Dense, GlobalAverage, Network, Relu
from agnoscope.explainers.relevance.lrp import LRP
from agnoscope.explainers.relevance.rules import linear_parts
from agnoscope.testing import deep_network, images
from tests.strict import OPTIONS, StrictModel

X = images(2).astype(np.float64)
RNG = np.random.default_rng(3)
V, W = RNG.normal(size=(3, 4)), RNG.normal(size=(4, 2))


def double(network: Network, bias: bool = True) -> Network:
    layers: dict[str, Any] = {}
    for name, operation in network.layers.items():
        if hasattr(operation, "kernel"):
            operation = replace(
                operation, kernel=operation.kernel.astype(float), bias=operation.bias.astype(float) * bias
            )
        layers[name] = operation
    return Network(layers)


def by_hand(x: np.ndarray, b: np.ndarray, c: np.ndarray, target: int, epsilon: float) -> np.ndarray:
    """The rule itself, written down for a convolution of 1 × 1, a mean over the pixels and a dense layer."""
    z1 = x @ V + b
    a1 = np.maximum(z1, 0)
    mean = a1.mean(axis=(1, 2))
    z2 = mean @ W + c
    out = z2[:, target] + epsilon * np.where(z2[:, target] >= 0, 1, -1)
    r_mean = mean * W[:, target] * (z2[:, target] / out)[:, None]
    share = np.divide(
        a1 / a1[0].size * a1.shape[-1], mean[:, None, None], out=np.zeros_like(a1), where=mean[:, None, None] > 0
    )
    r1 = r_mean[:, None, None] * share
    stabilised = z1 + epsilon * np.where(z1 >= 0, 1, -1)
    return x * ((r1 / stabilised) @ V.T)


@pytest.mark.parametrize("epsilon", [1e-6, 0.05, 2.0])
def test_the_values_are_those_of_the_rule(epsilon: float) -> None:
    b, c = RNG.normal(0, 0.2, 4), RNG.normal(0, 0.2, 2)
    network = Network({"conv": Conv(V[None, None], b), "relu": Relu(), "gap": GlobalAverage(), "dense": Dense(W, c)})
    found = LRP(epsilon)(wrap(network), X, 1)
    np.testing.assert_allclose(found.values, by_hand(X, b, c, 1, epsilon), rtol=1e-9, atol=1e-15)


def test_a_tiny_epsilon_gives_input_times_gradient() -> None:
    model = wrap(double(deep_network()))
    found, plain = LRP(1e-14)(model, X, 2).values, InputXGradient()(model, X, 2).values
    np.testing.assert_allclose(found, plain, rtol=1e-6, atol=1e-9 * np.abs(plain).max())


def test_without_biases_nothing_but_epsilon_is_lost() -> None:
    model = wrap(double(deep_network(), bias=False))
    lost = []
    for epsilon in (1e-9, 0.1, 1.0):
        found = LRP(epsilon)(model, X, 2)
        lost.append(np.abs(found.values.sum(axis=(1, 2, 3)) / found.provenance.scores - 1))
    assert (lost[0] < 1e-6).all()
    assert (lost[1] > 1e-4).all()
    assert (lost[2] > lost[1]).all()


def test_relevance_can_be_read_at_a_layer() -> None:
    model = wrap(double(deep_network(), bias=False))
    found = LRP(1e-9, "relu1")(model, X, 2)
    assert found.values.shape == (2, *model.layer("relu1", (5, 7)).shape)
    np.testing.assert_allclose(found.values.sum(axis=(1, 2, 3)), found.provenance.scores, rtol=1e-6)
    assert found.provenance.layer == "relu1"


def test_the_image_is_what_the_network_receives() -> None:
    shifted = wrap(double(deep_network(), bias=False), mean=0.5)
    plain = wrap(double(deep_network(), bias=False), bounds=(-0.5, 0.5))
    np.testing.assert_allclose(LRP()(shifted, X, 1).values, LRP()(plain, X - 0.5, 1).values, rtol=1e-9, atol=1e-15)


def test_it_keeps_to_the_array_standard() -> None:
    network = double(deep_network())
    found, oracle = (LRP(0.1)(model, X, 1).values for model in (StrictModel(network), wrap(network, **OPTIONS)))
    np.testing.assert_allclose(found, oracle, rtol=1e-5, atol=1e-6 * np.abs(oracle).max())


def test_the_linear_layers_are_those_that_add_up() -> None:
    parts = linear_parts(wrap(deep_network()), (5, 7), {"conv": "gamma"})
    assert [(part.output, part.rule) for part in parts] == [
        ("conv1", "gamma"),
        ("conv2", "gamma"),
        ("dense", "epsilon"),
    ]


@pytest.mark.torch
def test_a_convolution_and_its_normalisation_are_one_layer() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    torch.manual_seed(0)
    conv, norm = torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.BatchNorm2d(4)
    for tensor in (norm.weight.data, norm.bias.data, norm.running_mean):
        tensor.uniform_(-1, 1)
    norm.running_var.uniform_(0.5, 2)
    conv, norm = conv.double().eval(), norm.double().eval()
    fused = torch.nn.utils.fuse_conv_bn_eval(conv, norm)
    head = [torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 2)]
    apart, merged = (torch.nn.Sequential(*layers, *head).double().eval() for layers in ((conv, norm), (fused,)))
    for epsilon in (1e-6, 0.5):
        one, other = (LRP(epsilon)(wrap(network), X, 1).values for network in (apart, merged))
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9 * np.abs(other).max())


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore::UserWarning:captum")
def test_the_numbers_are_captums() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    attr = pytest.importorskip("captum.attr", reason="captum, to compare with, is not installed")
    rules = pytest.importorskip("captum.attr._utils.lrp_rules", reason="captum, to compare with, is not installed")
    torch.manual_seed(1)
    features = [torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2)]
    features += [torch.nn.Conv2d(8, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1)]

    class Net(torch.nn.Module):  # captum knows no Flatten
        def __init__(self) -> None:
            super().__init__()
            self.features, self.head = torch.nn.Sequential(*features), torch.nn.Linear(8, 5)

        def forward(self, x: Any) -> Any:
            return self.head(self.features(x).flatten(1))

    network = Net().double()
    x = np.random.default_rng(0).uniform(size=(2, 12, 10, 3))
    ours = LRP(0.01)(network, x, 3).values
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            layer.rule = rules.EpsilonRule(epsilon=0.01)
    theirs = attr.LRP(network).attribute(torch.tensor(x).permute(0, 3, 1, 2).contiguous(), target=3)
    theirs = theirs.detach().permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-6 * np.abs(theirs).max())


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(OptionError, match=r"epsilon=0 must be above 0"):
        LRP(0)(wrap(deep_network()), X)
    blind = wrap(deep_network())
    blind.can = frozenset({"gradient"})
    with pytest.raises(CapabilityError, match="lrp needs 'capture'"):
        LRP()(blind, X)
