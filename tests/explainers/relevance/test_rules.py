"""The rules beside epsilon: written down term by term, and the same however a linear layer is put together."""

from functools import partial
from typing import Any

import numpy as np
import pytest

from agnoscope import CapabilityError, LayerError, OptionError, wrap
from agnoscope.backends.reference import Conv, Dense, GlobalAverage, Network, Relu
from agnoscope.explainers.relevance.lrp import LRP, RULES
from agnoscope.testing import deep_network, images
from tests.strict import OPTIONS, StrictModel

CHANGED = tuple(rule for rule in RULES if rule != "epsilon")
EPSILON, GAMMA = 1e-3, 0.4
RNG = np.random.default_rng(5)
V, B, W, C = RNG.normal(size=(3, 4)), RNG.normal(size=4), RNG.normal(size=(4, 2)), RNG.normal(size=2)
X = RNG.uniform(-1, 1, size=(2, 5, 7, 3))  # of either sign, as a network gets its images


def small(bias: float = 1) -> Network:
    conv, dense = Conv(V[None, None], bias * B), Dense(W, bias * C)
    return Network({"conv": conv, "relu": Relu(), "gap": GlobalAverage(), "dense": dense})


def handed(rule: str, a: np.ndarray, w: np.ndarray, b: np.ndarray, relevance: np.ndarray) -> np.ndarray:
    """One layer, term by term: from the relevance of units, shape (..., out), to that of inputs, shape (..., in)."""
    terms = a[..., :, None] * w
    z = terms.sum(axis=-2) + b
    if rule == "z-plus":
        terms, b = np.maximum(terms, 0), np.maximum(b, 0)
    if rule == "gamma":
        terms = terms + GAMMA * np.where(z[..., None, :] > 0, np.maximum(terms, 0), np.minimum(terms, 0))
        b = b + GAMMA * np.where(z > 0, np.maximum(b, 0), np.minimum(b, 0))
    whole = terms.sum(axis=-2) + b
    return (terms * (relevance / (whole + EPSILON * np.where(whole >= 0, 1, -1)))[..., None, :]).sum(axis=-1)


def by_hand(convolution: str, dense: str, target: int, bias: float = 1) -> np.ndarray:
    a = np.maximum(X @ V + bias * B, 0)
    mean = a.mean(axis=(1, 2))
    scores = np.where(np.arange(2) == target, mean @ W + bias * C, 0)
    relevance = handed(dense, mean, W, bias * C, scores)[:, None, None]
    parts = np.divide(a, a.sum(axis=(1, 2), keepdims=True), out=np.zeros_like(a), where=a > 0)
    return handed(convolution, X, V, bias * B, relevance * parts)


@pytest.mark.parametrize("target", [0, 1])
@pytest.mark.parametrize(
    ("rule", "convolution", "dense"),
    [
        ("z-plus", "z-plus", "z-plus"),
        ("gamma", "gamma", "gamma"),
        ("epsilon-plus", "z-plus", "epsilon"),
        ("epsilon-gamma", "gamma", "epsilon"),
    ],
)
def test_the_values_are_those_of_the_rules(rule: Any, convolution: str, dense: str, target: int) -> None:
    found = LRP(EPSILON, rule=rule, gamma=GAMMA)(wrap(small(), bounds=(-1, 1)), X, target)
    expected = by_hand(convolution, dense, target)
    np.testing.assert_allclose(found.values, expected, rtol=1e-9, atol=1e-12 * np.abs(expected).max())


def test_a_gamma_near_0_is_the_epsilon_rule_and_a_large_one_near_z_plus_without_biases() -> None:
    model = wrap(small(bias=0), bounds=(-1, 1))
    epsilon, plus = LRP()(model, X, 1).values, LRP(rule="epsilon-plus")(model, X, 1).values
    small_gamma = LRP(rule="epsilon-gamma", gamma=1e-9)(model, X, 1).values
    large_gamma = LRP(rule="epsilon-gamma", gamma=1e9)(model, X, 1).values
    np.testing.assert_allclose(small_gamma, epsilon, atol=1e-6 * np.abs(epsilon).max())
    np.testing.assert_allclose(large_gamma, plus, atol=1e-6 * np.abs(plus).max())


@pytest.mark.parametrize("rule", CHANGED)
def test_without_biases_nothing_but_epsilon_is_lost(rule: Any) -> None:
    found = LRP(1e-9, rule=rule)(wrap(small(bias=0), bounds=(-1, 1)), X, 1)
    np.testing.assert_allclose(found.values.sum(axis=(1, 2, 3)), found.provenance.scores, rtol=1e-6)


def test_z_plus_hands_a_positive_score_to_positive_values_only() -> None:
    found = LRP(rule="z-plus")(wrap(deep_network()), images(2), [1, 3])
    assert found.provenance.scores[0] > 0
    assert (found.values[0] >= 0).all()
    assert found.values[0].any()


