"""Every method against its own formula, written down in NumPy, and what all of them promise.

The network is one convolution of 1 × 1 with ReLU, whose mean over the pixels is weighted: short enough that all
gradients can be written by hand.
"""

from collections.abc import Callable, Mapping
from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agnoscope import (
    LIME,
    LRP,
    RISE,
    AblationCAM,
    CapabilityError,
    Channel,
    Deconvnet,
    DeepLift,
    EigenCAM,
    ExpectedGradients,
    Explainer,
    FeatureAblation,
    GradCAM,
    GuidedBackprop,
    HiResCAM,
    InputXGradient,
    IntegratedGradients,
    KernelSHAP,
    LayerError,
    Model,
    Neuron,
    NonFiniteError,
    Occlusion,
    OptionError,
    Saliency,
    Score,
    ScoreCAM,
    SmoothGrad,
    TargetError,
    VarGrad,
    wrap,
)
from agnoscope.arrays import resize_matrix
from agnoscope.backends.reference import AveragePool, Dense, Network, Relu, Sigmoid
from agnoscope.batches import chunks
from agnoscope.explainers.cams.base import LayerMaps
from agnoscope.testing import SIZE, deep_network, images, linear_network, rectified_network

ALL: list[Explainer] = [
    *(Saliency(), GuidedBackprop(), Deconvnet(), InputXGradient(), DeepLift(), LRP()),
    *(IntegratedGradients(steps=8, most=16), ExpectedGradients(samples=6), SmoothGrad(samples=6), VarGrad(samples=6)),
    *(GradCAM(), HiResCAM(), ScoreCAM(), AblationCAM(), EigenCAM()),
    *(Occlusion(window=3, stride=2), RISE(20, 3), FeatureAblation(8), LIME(40, 8), KernelSHAP(40, 8)),
]
METHODS = pytest.mark.parametrize("explainer", ALL, ids=lambda explainer: explainer.name)
X = images()
LAYERS: Mapping[str, Any] = rectified_network().layers
W, B = LAYERS["conv"].kernel[0, 0], LAYERS["conv"].bias
V, C = LAYERS["dense"].kernel, LAYERS["dense"].bias
PIXELS = SIZE[0] * SIZE[1]


def network(**changes: Any) -> Network:
    """The network with other operations under some names."""
    return Network({**LAYERS, **changes})


# -- the formulas -----------------------------------------------------------------------------------------------

Formula = Callable[[NDArray[Any], NDArray[Any], float], NDArray[Any]]


def is_open(z: NDArray[Any], high: float) -> NDArray[np.bool_]:
    return (z > 0) & (z < high)


# z is the convolution's output, g the gradient that arrives at the ReLU's output.
FORMULAS: dict[str, tuple[Explainer, Formula]] = {
    "saliency": (Saliency(), lambda z, g, high: (g * is_open(z, high)) @ W.T),
    "guided": (GuidedBackprop(), lambda z, g, high: (np.maximum(g, 0) * is_open(z, high)) @ W.T),
    "deconvnet": (Deconvnet(), lambda z, g, high: np.maximum(g, 0) @ W.T),
    "grad-cam": (GradCAM(), lambda z, g, high: (g.mean(axis=(1, 2), keepdims=True) * z.clip(0, high)).sum(axis=-1)),
    "grad-cam before the ReLU": (
        GradCAM("conv"),
        lambda z, g, high: ((g * is_open(z, high)).mean(axis=(1, 2), keepdims=True) * z).sum(axis=-1),
    ),
}


@pytest.mark.parametrize(("explainer", "formula"), FORMULAS.values(), ids=FORMULAS)
@pytest.mark.parametrize("high", [np.inf, 6.0], ids=["ReLU", "ReLU6"])
@pytest.mark.parametrize("asked", ["a class", "one each", "a neuron"])
def test_the_values_are_those_of_the_paper(explainer: Explainer, formula: Formula, high: float, asked: str) -> None:
    model = wrap(network(relu=Relu(None if high == np.inf else high)))
    z = X @ W + B
    if asked == "a neuron":  # of the pooled layer: the mean of one channel
        target: Any = Neuron("gap", 2)
        g = np.broadcast_to(np.eye(6)[2] / PIXELS, z.shape)
    else:
        target = 1 if asked == "a class" else [2, 0, 3]
        g = np.broadcast_to((V.T[np.broadcast_to(target, 3)] / PIXELS)[:, None, None, :], z.shape)
    found = explainer(model, X, target)
    np.testing.assert_allclose(found.values, formula(z, g, high), rtol=1e-4, atol=1e-5 * np.abs(g).max())
    assert found.values.dtype == np.float32


def test_a_network_in_float64_is_explained_in_float64() -> None:
    double = {k: _double(v) for k, v in LAYERS.items()}
    x = X.astype(np.float64)
    g = np.broadcast_to(V[:, 1].astype(np.float64) / PIXELS, (*x.shape[:3], 6))
    for explainer, formula in FORMULAS.values():
        found = explainer(wrap(Network(double)), x, 1)
        assert found.values.dtype == np.float64
        np.testing.assert_allclose(found.values, formula(x @ W.astype(np.float64) + B, g, np.inf), rtol=1e-12)


