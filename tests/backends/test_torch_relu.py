"""Guided backprop and deconvnet in PyTorch, for every way in which a ReLU can be written.

The oracle is the NumPy backend with the same weights; that the plain gradient differs from both rules makes sure
that a ReLU which was missed shows.
"""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import nn
from torch.nn import functional as F

import agnoscope as ag
from agnoscope.backends.reference import Conv, Dense, GlobalAverage, Network, Relu
from agnoscope.testing import images
from tests.backends.torch_builder import as_module, capture

pytestmark = pytest.mark.torch

RULES = (ag.GuidedBackprop(), ag.Deconvnet())


def network(high=None):
    """Two convolutions with ReLUs, whose values pass 6."""
    rng = np.random.default_rng(3)
    return Network(
        {
            "conv1": Conv(rng.normal(size=(3, 3, 3, 6)), rng.normal(size=6), 1, 1),
            "relu1": Relu(high),
            "conv2": Conv(rng.normal(size=(3, 3, 6, 8)), rng.normal(size=8), 1, 1),
            "relu2": Relu(high),
            "gap": GlobalAverage(),
            "dense": Dense(rng.normal(size=(8, 4)), rng.normal(size=4)),
        }
    )


class Written(nn.Module):
    """The network with its ReLUs written as the user has it."""

    def __init__(self, described, relu):
        super().__init__()
        self.layers, self.relu = as_module(described), relu

    def forward(self, x):
        for layer in self.layers:
            x = self.relu(x) if isinstance(layer, nn.ReLU | nn.Hardtanh) else layer(x)
        return x


def statement(operation):
    """An in-place operation whose result nobody takes."""

    def relu(x):
        operation(x)
        return x

    return relu


RELUS = {
    "nn.ReLU": nn.ReLU(),
    "nn.ReLU in place": nn.ReLU(inplace=True),
    "nn.Threshold": nn.Threshold(0, 0),
    "F.relu": F.relu,
    "F.relu in place": lambda x: F.relu(x, inplace=True),
    "F.relu_": F.relu_,
    "torch.relu": torch.relu,
    "torch.relu_": torch.relu_,
    "Tensor.relu": lambda x: x.relu(),
    "Tensor.relu_": lambda x: x.relu_(),
    "statement F.relu_": statement(F.relu_),
    "statement Tensor.clamp_": statement(lambda x: x.clamp_(min=0)),
    "statement on a view": statement(lambda x: x.view(-1).relu_()),
    "clamp": lambda x: torch.clamp(x, min=0),
    "clamp of a tensor": lambda x: x.clamp(torch.zeros(())),
    "clip": lambda x: x.clip(0.0),
    "clamp_min": lambda x: x.clamp_min(0),
    "torch.clamp_min": lambda x: torch.clamp_min(x, 0),
    "F.threshold": lambda x: F.threshold(x, 0, 0),
    "F.threshold_": lambda x: F.threshold_(x, 0, 0),
    "maximum of zeros": lambda x: torch.maximum(x, torch.zeros_like(x)),
    "max of zero": lambda x: torch.max(x, torch.tensor(0.0, dtype=x.dtype)),
    "aten.relu": lambda x: torch.ops.aten.relu(x),
    "aten.relu.default": lambda x: torch.ops.aten.relu.default(x),
}
RELU6 = {
    "nn.ReLU6": nn.ReLU6(),
    "nn.ReLU6 in place": nn.ReLU6(inplace=True),
    "nn.Hardtanh": nn.Hardtanh(0, 6),
    "F.relu6": F.relu6,
    "F.relu6 in place": lambda x: F.relu6(x, inplace=True),
    "F.hardtanh": lambda x: F.hardtanh(x, 0.0, 6.0),
    "F.hardtanh_": lambda x: F.hardtanh_(x, min_val=0, max_val=6),
    "clamp(0, 6)": lambda x: torch.clamp(x, 0, 6),
    "Tensor.clamp_": lambda x: x.clamp_(0, 6),
}
FORMS = {**{name: (relu, None) for name, relu in RELUS.items()}, **{name: (relu, 6.0) for name, relu in RELU6.items()}}


def agree(found, expected):
    np.testing.assert_allclose(found.values, expected.values, atol=1e-12 * np.abs(expected.values).max())


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_relu_follows_the_rules(form):
    relu, high = FORMS[form]
    model, oracle = ag.wrap(Written(network(high), relu)), ag.wrap(network(high))
    for explainer in (*RULES, ag.Saliency()):
        agree(explainer(model, images(), 2), explainer(oracle, images(), 2))


