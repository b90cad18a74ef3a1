"""Guided Grad-CAM is the product of the two methods in its name."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from agnoscope import CapabilityError, GradCAM, GuidedBackprop, LayerError, wrap
from agnoscope.arrays import resize
from agnoscope.backends.reference import Network, Sigmoid
from agnoscope.explainers.cams.guided_grad_cam import GuidedGradCAM
from agnoscope.testing import deep_network, images, parametrize_with_checks, rectified_network
from agnoscope.testing.networks import Rectified

X = images()


def test_its_closed_form() -> None:
    closed = Rectified(X)
    cam = (closed.at_relu(2).mean(axis=(1, 2), keepdims=True) * closed.activation).sum(axis=-1)
    expected = np.maximum(cam, 0)[..., None] * closed.at_image(2, "guided")
    assert (cam < 0).any()
    found = GuidedGradCAM()(wrap(rectified_network()), X, 2).values
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("target", [None, 1, [2, 0, 3]])
def test_it_multiplies_guided_backprop_with_what_is_positive_of_grad_cam(target: Any) -> None:
    model = wrap(deep_network())
    found = GuidedGradCAM("relu1")(model, X, target)
    cam, guided = GradCAM("relu1")(model, X, target), GuidedBackprop()(model, X, target)
    np.testing.assert_allclose(found.values, cam.maps("positive")[..., None] * guided.values, rtol=1e-6)
    np.testing.assert_array_equal(found.provenance.scores, cam.provenance.scores)
    assert found.values.any()


def test_the_map_is_cut_off_at_zero_before_it_is_enlarged() -> None:
    layers: dict[str, Any] = dict(deep_network().layers)
    model = wrap(Network({**layers, "conv2": replace(layers["conv2"], stride=2)}))
    small = GradCAM("conv2", upsample=False)(model, X, 1)
    assert small.values.min() < 0 < small.values.max()
    cam = resize(np, small.maps("positive"), (5, 7))
    expected = cam[..., None] * GuidedBackprop()(model, X, 1).values
    found = GuidedGradCAM("conv2")(model, X, 1).values
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())


def test_it_chooses_the_layer_and_says_so() -> None:
    provenance = GuidedGradCAM()(wrap(deep_network()), X).provenance
    assert provenance.layer == provenance.options["layer"] == "relu2"
    assert "layer" in provenance.automatic


def test_it_has_the_limits_of_both() -> None:
    with pytest.raises(LayerError, match="needs a layer with spatial axes; 'gap'"):
        GuidedGradCAM("gap")(wrap(deep_network()), X)
    without = wrap(Network({name: layer for name, layer in rectified_network().layers.items() if name != "relu"}))
    with pytest.raises(CapabilityError, match="changes the gradient of ReLUs, and none ran"):
        GuidedGradCAM("conv")(without, X, 0)
    mixed = wrap(Network({**deep_network().layers, "relu1": Sigmoid()}))
    assert GuidedGradCAM()(mixed, X).provenance.warnings == GuidedBackprop()(mixed, X).provenance.warnings != ()


@parametrize_with_checks([GuidedGradCAM()])
def test_it_keeps_the_contract(check: Any) -> None:
    check()
