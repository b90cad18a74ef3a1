"""Guided Grad-CAM made of captum's two halves.

Captum's own one enlarges the map by the nearest neighbour, where the paper does it bilinearly.
"""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
attr = pytest.importorskip("captum.attr", reason="captum, to compare with, is not installed")

from agnoscope.arrays import resize
from agnoscope.explainers.cams.guided_grad_cam import GuidedGradCAM
from tests.test_captum import NETWORKS, SIZE, TARGETS, X, agree, case, nchw  # noqa: F401

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore::UserWarning:captum"),  # on every call: it sets hooks, it needs gradients
]


def test_guided_grad_cam(case):  # noqa: F811
    network, layer = case
    grad_cam = attr.LayerGradCam(network, network.get_submodule(layer))
    cam = grad_cam.attribute(nchw(X), target=TARGETS, relu_attributions=True)[:, 0].detach().numpy()
    guided = attr.GuidedBackprop(network).attribute(nchw(X), target=TARGETS)
    expected = torch.tensor(resize(np, np.maximum(cam, 0), SIZE))[..., None] * guided.permute(0, 2, 3, 1)
    agree(GuidedGradCAM(layer)(network, X, TARGETS).values, expected)
