"""Class activation maps against their papers' formulas in NumPy, and the truths that bind them together."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import agnoscope as ag
from agnoscope.backends.reference import Conv, Dense, GlobalAverage, Network, Relu, Sigmoid
from agnoscope.explainers.cams.ablation_cam import AblationCAM
from agnoscope.explainers.cams.base import equal_chunks
from agnoscope.explainers.cams.cam import CAM
from agnoscope.explainers.cams.channel_mean import ChannelMean
from agnoscope.explainers.cams.eigen_cam import EigenCAM
from agnoscope.explainers.cams.eigen_grad_cam import EigenGradCAM
from agnoscope.explainers.cams.fullgrad import FullGrad
from agnoscope.explainers.cams.grad_cam import GradCAM
from agnoscope.explainers.cams.grad_cam_plus_plus import GradCAMPlusPlus
from agnoscope.explainers.cams.hires_cam import HiResCAM
from agnoscope.explainers.cams.layer_cam import LayerCAM
from agnoscope.explainers.cams.score_cam import ScoreCAM
from agnoscope.explainers.cams.several_layers import SeveralLayers
from agnoscope.explainers.cams.xgrad_cam import XGradCAM
from agnoscope.testing import SIZE, deep_network
from tests.explainers.cams.deep import DEEP, HEAD, TARGETS, X, captured, double, scaled

ALL: list[ag.Explainer] = [
    *(CAM(), GradCAM(), GradCAMPlusPlus(), HiResCAM(), LayerCAM(), XGradCAM(), EigenCAM(), EigenGradCAM()),
    *(ChannelMean(), FullGrad(), ScoreCAM(), ScoreCAM(channels=3), AblationCAM()),
    *(SeveralLayers(layers=("relu1", "relu2")), SeveralLayers(LayerCAM(), ("relu1", "relu2"), "max")),
]
METHODS = pytest.mark.parametrize("explainer", ALL, ids=lambda explainer: explainer.name)

# -- the formulas, where the gradient differs from pixel to pixel -------------------------------------------------

Formula = Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]  # of one image's maps and gradient


def plus_plus(a: NDArray[Any], g: NDArray[Any]) -> NDArray[Any]:
    total = a.sum(axis=(0, 1))
    alpha = np.divide(g**2, 2 * g**2 + total * g**3, out=np.zeros_like(g), where=g != 0)
    return a @ (alpha * np.maximum(g, 0)).sum(axis=(0, 1))


def principal(products: NDArray[Any]) -> NDArray[Any]:
    pixels = products.reshape(-1, products.shape[-1])
    _, vectors = np.linalg.eigh(np.cov(pixels.T))
    projected = (pixels - pixels.mean(axis=0)) @ vectors[:, -1]
    sign = np.sign(np.corrcoef(projected, pixels.mean(axis=1))[0, 1])
    return sign * projected.reshape(products.shape[:2])


FORMULAS: dict[type, Formula] = {
    GradCAM: lambda a, g: a @ g.mean(axis=(0, 1)),
    GradCAMPlusPlus: plus_plus,
    HiResCAM: lambda a, g: (a * g).sum(axis=-1),
    LayerCAM: lambda a, g: (a * np.maximum(g, 0)).sum(axis=-1),
    XGradCAM: lambda a, g: a @ ((g * a).sum(axis=(0, 1)) / a.sum(axis=(0, 1))),
    ChannelMean: lambda a, g: a.mean(axis=-1),
    EigenCAM: lambda a, g: principal(a),
    EigenGradCAM: lambda a, g: principal(a * g),
}


@pytest.mark.parametrize(("method", "formula"), FORMULAS.items(), ids=[method.name for method in FORMULAS])
@pytest.mark.parametrize("layer", ["relu1", "conv2"])
def test_the_values_are_those_of_the_paper(method: Any, formula: Formula, layer: str) -> None:
    a, g = captured(DEEP, layer), ag.Saliency(layer)(ag.wrap(DEEP), X, TARGETS).values
    assert layer == "conv2" or g.std(axis=(1, 2)).max() > 0
    expected = np.stack([formula(*pair) for pair in zip(a, g, strict=True)])
    found = method(layer)(ag.wrap(DEEP), X, TARGETS)
    np.testing.assert_allclose(found.values, expected, rtol=1e-9, atol=1e-12)
    assert found.provenance.layer == layer
    assert found.provenance.reduction == "positive"


def test_a_map_of_zeros_has_no_weight_in_xgrad_cam_and_none_is_nan() -> None:
    dark = double(deep_network(), conv1=replace(DEEP.layers["conv1"], kernel=0 * DEEP.layers["conv1"].kernel))  # type: ignore[type-var]
    for method in FORMULAS:
        assert np.isfinite(method("relu1")(ag.wrap(dark), X, TARGETS).values).all()


# -- the head of a mean and one linear layer ----------------------------------------------------------------------


def test_cam_weighs_the_maps_by_the_head_and_its_mean_is_the_score_but_for_the_bias() -> None:
    found = CAM()(ag.wrap(DEEP), X, TARGETS)
    expected = np.einsum("nhwc,cn->nhw", captured(DEEP, "relu2"), HEAD.kernel[:, TARGETS])
    np.testing.assert_allclose(found.values, expected, rtol=1e-10)
    np.testing.assert_allclose(found.values.mean(axis=(1, 2)) + HEAD.bias[TARGETS], found.provenance.scores)


@pytest.mark.parametrize("method", [GradCAM, HiResCAM, XGradCAM])
def test_there_other_methods_are_cam(method: Any) -> None:
    cam = CAM()(ag.wrap(DEEP), X, TARGETS).values
    np.testing.assert_allclose(np.prod(SIZE) * method()(ag.wrap(DEEP), X, TARGETS).values, cam, rtol=1e-9, atol=1e-12)


def test_layer_cam_and_grad_cam_plus_plus_are_not() -> None:
    cam = scaled(CAM()(ag.wrap(DEEP), X, TARGETS).values)
    for method in (LayerCAM(), GradCAMPlusPlus()):
        assert np.abs(scaled(method(ag.wrap(DEEP), X, TARGETS).values) - cam).max() > 0.01


FLAT = Conv(np.random.default_rng(0).normal(size=(*SIZE, 8, 4)), np.ones(4))
FLATTENED = double(deep_network(), gap=None, dense=None, flat=FLAT, end=GlobalAverage())  # of one pixel
NO_CAM: dict[str, tuple[Network, str | None, Any]] = {
    "a layer with a convolution behind it": (DEEP, "relu1", 0),
    "a ReLU between the mean and the scores": (
        double(deep_network(), dense=Dense(HEAD.kernel, 0 * HEAD.bias), last=Relu(), end=Dense(np.eye(4), np.ones(4))),
        None,
        1,
    ),
    "a step, flat on both of its sides": (
        double(
            deep_network(),
            dense=Dense(np.abs(HEAD.kernel), 0 * HEAD.bias),
            last=Relu(1e-6),
            end=Dense(1e6 * np.eye(4), np.ones(4)),
        ),
        None,
        1,
    ),
    "places that count differently": (FLATTENED, "relu2", 2),
    "a probability": (DEEP, None, ag.ClassScore(1, "probability")),
    "a ReLU before the mean": (DEEP, "conv2", 3),
}  # fmt: skip


@pytest.mark.parametrize(("network", "layer", "target"), NO_CAM.values(), ids=NO_CAM)
def test_without_that_head_cam_is_refused(network: Network, layer: str | None, target: Any) -> None:
    with pytest.raises(ag.CapabilityError, match=r"averages the maps of '\w+'.*one linear layer.*Grad-CAM.*HiRes-CAM"):
        CAM(layer)(ag.wrap(network), X, target)


def test_the_first_answer_is_not_mistaken_for_another_class_when_maps_are_changed() -> None:
    asked = CAM()(ag.wrap(DEEP), X).values
    best = captured(DEEP, "dense").argmax(axis=1)
    np.testing.assert_array_equal(asked, CAM()(ag.wrap(DEEP), X, best).values)


# -- what must not matter -----------------------------------------------------------------------------------------


def test_the_complement_of_a_sigmoid_is_the_negated_logit() -> None:
    one = double(deep_network(), dense=Dense(HEAD.kernel[:, :1], HEAD.bias[:1]), head=Sigmoid())
    model = ag.wrap(one)
    cam = {target: GradCAM()(model, X, target).values for target in (0, 1, -1 * ag.ClassScore(1))}
    np.testing.assert_array_equal(cam[0], -cam[1])
    np.testing.assert_array_equal(cam[0], cam[-1 * ag.ClassScore(1)])
    of_probability = GradCAM()(model, X, ag.ClassScore(0, "probability")).values
    np.testing.assert_allclose(scaled(of_probability), scaled(cam[0]), rtol=1e-9)


@METHODS
def test_equal_functions_get_equal_maps(explainer: ag.Explainer) -> None:
    order = np.random.default_rng(1).permutation(8)
    conv: Any = DEEP.layers["conv2"]
    twin = double(
        deep_network(),
        conv2=replace(conv, kernel=conv.kernel[..., order], bias=conv.bias[order]),
        dense=replace(HEAD, kernel=HEAD.kernel[order]),
    )
    found, expected = (explainer(ag.wrap(network), X, TARGETS).values for network in (twin, DEEP))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@METHODS
def test_one_image_at_a_time_equals_a_batch(explainer: ag.Explainer) -> None:
    whole = explainer(ag.wrap(DEEP), X, TARGETS)
    for batch_size in (1, 2):
        cut = explainer(ag.wrap(DEEP), X, TARGETS, batch_size=batch_size).values
        np.testing.assert_allclose(cut, whole.values, rtol=1e-10, atol=1e-12)
    single = np.concatenate([explainer(ag.wrap(DEEP), x, c).values for x, c in zip(X, TARGETS, strict=True)])
    np.testing.assert_allclose(single, whole.values, rtol=1e-10, atol=1e-12)


@METHODS
def test_progress_grows_to_the_end(explainer: ag.Explainer) -> None:
    seen: list[tuple[int, int]] = []
    explainer(ag.wrap(DEEP), X, batch_size=2, progress=lambda done, total: seen.append((done, total)))
    done = [step for step, _ in seen]
    assert {total for _, total in seen} == {done[-1]}
    assert done == sorted(set(done))
    assert done[0] == 0


def test_methods_without_gradient_run_where_there_is_none() -> None:
    model = ag.wrap(DEEP)
    model.can = frozenset({"capture", "patch"})
    for explainer in (EigenCAM(), ChannelMean(), ScoreCAM(), AblationCAM(), SeveralLayers(ScoreCAM(), ("relu2",))):
        assert explainer(model, X, 1).values.any()
    with pytest.raises(ag.CapabilityError, match="several-layers needs 'gradient'"):
        SeveralLayers()(model, X, 1)


def test_maps_keep_the_layers_size_where_that_is_wanted() -> None:
    halved = double(deep_network(), conv1=replace(DEEP.layers["conv1"], stride=2))  # type: ignore[type-var]
    for explainer in ALL[:9] + ALL[10:13]:
        small = replace(explainer, upsample=False)(ag.wrap(halved), X, 1)  # type: ignore[call-arg,type-var]
        assert small.values.shape == (3, 3, 4)
        assert explainer(ag.wrap(halved), X, 1).values.shape == (3, *SIZE)


@pytest.mark.parametrize("grid", [(5, 7, 0), (1, 2, 3, 4), "5x7"])
def test_a_grid_of_tokens_is_refused_at_a_layer_of_maps(grid: Any) -> None:
    with pytest.raises(ag.OptionError, match=r"grid=.* is for layers of tokens; 'relu2' has the shape"):
        GradCAM(grid=grid)(ag.wrap(DEEP), X)


# -- chunks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "size", "most", "length"), [(5, 2, 8, 2), (5, 6, 8, 4), (1, 64, 8, 8), (8, 8, 8, 8)])
def test_chunks_have_one_length_however_many_items_there_are(count: int, size: int, most: int, length: int) -> None:
    found = list(equal_chunks(np.arange(count), size, most))
    assert {len(chunk) for chunk in found} == {length}
    np.testing.assert_array_equal(np.concatenate(found)[:count], np.arange(count))
    assert (np.concatenate(found)[count:] == count - 1).all()