def own_rule(xp, x, y, g, plain):
    """A rule that reads all that it is given."""
    return plain + 0.5 * g * x - 0.25 * y


OUTS = {"fresh": lambda x: torch.empty(0, dtype=x.dtype), "ready": torch.empty_like, "itself": lambda x: x}


def clamping(out):
    return lambda x: torch.clamp(x, min=0, out=out(x))


def test_a_rule_of_the_users_sees_what_went_in_and_came_out():
    forms = {**FORMS, **{name: (clamping(out), None) for name, out in OUTS.items()}}
    for relu, high in forms.values():
        model, oracle = (ag.wrap(n).with_relu(own_rule) for n in (Written(network(high), relu), network(high)))
        agree(ag.Saliency()(model, images(), 2), ag.Saliency()(oracle, images(), 2))


def test_the_rules_differ_from_the_plain_gradient():
    plain, guided, deconvnet = (e(ag.wrap(network()), images(), 2).values for e in (ag.Saliency(), *RULES))
    assert np.abs(plain - guided).max() > 0.1 * np.abs(plain).max()
    assert np.abs(plain - deconvnet).max() > 0.1 * np.abs(plain).max()
    assert np.abs(guided - deconvnet).max() > 0.1 * np.abs(plain).max()


@pytest.mark.parametrize("out", OUTS.values(), ids=OUTS)
def test_a_relu_with_out_follows_the_rules_although_pytorch_cannot_differentiate_it(out):
    model = ag.wrap(Written(network(), clamping(out)))
    for explainer in RULES:
        agree(explainer(model, images(), 2), explainer(ag.wrap(network()), images(), 2))
    with pytest.raises(ag.CapabilityError, match=r"with out=.*use occlusion"):
        ag.Saliency()(model, images(), 2)
    agree(ag.Occlusion(3)(model, images(), 2), ag.Occlusion(3)(ag.wrap(network()), images(), 2))


@pytest.mark.parametrize(
    "other",
    [
        *(nn.GELU(), nn.SiLU(), nn.Hardswish(), nn.LeakyReLU(), nn.ELU(), nn.Hardtanh(), nn.Threshold(1, 0)),
        *(lambda x: x.clamp(max=0), lambda x: x.clamp(-1, 6), lambda x: x.clamp(0, -1)),
        *(lambda x: torch.maximum(x, x - 1), lambda x: x.max(dim=1, keepdim=True).values + x),
    ],
)
def test_a_network_without_relus_is_refused_by_the_rules(other):
    for explainer in RULES:
        with pytest.raises(ag.CapabilityError, match=r"none ran on the way.*Use saliency"):
            explainer(ag.wrap(Written(network(), other).float()), images(), 2)


def test_the_refusal_names_the_other_activations():
    with pytest.raises(ag.CapabilityError, match="other activations: GELU"):
        ag.GuidedBackprop()(ag.wrap(nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU(), nn.Flatten())), images())


def test_a_rule_leaves_the_values_as_they_are():
    for relu, high in FORMS.values():
        model = ag.wrap(Written(network(high), relu))
        scores = capture(model, images(), "scores")["scores"]
        for rule in ("guided", "deconvnet"):
            found = capture(model.with_relu(rule), images(), "scores")["scores"]
            np.testing.assert_array_equal(found, scores)


def _patch_with_a_relu(model, static, x):
    clipped = {"layers.conv1": lambda activation: model.xp.clip(activation, 0.0, None)}
    return {"scores": model.with_relu("guided").run(x, ("scores",), clipped)["scores"]}


def test_a_patch_may_cut_off_without_counting_as_a_relu():
    model = ag.wrap(Written(network(), nn.GELU()))
    with pytest.raises(ag.CapabilityError, match="none ran"):
        model.compile(_patch_with_a_relu, None)(images())


def test_views_with_a_rule_keep_it_and_the_network_stays_plain():
    model = ag.wrap(Written(network(), F.relu))
    plain = ag.Saliency()(model, images(), 2)
    guided = model.with_relu("guided")
    agree(ag.Saliency()(guided, images(), 2), ag.GuidedBackprop()(model, images(), 2))
    agree(ag.Saliency()(model, images(), 2), plain)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_relus_of_any_precision_follow_the_rules(dtype):
    model = ag.wrap(Written(network(6.0), nn.ReLU6()).to(dtype))
    for explainer in RULES:
        found, expected = (explainer(each, images(), 2).values for each in (model, ag.wrap(network(6.0))))
        assert found.dtype == np.float32
        assert np.linalg.norm(found - expected) < (0.2 if dtype != torch.float32 else 1e-5) * np.linalg.norm(expected)
