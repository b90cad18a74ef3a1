"""Maps of several layers, fused."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import agnoscope as ag
from agnoscope.backends.reference import AveragePool, Conv, Dense, Network, Relu
from agnoscope.explainers.cams.ablation_cam import AblationCAM
from agnoscope.explainers.cams.grad_cam import GradCAM
from agnoscope.explainers.cams.layer_cam import LayerCAM
from agnoscope.explainers.cams.several_layers import SeveralLayers
from agnoscope.testing import deep_network
from tests.explainers.cams.deep import DEEP, HEAD, TARGETS, X, double, scaled


@pytest.mark.parametrize(("fuse", "fused"), [("mean", np.mean), ("max", np.max)])
@pytest.mark.parametrize("method", [GradCAM(), LayerCAM(upsample=False), AblationCAM(), ag.Saliency()])
def test_several_layers_are_shares_fused(method: ag.Explainer, fuse: Any, fused: Any) -> None:
    layers = ("relu1", "relu2")
    found = SeveralLayers(method, layers, fuse)(ag.wrap(DEEP), X, TARGETS)
    each = [replace(method, layer=layer)(ag.wrap(DEEP), X, TARGETS).maps() for layer in layers]  # type: ignore[call-arg,type-var]
    np.testing.assert_allclose(found.values, fused([scaled(maps) for maps in each], axis=0), rtol=1e-12)
    assert found.provenance.options["layers"] == layers
    assert "layers" not in found.provenance.automatic


def test_a_map_in_which_nothing_is_positive_stays_zero() -> None:
    against = double(deep_network(), dense=Dense(-np.abs(HEAD.kernel), HEAD.bias))
    assert not SeveralLayers(layers=("relu2",))(ag.wrap(against), X, 1).values.any()


def test_the_ends_of_the_last_three_stages_are_chosen_and_told() -> None:
    conv = Conv(np.ones((3, 3, 3, 3)), np.zeros(3), 1, 1)
    stages: dict[str, Any] = {}
    for i in range(4):
        stages |= {f"conv{i}": conv, f"relu{i}": Relu(), f"pool{i}": AveragePool(2)}
    model = ag.wrap(Network({**stages, "end": conv, "gap": DEEP.layers["gap"]}))
    found = SeveralLayers()(model, np.random.default_rng(0).uniform(size=(32, 48, 3)), 1)
    assert found.provenance.options["layers"] == ("relu2", "relu3", "end")
    assert "layers" in found.provenance.automatic


def test_what_several_layers_cannot_wrap_is_refused() -> None:
    with pytest.raises(ag.OptionError, match="occlusion looks at no layer"):
        SeveralLayers(ag.Occlusion())
    with pytest.raises(ag.OptionError, match="Name the layers in layers="):
        SeveralLayers(GradCAM("relu1"))
    with pytest.raises(ag.OptionError, match="fuse='min' must be 'mean' or 'max'"):
        SeveralLayers(fuse="min")  # type: ignore[arg-type]
    with pytest.raises(ag.OptionError, match="names no layer"):
        SeveralLayers(layers=())(ag.wrap(DEEP), X)
    with pytest.raises(ag.LayerError, match="'gap' has no maps"):
        SeveralLayers("saliency", ("gap",))(ag.wrap(DEEP), X)  # type: ignore[arg-type]
    with pytest.raises(ag.LayerError, match="grad-cam needs a layer with spatial axes; 'gap'"):
        SeveralLayers(layers=("gap",))(ag.wrap(DEEP), X)