def _double(operation: Any) -> Any:
    if not hasattr(operation, "kernel"):
        return operation
    return replace(operation, kernel=operation.kernel.astype(np.float64), bias=operation.bias.astype(np.float64))


# -- Grad-CAM ---------------------------------------------------------------------------------------------------


def pooled() -> Model:
    """The network with its maps halved after the ReLU, to (2, 3), and a convolution on them."""
    last = deep_network().layers["conv2"]
    return wrap(Network({**dict(list(LAYERS.items())[:2]), "pool": AveragePool(2), "last": last, "gap": LAYERS["gap"]}))


def test_grad_cam_chooses_its_layer_and_says_so() -> None:
    found = GradCAM()(pooled(), X, 3)
    assert found.provenance.layer == found.provenance.options["layer"] == "last"
    assert "layer" in found.provenance.automatic
    named = GradCAM("last")(pooled(), X, 3)
    assert "layer" not in named.provenance.automatic
    np.testing.assert_array_equal(named.values, found.values)


def test_grad_cam_brings_its_map_to_the_size_of_the_image_or_leaves_it() -> None:
    small = GradCAM("pool", upsample=False)(pooled(), X, 3).values
    assert small.shape == (3, 2, 3)
    rows, columns = resize_matrix(2, 5), resize_matrix(3, 7)
    large = GradCAM("pool")(pooled(), X, 3).values
    np.testing.assert_allclose(large, rows @ small @ columns.T, rtol=1e-4, atol=1e-6 * np.abs(small).max())


def test_grad_cam_refuses_a_layer_without_a_map() -> None:
    with pytest.raises(LayerError, match=r"'gap' has the shape \(6,\)\. Layers that have them: 'relu', 'conv'"):
        GradCAM("gap")(wrap(network()), X)
    flat = wrap(Network({"gap": LAYERS["gap"], "dense": Dense(W, B)}))
    with pytest.raises(LayerError, match=r"No layer of this network has spatial axes.*saliency or occlusion"):
        GradCAM()(flat, X)


# -- ReLUs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("explainer", [GuidedBackprop(), Deconvnet()])
def test_a_changed_rule_needs_relus_on_the_way(explainer: Explainer) -> None:
    for model, target in ((wrap(linear_network()), 0), (wrap(network()), Neuron("conv", 1))):
        with pytest.raises(CapabilityError, match="changes the gradient of ReLUs, and none ran"):
            explainer(model, X, target)


@pytest.mark.parametrize("explainer", [GuidedBackprop(), Deconvnet()])
def test_activations_that_are_no_relus_are_told(explainer: Explainer) -> None:
    mixed = wrap(Network({**deep_network().layers, "relu1": Sigmoid()}))
    assert explainer(mixed, X).provenance.warnings == (
        "1 activations are no ReLUs and keep their own gradient (Sigmoid).",
    )
    assert explainer(wrap(network(head=Sigmoid())), X).provenance.warnings == ()
    assert Saliency()(mixed, X).provenance.warnings == ()


# -- what all methods promise -----------------------------------------------------------------------------------


def test_occlusion_needs_no_gradient() -> None:
    model = wrap(network())
    model.can = frozenset()
    assert np.isfinite(Occlusion()(model, X).values).all()
    for explainer in ALL:
        if not explainer.needs:
            continue
        with pytest.raises(CapabilityError, match=rf"{explainer.name} needs '\w+', .* reference network .*: occlusion"):
            explainer(model, X)


@METHODS
@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 100])
def test_chunks_make_no_difference(explainer: Explainer, batch_size: int) -> None:
    model, x = wrap(deep_network()), images(5)
    whole, cut = explainer(model, x), explainer(model, x, batch_size=batch_size)
    np.testing.assert_allclose(cut.values, whole.values, rtol=1e-5, atol=1e-6 * np.abs(whole.values).max())
    np.testing.assert_allclose(cut.output, whole.output, rtol=1e-5)
    assert cut.provenance.targets == whole.provenance.targets
    assert cut.provenance.batch_size == batch_size
    assert "batch_size" not in cut.provenance.automatic


@pytest.mark.parametrize(
    ("count", "size", "length"), [(1, 1, 1), (5, 2, 2), (6, 3, 3), (3, 10, 3), (7, 7, 7), (50, 6, 5), (53, 6, 6)]
)
def test_chunks_are_of_one_size_and_count_every_item_once(count: int, size: int, length: int) -> None:
    found = list(chunks(count, size))
    assert {len(rows) for rows, _ in found} == {length}
    assert [row for rows, kept in found for row in rows[:kept]] == list(range(count))
    assert all((rows[kept:] == count - 1).all() for rows, kept in found)


