"""The numbers are captum's, where its own do not depend on chance."""

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
attr = pytest.importorskip("captum.attr", reason="captum, to compare with, is not installed")

from torch import nn

from agnoscope.explainers.perturbation.feature_ablation import FeatureAblation
from agnoscope.explainers.perturbation.kernel_shap import KernelSHAP

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore::UserWarning:captum")]

SIZE = (12, 10)
X = np.random.default_rng(0).uniform(size=(2, *SIZE, 3))
TARGETS = [3, 1]
LABELS = np.arange(SIZE[0])[:, None] // 6 * 3 + np.arange(SIZE[1])[None, :] // 4  # six segments


def network() -> Any:
    torch.manual_seed(1)
    stem = (nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.Tanh())
    return nn.Sequential(*stem, nn.Flatten(), nn.Linear(8 * 4 * 3, 5)).double().eval()


def agree(ours: Any, method: str, tolerance: float) -> None:
    model = network()
    inputs = torch.tensor(X).permute(0, 3, 1, 2).contiguous()
    theirs = getattr(attr, method)(model).attribute(
        inputs, target=TARGETS, baselines=0.25, feature_mask=torch.tensor(LABELS)[None, None]
    )
    expected = theirs.detach().numpy()[:, 0]
    assert np.abs(expected).max() > 0
    found = ours(model, X, TARGETS).values
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


def test_feature_ablation() -> None:
    agree(FeatureAblation(LABELS, 0.25), "FeatureAblation", 1e-6)


def test_kernel_shap_gives_the_shapley_values_of_all_orders() -> None:
    agree(KernelSHAP(64, LABELS, 0.25), "ShapleyValues", 1e-5)  # which captum adds up in float32
