"""The numbers are captum's, where captum can give their parts; and what only PyTorch's networks bring up."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
attr = pytest.importorskip("captum.attr", reason="captum, to compare with, is not installed")

from torch import nn

from agnoscope.explainers.cams.ablation_cam import AblationCAM
from agnoscope.explainers.cams.channel_mean import ChannelMean
from agnoscope.explainers.cams.fullgrad import FullGrad
from agnoscope.explainers.cams.hires_cam import HiResCAM
from tests.test_captum import TARGETS, X, agree, case, nchw  # noqa: F401

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore::UserWarning:captum")]


def test_hires_cam_is_gradient_times_activation(case):  # noqa: F811
    network, layer = case
    theirs = attr.LayerGradientXActivation(network, network.get_submodule(layer)).attribute(nchw(X), target=TARGETS)
    agree(HiResCAM(layer, upsample=False)(network, X, TARGETS).values, theirs.sum(dim=1))


def test_channel_mean_is_the_activation(case):  # noqa: F811
    network, layer = case
    theirs = attr.LayerActivation(network, network.get_submodule(layer)).attribute(nchw(X))
    agree(ChannelMean(layer, upsample=False)(network, X, TARGETS).values, theirs.mean(dim=1))


def test_ablation_cam_is_the_ablation_of_each_channel(case):  # noqa: F811
    network, layer = case
    module = network.get_submodule(layer)
    maps = attr.LayerActivation(network, module).attribute(nchw(X))
    mask = torch.arange(maps.shape[1])[None, :, None, None]
    falls = attr.LayerFeatureAblation(network, module).attribute(
        nchw(X), target=TARGETS, layer_baselines=0, layer_mask=mask
    )
    scores = network(nchw(X))[torch.arange(len(X)), TARGETS]
    theirs = (falls[:, :, :1, :1] / scores.abs()[:, None, None, None] * maps).sum(dim=1)
    agree(AblationCAM(layer, upsample=False)(network, X, TARGETS).values, theirs)


def test_fullgrad_knows_the_biases_of_convolutions_dense_layers_and_batch_normalisation(case):  # noqa: F811
    network, _ = case
    found = FullGrad()(network, X, TARGETS)
    scores = np.array(found.provenance.scores)
    assert np.abs(found.extras["delta"]).max() <= 1e-9 * np.abs(scores).max()


class Joined(nn.Module):
    """A branch that passes the last ReLU by and is joined with it: one image cannot stand beside many there."""

    def __init__(self):
        super().__init__()
        self.conv, self.relu = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        y = self.conv(x)
        return self.head(torch.cat([y, self.relu(y)], dim=1).amax(dim=(2, 3)))


def test_ablation_cam_gets_past_a_branch_that_is_joined():
    torch.manual_seed(0)
    network = Joined().double().eval()
    found = AblationCAM("relu")(network, X, TARGETS, batch_size=3)
    maps = torch.relu(network.conv(nchw(X)))
    falls = torch.stack([_score(network, maps, None) - _score(network, maps, k) for k in range(4)], dim=1)
    weights = falls / _score(network, maps, None).abs()[:, None]
    agree(found.values, (weights[:, :, None, None] * maps).sum(dim=1))


def _score(network, maps, without):
    kept = maps.clone()
    if without is not None:
        kept[:, without] = 0
    scores = network.head(torch.cat([network.conv(nchw(X)), kept], dim=1).amax(dim=(2, 3)))
    return scores[torch.arange(len(X)), TARGETS]