@METHODS
def test_progress_grows_to_the_end(explainer: Explainer) -> None:
    seen: list[tuple[int, int]] = []
    explainer(wrap(deep_network()), X, batch_size=2, progress=lambda done, total: seen.append((done, total)))
    done = [step for step, _ in seen]
    (total,) = {whole for _, whole in seen}
    assert done[0] == 0
    assert done[-1] == total
    assert done == sorted(set(done))
    assert len(done) > 2


@METHODS
def test_what_was_chosen_stands_in_the_result(explainer: Explainer) -> None:
    model = wrap(deep_network(), input_size=(5, 7), labels=("a", "b", "c", "d"))
    found = explainer(model, X)
    first = found.output.argmax(axis=1)
    provenance = found.provenance
    assert provenance.method == explainer.name
    assert provenance.reduction == explainer.reduction
    assert set(provenance.automatic) == {"target", "batch_size"} | (
        {"layer"} if isinstance(explainer, LayerMaps) else set()
    )
    assert provenance.targets == tuple(f"{'abcd'[c]} [{c}]" for c in first)
    np.testing.assert_allclose(provenance.scores, found.output.max(axis=1), rtol=1e-6)
    assert [answers[0] for answers in provenance.answers] == list(
        zip(provenance.targets, provenance.scores, strict=True)
    )
    assert (provenance.backend, provenance.space, provenance.input["size"]) == ("reference", "score", (5, 7))
    assert {"agnoscope", "numpy"} <= set(provenance.versions)
    assert provenance.batch_size == 64
    asked = explainer(model, X, "b").provenance
    assert "target" not in asked.automatic
    assert asked.targets == ("b [1]",) * 3


def test_large_activations_go_in_small_batches() -> None:
    model = wrap(rectified_network())
    assert Saliency()(model, np.zeros((1, 512, 512, 3))).provenance.batch_size == 5  # 32 MiB / (512 · 512 · 6 · 4)
    assert Saliency()(model, np.zeros((1, 1200, 1200, 3))).provenance.batch_size == 1


@METHODS
def test_a_map_of_zeros_is_told(explainer: Explainer) -> None:
    if explainer.name in ("score-cam", "eigen-cam", "rise"):
        pytest.skip("by its definition its map is not zero where the score is constant")
    dark = network(dense=Dense(0 * V, C))
    found = explainer(wrap(dark), X[:2], 1)
    assert not found.values.any()
    assert found.provenance.warnings == tuple(
        f"image {i}: every value is zero; the target does not depend on what this method looks at, or the image "
        "is what it is compared with."
        for i in (1, 2)
    )


def test_a_map_that_speaks_only_against_is_told() -> None:
    found = GradCAM()(wrap(network(dense=Dense(-np.abs(V), C))), X, 1)
    assert found.values.max() < 0
    assert found.provenance.warnings[0] == "image 1: nothing speaks for the target here; every value is negative."
    assert len(found.provenance.warnings) == 3
    assert GradCAM()(wrap(network()), X, 1).provenance.warnings == ()


@METHODS
def test_nan_in_the_weights_names_the_layer(explainer: Explainer) -> None:
    layers: dict[str, Any] = dict(deep_network().layers)
    for number in (np.nan, np.inf):
        kernel = layers["conv2"].kernel.copy()
        kernel[0, 0, 0, 0] = number
        broken = wrap(Network({**layers, "conv2": replace(layers["conv2"], kernel=kernel)}))
        with pytest.raises(NonFiniteError, match=r"for image 1, .*: layer 'conv2' is the first to have it"):
            explainer(broken, X, 1)
    broken.can = broken.can - {"capture", "patch"}
    with pytest.raises((NonFiniteError, CapabilityError), match=r"cannot be looked into|needs 'capture'"):
        explainer(broken, X, 1)


def test_a_gradient_that_is_not_finite_is_told() -> None:
    model = wrap(network())
    steep = Score(lambda run: model.xp.sqrt(run["scores"][:, 0] * 0.0))
    with pytest.raises(NonFiniteError, match="it arises after them or on the way back"):
        Saliency()(model, X, steep)


@METHODS
def test_what_cannot_be_is_refused(explainer: Explainer) -> None:
    model = wrap(network())
    for batch_size in (0, -3):
        with pytest.raises(OptionError, match=f"batch_size={batch_size} must be a whole number, at least 1"):
            explainer(model, X, batch_size=batch_size)
    with pytest.raises(TargetError, match="4 classes"):
        explainer(model, X, 4)
    with pytest.raises(LayerError, match="no layer 'convv'"):
        explainer(model, X, Channel("convv", 0))


@METHODS
def test_equal_options_make_equal_explainers(explainer: Explainer) -> None:
    twin = replace(explainer)  # type: ignore[type-var]
    assert twin == explainer
    assert hash(twin) == hash(explainer)
    assert len({*ALL, twin}) == len(ALL)
    assert GradCAM("a") != GradCAM("b")
    with pytest.raises(FrozenInstanceError):
        explainer.name = "other"  # type: ignore[misc]
