"""The numbers are captum's, where captum has the method: networks whose ReLUs are modules, in float64."""

from collections import OrderedDict

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
attr = pytest.importorskip("captum.attr", reason="captum, to compare with, is not installed")

from torch import nn

import agnoscope as ag
from agnoscope.explainers.gradients.deep_lift import DeepLift
from agnoscope.explainers.gradients.expected_gradients import ExpectedGradients
from agnoscope.explainers.gradients.input_x_gradient import InputXGradient
from agnoscope.explainers.gradients.integrated_gradients import IntegratedGradients
from agnoscope.explainers.gradients.smoothgrad import SmoothGrad, SmoothGradSquared, VarGrad
from tests.test_captum import TARGETS, X, agree, case, nchw, resnet  # noqa: F401 the fixture among them

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore::UserWarning:captum"),
    pytest.mark.filterwarnings("ignore:Setting forward, backward hooks:UserWarning"),
]
NAMES = {
    "left": "riemann_left",
    "right": "riemann_right",
    "middle": "riemann_middle",
    "gauss-legendre": "gausslegendre",
    "captum-trapezoid": "riemann_trapezoid",
}
# A picture of one colour would tie in every max pool, where rounding decides which way the gradient goes.
BASELINE = np.random.default_rng(1).uniform(size=X.shape[1:])


def nhwc(tensor):
    return tensor.permute(0, 2, 3, 1)


def test_input_x_gradient(case):  # noqa: F811
    network, layer = case
    theirs = attr.InputXGradient(network).attribute(nchw(X), target=TARGETS)
    agree(InputXGradient()(network, X, TARGETS).values, nhwc(theirs))
    within = attr.LayerGradientXActivation(network, network.get_submodule(layer)).attribute(nchw(X), target=TARGETS)
    agree(InputXGradient(layer)(network, X, TARGETS).values, nhwc(within))


def test_input_x_gradient_of_a_normalised_tensor(case):  # noqa: F811
    network, _ = case
    mean, std = np.array([0.4, 0.5, 0.3]), np.array([0.2, 0.3, 0.4])
    theirs = attr.InputXGradient(network).attribute(nchw((X - mean) / std), target=TARGETS)
    agree(InputXGradient()(ag.wrap(network, mean=mean, std=std), X, TARGETS).values, nhwc(theirs))


@pytest.mark.parametrize("rule", NAMES)
def test_integrated_gradients(case, rule):  # noqa: F811
    network, _ = case
    options = {"n_steps": 12, "method": NAMES[rule], "target": TARGETS, "baselines": nchw(BASELINE[None])}
    theirs, delta = attr.IntegratedGradients(network).attribute(nchw(X), return_convergence_delta=True, **options)
    found = IntegratedGradients(BASELINE, steps=12, rule=rule, tolerance=None)(network, X, TARGETS)
    agree(found.values, nhwc(theirs))
    np.testing.assert_allclose(found.extras["delta"], delta, rtol=1e-4)  # their points are of single precision


def test_integrated_gradients_within_a_layer(case):  # noqa: F811
    network, layer = case
    captum = attr.LayerIntegratedGradients(network, network.get_submodule(layer))
    theirs = captum.attribute(nchw(X), baselines=nchw(BASELINE[None]), target=TARGETS, n_steps=12)
    found = IntegratedGradients(BASELINE, steps=12, tolerance=None, layer=layer)(network, X, TARGETS)
    agree(found.values, nhwc(theirs))


@pytest.mark.parametrize(
    ("kind", "name"), [(SmoothGrad, "smoothgrad"), (SmoothGradSquared, "smoothgrad_sq"), (VarGrad, "vargrad")]
)
def test_moments_under_the_same_noise(case, kind, name, monkeypatch):  # noqa: F811
    network, _ = case
    noise = np.random.default_rng(0).standard_normal((6, *X.shape[1:]), dtype=np.float32)
    drawn = np.concatenate([0.3 * noise] * len(X))  # captum repeats each image, one after the other
    monkeypatch.setattr(torch, "normal", lambda mean, std: nchw(drawn.astype(float)))
    captum = attr.NoiseTunnel(attr.InputXGradient(network))
    theirs = captum.attribute(nchw(X), nt_type=name, nt_samples=6, stdevs=0.3, target=TARGETS)
    found = kind(InputXGradient(), samples=6, noise=0.3, absolute=True)(network, X, TARGETS)
    agree(found.values, nhwc(theirs))


def test_expected_gradients_in_the_long_run(case):  # noqa: F811
    network, _ = case
    ends = np.stack([np.zeros_like(X[0]), np.ones_like(X[0])])
    torch.manual_seed(0)
    np.random.seed(0)  # captum draws by this one, too
    captum = attr.GradientShap(network)
    theirs = nhwc(captum.attribute(nchw(X), nchw(ends), n_samples=300, target=TARGETS)).detach().numpy()
    found, other = (
        ExpectedGradients(baselines, samples=300)(network, X, TARGETS).values
        for baselines in (("black", "white"), "black")
    )
    assert np.linalg.norm(found - theirs) <= 0.2 * np.linalg.norm(theirs)
    assert np.linalg.norm(other - theirs) > 0.5 * np.linalg.norm(theirs)


@pytest.fixture(params=["plain", "residual"])
def without_max_pooling(request):
    """captum's DeepLIFT has a rule for max pooling; ours has none."""
    torch.manual_seed(1)
    if request.param == "residual":
        return resnet().double().eval()
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(inplace=True), nn.AvgPool2d(2), nn.Conv2d(8, 8, 3), nn.ReLU()]
    head = nn.Sequential(nn.Flatten(), nn.Linear(8 * 10 * 8, 16), nn.ReLU(), nn.Linear(16, 5))
    return nn.Sequential(OrderedDict(features=nn.Sequential(*layers), head=head)).double().eval()


@pytest.mark.parametrize("baseline", [0.0, 0.4])
def test_deep_lift(without_max_pooling, baseline):
    options = {"baselines": nchw(np.full_like(X, baseline)), "target": TARGETS}
    theirs = attr.DeepLift(without_max_pooling).attribute(nchw(X), **options)
    found = DeepLift(baseline)(without_max_pooling, X, TARGETS)
    agree(found.values, nhwc(theirs))
    np.testing.assert_allclose(found.extras["delta"], 0, atol=1e-9)
