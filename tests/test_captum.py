"""The numbers are captum's, where captum can give them: networks whose ReLUs are modules, in float64."""

from collections import OrderedDict

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
attr = pytest.importorskip("captum.attr", reason="captum, to compare with, is not installed")

from torch import nn

import agnoscope as ag

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore::UserWarning:captum"),  # on every call: it sets hooks, it needs gradients
]

SIZE = (24, 20)
X = np.random.default_rng(0).uniform(size=(2, *SIZE, 3))
TARGETS = [3, 1]


def vgg():
    layers: list[nn.Module] = []
    for before, after in ((3, 8), (8, 16)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(inplace=True)]
        layers += [nn.Conv2d(after, after, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    head = nn.Sequential(nn.Linear(16 * 6 * 5, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 5))
    return nn.Sequential(OrderedDict(features=nn.Sequential(*layers), flatten=nn.Flatten(), head=head))


class Block(nn.Module):
    """A residual block; captum wants a ReLU module for every use."""

    def __init__(self, before, after, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after)
        self.conv2, self.bn2 = nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after)
        self.down = nn.Conv2d(before, after, 1, stride) if stride > 1 else nn.Identity()
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        return self.relu2(y + self.down(x))


def resnet():
    stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
    blocks = nn.Sequential(Block(8, 8, 1), Block(8, 16, 2), Block(16, 16, 1))
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5))
    return nn.Sequential(OrderedDict(stem=stem, features=blocks, head=head))


NETWORKS = {"vgg": (vgg, "features.8"), "resnet": (resnet, "features.2")}


@pytest.fixture(params=NETWORKS)
def case(request):
    """A network with weights and statistics drawn at random, and its last layer with maps."""
    torch.manual_seed(1)
    build, layer = NETWORKS[request.param]
    network = build().double()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in ((module.running_mean, -1, 1), (module.running_var, 0.5, 2), (module.bias, -1, 1)):
                nn.init.uniform_(tensor, low, high)
    return network.eval(), layer


def nchw(array):
    return torch.tensor(array).permute(0, 3, 1, 2).contiguous()


def agree(found, theirs):
    theirs = theirs.detach().numpy()
    assert np.abs(theirs).max() > 0
    assert np.abs(found - theirs).max() <= 1e-6 * np.abs(theirs).max()


def test_saliency(case):
    network, _ = case
    theirs = attr.Saliency(network).attribute(nchw(X), target=TARGETS)
    agree(np.abs(ag.Saliency()(network, X, TARGETS).values), theirs.permute(0, 2, 3, 1))


@pytest.mark.parametrize(
    ("ours", "theirs"), [(ag.GuidedBackprop(), "GuidedBackprop"), (ag.Deconvnet(), "Deconvolution")], ids=repr
)
def test_changed_relus(case, ours, theirs):
    network, _ = case
    expected = getattr(attr, theirs)(network).attribute(nchw(X), target=TARGETS)
    agree(ours(network, X, TARGETS).values, expected.permute(0, 2, 3, 1))


def test_grad_cam(case):
    network, layer = case
    captum = attr.LayerGradCam(network, network.get_submodule(layer))
    theirs = captum.attribute(nchw(X), target=TARGETS, relu_attributions=False)[:, 0]
    agree(ag.GradCAM(layer, upsample=False)(network, X, TARGETS).values, theirs)


@pytest.mark.parametrize(("window", "stride"), [((5, 4), (3, 2)), ((6, 5), (6, 5)), ((7, 6), (4, 5))])
def test_occlusion(case, window, stride):
    network, _ = case
    shapes = {"sliding_window_shapes": (3, *window), "strides": (3, *stride)}
    theirs = attr.Occlusion(network).attribute(nchw(X), target=TARGETS, baselines=0.25, **shapes)
    agree(ag.Occlusion(window, stride, fill=0.25)(network, X, TARGETS).values, theirs[:, 0])
