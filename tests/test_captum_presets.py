"""Presets of captum give its numbers: networks whose ReLUs are modules, in float64, under the same random numbers."""

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
attr = pytest.importorskip("captum.attr", reason="captum, to compare with, is not installed")

import agnoscope as ag
from agnoscope.presets import PRESETS
from tests.test_captum import SIZE, TARGETS, X, agree, case, nchw, resnet  # noqa: F401 the fixture among them

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore::UserWarning:captum"),
    pytest.mark.filterwarnings("ignore:Setting forward, backward hooks:UserWarning"),
]
SEGMENTS = np.arange(SIZE[0])[:, None] // 8 * 2 + np.arange(SIZE[1])[None, :] // 10
MASK = torch.tensor(SEGMENTS)[None, None]


@pytest.fixture(autouse=True)
def double() -> Any:
    """Captum makes tensors of its own in the default dtype, whatever that of the network."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def ours(name: str, network: Any, **options: Any) -> Any:
    return ag.preset(f"captum:{name}", **options)(ag.wrap(network, bounds=(-1, 1)), X, TARGETS).values


def theirs(method: Any, **options: Any) -> Any:
    return method.attribute(nchw(X), target=TARGETS, **options).permute(0, 2, 3, 1)


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("saliency", "Saliency"),
        ("input-x-gradient", "InputXGradient"),
        ("guided-backprop", "GuidedBackprop"),
        ("deconvnet", "Deconvolution"),
    ],
)
def test_one_pass(case, name, method):  # noqa: F811
    agree(ours(name, case[0]), theirs(getattr(attr, method)(case[0])))


@pytest.mark.parametrize(
    ("name", "method"), [("integrated-gradients", "IntegratedGradients"), ("deep-lift", "DeepLift")]
)
def test_zeros_are_the_baseline(name, method):
    network = resnet().eval()  # captum has a rule for max pooling in DeepLIFT, and a grey picture ties in it
    agree(ours(name, network), theirs(getattr(attr, method)(network)))


def test_smoothgrad(case, monkeypatch):  # noqa: F811
    drawn = np.random.default_rng(0).standard_normal((5, *X.shape[1:]), dtype=np.float32)
    monkeypatch.setattr(torch, "normal", lambda _, std: std * nchw(np.concatenate([drawn] * len(X)).astype(float)))
    agree(ours("smoothgrad", case[0]), theirs(attr.NoiseTunnel(attr.Saliency(case[0]))))


def test_gradient_shap(monkeypatch):
    network, rng = resnet().eval(), np.random.default_rng(0)
    rng.integers(1)  # which baseline is the first
    points = rng.random(5, dtype=np.float32)
    monkeypatch.setattr(np.random, "uniform", lambda *_: np.concatenate([points] * len(X)))
    agree(ours("gradient-shap", network), theirs(attr.GradientShap(network), baselines=torch.zeros_like(nchw(X))))


def test_grad_cam(case):  # noqa: F811
    network, layer = case
    found = attr.LayerGradCam(network, network.get_submodule(layer)).attribute(nchw(X), TARGETS)
    agree(ours("grad-cam", network, layer=layer), found[:, 0])


def test_guided_grad_cam(case):  # noqa: F811
    network, layer = case
    found = theirs(attr.GuidedGradCam(network, network.get_submodule(layer)))
    agree(ours("guided-grad-cam", network, layer=layer), found)


def test_occlusion(case):  # noqa: F811
    found = theirs(attr.Occlusion(case[0]), sliding_window_shapes=(3, 6, 5))
    agree(ours("occlusion", case[0], window=(6, 5)), found[..., 0])


def test_feature_ablation(case):  # noqa: F811
    agree(
        ours("feature-ablation", case[0], segments=SEGMENTS),
        theirs(attr.FeatureAblation(case[0]), feature_mask=MASK)[..., 0],
    )


def test_shapley_sampling(case):  # noqa: F811
    orders = np.random.default_rng(0).random((25, SEGMENTS.max() + 1), dtype=np.float32).argsort(axis=1)
    method = attr.ShapleyValueSampling(case[0])
    method.permutation_generator = lambda *_: iter(orders.tolist())
    agree(ours("shapley-sampling", case[0], segments=SEGMENTS), theirs(method, feature_mask=MASK)[..., 0])


def test_every_preset_of_captum_is_compared():
    compared = {"saliency", "input-x-gradient", "guided-backprop", "deconvnet", "integrated-gradients", "deep-lift"}
    compared |= {
        "smoothgrad",
        "gradient-shap",
        "grad-cam",
        "guided-grad-cam",
        "occlusion",
        "feature-ablation",
        "shapley-sampling",
    }
    assert {name.partition(":")[2] for name in PRESETS if name.startswith("captum:")} == compared