@pytest.mark.parametrize("rule", CHANGED)
def test_relevance_can_be_read_at_a_layer(rule: Any) -> None:
    model = wrap(small(), bounds=(-1, 1))
    mean = np.maximum(X @ V + B, 0).mean(axis=(1, 2))
    scores = np.where(np.arange(2) == 1, mean @ W + C, 0)
    dense = {"z-plus": "z-plus", "gamma": "gamma"}.get(rule, "epsilon")
    expected = handed(dense, mean, W, C, scores)
    for layer, values in (("gap", expected), ("dense", scores)):
        found = LRP(EPSILON, layer, rule, GAMMA)(model, X, 1)
        np.testing.assert_allclose(found.values, values, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("rule", ["z-plus", "epsilon-gamma"])
def test_they_keep_to_the_array_standard(rule: Any) -> None:
    network, few = small(), np.abs(X[:1, :2, :3])
    strict, plain = StrictModel(network), wrap(network, **OPTIONS)
    found, oracle = (LRP(0.1, rule=rule)(model, few, 1).values for model in (strict, plain))
    np.testing.assert_allclose(found, oracle, rtol=1e-5, atol=1e-6 * np.abs(oracle).max())


@pytest.mark.torch
@pytest.mark.parametrize("rule", CHANGED)
def test_a_convolution_and_its_normalisation_are_one_layer(rule: Any) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    torch.manual_seed(0)
    conv, norm = torch.nn.Conv2d(3, 6, 3, padding=1), torch.nn.BatchNorm2d(6)
    for tensor in (norm.weight.data, norm.bias.data, norm.running_mean):
        tensor.uniform_(-1, 1)  # scales of either sign
    norm.running_var.uniform_(0.5, 2)
    conv, norm = conv.double().eval(), norm.double().eval()
    fused = torch.nn.utils.fuse_conv_bn_eval(conv, norm)
    head = [torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(6, 2)]
    apart, merged = (torch.nn.Sequential(*layers, *head).double().eval() for layers in ((conv, norm), (fused,)))
    one, other = (LRP(rule=rule)(wrap(net, bounds=(-1, 1)), X, 1).values for net in (apart, merged))
    np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9 * np.abs(other).max())
    with pytest.raises(LayerError, match="'0' is one with the normalisation after it: give '1'"):
        LRP(layer="0", rule=rule)(apart, images(1), 1)


@pytest.mark.tensorflow
@pytest.mark.parametrize("rule", CHANGED)
def test_a_relu_within_a_layer_is_as_good_as_one_after_it(rule: Any) -> None:
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    layers, options = keras.layers, {"dtype": "float64"}
    conv, dense = layers.Conv2D(4, 3, activation="relu", **options), layers.Dense(2, **options)
    inner = keras.Sequential([keras.Input((5, 7, 3), **options), conv, layers.GlobalAveragePooling2D(), dense])
    conv.bias.assign(RNG.normal(size=4))  # biases below 0 among them
    bare, last = layers.Conv2D(4, 3, **options), layers.Dense(2, **options)
    after = [bare, layers.ReLU(**options), layers.GlobalAveragePooling2D(), last]
    outer = keras.Sequential([keras.Input((5, 7, 3), **options), *after])
    bare.set_weights(conv.get_weights())
    last.set_weights(dense.get_weights())
    one, other = (LRP(rule=rule)(wrap(net, bounds=(-1, 1)), X, 1).values for net in (inner, outer))
    np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12 * np.abs(other).max())


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore::UserWarning:captum")
@pytest.mark.parametrize("rule", ["z-plus", "gamma"])
def test_the_numbers_are_captums_without_biases_where_nothing_is_negative(rule: Any) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    attr = pytest.importorskip("captum.attr", reason="captum, to compare with, is not installed")
    rules = pytest.importorskip("captum.attr._utils.lrp_rules", reason="captum, to compare with, is not installed")
    torch.manual_seed(1)
    # captum leaves biases as they are, takes inputs for positive and has no gamma for units below 0.
    conv = partial(torch.nn.Conv2d, kernel_size=3, padding=1, bias=False)
    layers = [conv(3, 8), torch.nn.ReLU(), torch.nn.MaxPool2d(2), conv(8, 8), torch.nn.ReLU()]

    class Net(torch.nn.Module):  # captum knows no Flatten
        def __init__(self) -> None:
            super().__init__()
            self.features = torch.nn.Sequential(*layers, torch.nn.AdaptiveAvgPool2d(1))

        def forward(self, x: Any) -> Any:
            return self.features(x).flatten(1)

    network = Net().double()
    x = np.random.default_rng(0).uniform(size=(2, 12, 10, 3))
    ours = LRP(1e-9, rule=rule)(network, x, 3).values
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.rule = rules.Alpha1_Beta0_Rule() if rule == "z-plus" else rules.GammaRule()
    theirs = attr.LRP(network).attribute(torch.tensor(x).permute(0, 3, 1, 2).contiguous(), target=3)
    theirs = theirs.detach().permute(0, 2, 3, 1).numpy()
    assert np.abs(theirs).max() > 0
    np.testing.assert_allclose(ours, theirs, atol=1e-6 * np.abs(theirs).max())


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(OptionError, match="rule='flat' is none of epsilon, z-plus"):
        LRP(rule="flat")(wrap(deep_network()), images(1))  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="gamma=0 must be above 0"):
        LRP(rule="gamma", gamma=0)(wrap(deep_network()), images(1))


@pytest.mark.torch
def test_a_layer_that_cannot_be_asked_is_refused() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")

    class TwiceConv(torch.nn.Conv2d):  # type: ignore[misc, name-defined]
        def forward(self, x: Any) -> Any:
            return super().forward(x) + super().forward(x * x)

    network = torch.nn.Sequential(TwiceConv(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(60, 2))
    with pytest.raises(CapabilityError, match="not one convolution or matrix product"):
        LRP(rule="z-plus")(network, images(1), 1)
    assert LRP()(network, images(1), 1).values.any()
