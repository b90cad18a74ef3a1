"""What lies in another quarter cannot matter: methods that stay inside do so in every framework, to rounding."""

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

import numpy as np
import pytest

import agnoscope as ag
from agnoscope.backends.reference import Network
from agnoscope.evaluation.tasks import disconnected_task
from agnoscope.metrics import mass_accuracy
from agnoscope.model import Model
from tests.backends.test_conformance import keras, linen

TASK = disconnected_task(6, seed=1)
FRAMEWORKS = [
    "reference",
    pytest.param("torch", marks=pytest.mark.torch),
    pytest.param("flax", marks=pytest.mark.jax),
    pytest.param("keras", marks=pytest.mark.tensorflow),
]
QUARTERS = np.kron(np.arange(4).reshape(2, 2), np.ones((32, 32), int))
INSIDE: Mapping[str, Callable[[], ag.Explainer]] = {
    "saliency": ag.Saliency,
    "input-x-gradient": ag.InputXGradient,
    "integrated-gradients": partial(ag.IntegratedGradients, "black", 8, tolerance=None),
    "expected-gradients": partial(ag.ExpectedGradients, samples=4),
    "guided-ig": partial(ag.GuidedIG, steps=4),
    "deep-lift": ag.DeepLift,
    "smoothgrad": partial(ag.SmoothGrad, samples=4),
    "smoothgrad-squared": partial(ag.SmoothGradSquared, samples=4),
    "vargrad": partial(ag.VarGrad, samples=4),
    "guided-backprop": ag.GuidedBackprop,
    "deconvnet": ag.Deconvnet,
    "guided-grad-cam": ag.GuidedGradCAM,
    "lrp": ag.LRP,
    "hires-cam": partial(ag.HiResCAM, "relu2", upsample=False),
    "layer-cam": partial(ag.LayerCAM, "relu2", upsample=False),
}
# These subtract two scores in single precision, whose rounding shows where nothing changed.
DIFFERENCES: Mapping[str, Callable[[], ag.Explainer]] = {
    # A window of the size of the network's patches, so that none reaches into two quarters.
    "occlusion": partial(ag.Occlusion, window=8, stride=8),
    "feature-ablation": partial(ag.FeatureAblation, segments=QUARTERS, fill="black"),
    "shapley-sampling": partial(ag.ShapleySampling, samples=2, segments=QUARTERS, fill="black"),
}


@cache
def model(framework: str) -> Model:
    """The task's network, built in a framework."""
    if framework == "reference":
        return TASK.model
    network: Network = TASK.model.network  # type: ignore[attr-defined]
    if framework == "torch":
        pytest.importorskip("torch", reason="PyTorch is not installed")
        from tests.backends.torch_builder import build
    else:
        build = {"flax": linen, "keras": keras}[framework]
    return build(network, input_size=64)


def masses(explainer: ag.Explainer, framework: str) -> Any:
    """Share of each absolute map in its own quarter, NaN where the map is zero."""
    maps = np.abs(explainer(model(framework), list(TASK.images), [int(t) for t in TASK.targets]).maps())
    step = 64 // maps.shape[1]
    return mass_accuracy(maps, TASK.masks[:, ::step, ::step])


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_network_is_the_one_of_the_task(framework: str) -> None:
    found = ag.Saliency()(model(framework), list(TASK.images))
    expected = ag.Saliency()(TASK.model, list(TASK.images))
    np.testing.assert_allclose(found.output, expected.output, atol=1e-5)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("method", [*INSIDE, *DIFFERENCES])
def test_nothing_leaves_its_quarter(method: str, framework: str) -> None:
    found = masses({**INSIDE, **DIFFERENCES}[method](), framework)
    assert np.isfinite(found).sum() >= 4
    np.testing.assert_allclose(found[np.isfinite(found)], 1, atol=1e-6 if method in INSIDE else 1e-4, rtol=0)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(
    ("explainer", "mass"),
    [
        (ag.GradCAM("relu2"), 0.310),
        (ag.LayerCAM("relu2"), 0.941),
        (ag.Occlusion(window=24, stride=8), 0.716),
    ],
    ids=["grad-cam", "layer-cam, smoothly upsampled", "occlusion, not aligned"],
)
def test_averaged_gradients_and_what_crosses_the_border_leave_it_alike(
    explainer: ag.Explainer, mass: float, framework: str
) -> None:
    assert np.nanmean(masses(explainer, framework)) == pytest.approx(mass, abs=1e-3)
