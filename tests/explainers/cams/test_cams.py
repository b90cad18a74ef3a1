"""Class activation maps against their papers' formulas in NumPy, and the truths that bind them together."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import agnoscope as ag
from agnoscope.backends.reference import AveragePool, Conv, Dense, GlobalAverage, Network, Relu, Sigmoid
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
from agnoscope.testing import SIZE, deep_network, images

ALL: list[ag.Explainer] = [
    *(CAM(), GradCAM(), GradCAMPlusPlus(), HiResCAM(), LayerCAM(), XGradCAM(), EigenCAM(), EigenGradCAM()),
    *(ChannelMean(), FullGrad(), ScoreCAM(), ScoreCAM(channels=3), AblationCAM()),
    *(SeveralLayers(layers=("relu1", "relu2")), SeveralLayers(LayerCAM(), ("relu1", "relu2"), "max")),
]
METHODS = pytest.mark.parametrize("explainer", ALL, ids=lambda explainer: explainer.name)
X = images().astype(np.float64)
TARGETS = [2, 0, 3]
PIXELS = SIZE[0] * SIZE[1]


def double(network: Network, **changes: Any) -> Network:
    """The network in float64, with other operations under some names, or without them (None)."""
    layers: dict[str, Any] = {**network.layers, **changes}
    for name, op in layers.items():
        if hasattr(op, "kernel"):
            layers[name] = replace(op, kernel=op.kernel.astype(np.float64), bias=op.bias.astype(np.float64))
    return Network({name: op for name, op in layers.items() if op is not None})


DEEP = double(deep_network())
HEAD: Any = DEEP.layers["dense"]


def captured(network: Network, layer: str, x: NDArray[Any] = X) -> NDArray[Any]:
    """What a layer gives."""
    return ag.wrap(network).compile(_capture, layer)(x)["found"]


def _capture(model: ag.Model, layer: str, x: Any) -> dict[str, Any]:
    return {"found": model.run(x, (layer,))[layer]}


def scaled(values: NDArray[Any]) -> NDArray[Any]:
    """What is positive of each map, as a share of its largest value."""
    positive = np.maximum(values, 0)
    return positive / positive.max(axis=(1, 2), keepdims=True)


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
    np.testing.assert_allclose(PIXELS * method()(ag.wrap(DEEP), X, TARGETS).values, cam, rtol=1e-9, atol=1e-12)


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


# -- Score-CAM ----------------------------------------------------------------------------------------------------

CENTRE = np.array([0.5, 0.4, 0.6])


def score_cam(network: Network, x: NDArray[Any], target: int, used: slice | list[int]) -> NDArray[Any]:
    """The paper's algorithm for one image whose maps have its size."""
    options: Any = {"mean": tuple(CENTRE)}
    model = ag.wrap(network, **options)
    maps = model.compile(_capture, "relu2")(x[None])["found"][0][..., used]
    masks = (maps - maps.min(axis=(0, 1))) / (np.ptp(maps, axis=(0, 1)) + (np.ptp(maps, axis=(0, 1)) == 0))
    masked = [CENTRE + (x - CENTRE) * masks[..., k, None] for k in range(masks.shape[-1])]
    scores = model.compile(_capture, "dense")(np.stack(masked))["found"][:, target]
    powers = np.exp(scores)
    return maps @ (powers / powers.sum())


def with_dead_channels() -> Network:
    conv: Any = DEEP.layers["conv2"]
    kernel, bias = conv.kernel.copy(), conv.bias.copy()
    kernel[..., [1, 4]], bias[[1, 4]] = 0, (-1, 2)  # one is zero behind the ReLU, one is 2 everywhere
    return double(deep_network(), conv2=replace(conv, kernel=kernel, bias=bias))


@pytest.mark.parametrize("network", [DEEP, with_dead_channels()], ids=["all live", "two constant"])
def test_score_cam_is_the_papers_algorithm(network: Network) -> None:
    found = ScoreCAM()(ag.wrap(network, mean=tuple(CENTRE)), X, TARGETS, batch_size=3)
    expected = [score_cam(network, x, c, slice(None)) for x, c in zip(X, TARGETS, strict=True)]
    np.testing.assert_allclose(found.values, expected, rtol=1e-10)


def test_score_cam_can_use_the_channels_that_vary_most() -> None:
    found = ScoreCAM(channels=3)(ag.wrap(DEEP, mean=tuple(CENTRE)), X[:1], 2)
    spread = captured(double(deep_network()), "relu2", X[:1] - CENTRE)[0].var(axis=(0, 1))
    expected = score_cam(DEEP, X[0], 2, list(np.argsort(-spread)[:3]))
    np.testing.assert_allclose(found.values[0], expected, rtol=1e-10)


def images_run(explainer: ag.Explainer, network: Network, batch_size: int) -> int:
    """How many images go through the network, or what comes after the layer, in one explanation."""
    model, sizes = ag.wrap(network), []
    plain = model.run

    def run(x: Any, capture: Any, patch: Any = None) -> Any:
        values = plain(x, capture, patch or {})
        sizes.append(len(values[capture[0]]))
        return values

    model.run = run  # type: ignore[method-assign]
    explainer(model, X[:1], 1, batch_size=batch_size)
    return sum(sizes)


def test_constant_channels_never_go_through_the_network() -> None:
    # The clean run, one for the maps, one of nothing, and six of eight channels.
    assert images_run(ScoreCAM(), with_dead_channels(), 1) == 2 + 1 + 6
    # The channel that is 2 everywhere is not zero.
    assert images_run(AblationCAM(), with_dead_channels(), 1) == 2 + 7


@pytest.mark.parametrize("channels", [0, -1, 2.5])
def test_channels_must_be_a_number_of_them(channels: Any) -> None:
    with pytest.raises(ag.OptionError, match="must be a whole number, at least 1"):
        ScoreCAM(channels=channels)(ag.wrap(DEEP), X)


# -- Ablation-CAM -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["relu1", "conv2", "relu2"])
def test_ablation_cam_takes_one_channel_away_at_a_time(layer: str) -> None:
    model, maps = ag.wrap(DEEP), captured(DEEP, layer)
    found = AblationCAM(layer)(model, X, TARGETS, batch_size=3)
    for i, target in enumerate(TARGETS):
        y = model.compile(_without, layer)(X[i][None], np.ones((1, maps.shape[-1])))["scores"][0, target]
        keep = 1 - np.eye(maps.shape[-1])
        without = model.compile(_without, layer)(np.repeat(X[i][None], len(keep), axis=0), keep)["scores"][:, target]
        np.testing.assert_allclose(found.values[i], maps[i] @ ((y - without) / abs(y)), rtol=1e-9, atol=1e-12)


def _without(model: ag.Model, layer: str, x: Any, keep: Any) -> dict[str, Any]:
    return model.run(x, ("scores",), {layer: lambda a: a * keep[:, None, None, :]})


def test_a_score_of_zero_leaves_the_falls_as_they_are() -> None:
    conv = Conv(np.zeros((1, 1, 3, 2)), np.array([1.0, 2.0]))  # maps of ones and of twos
    dense = Dense(np.array([[3.0, 0.0], [-1.0, 0.0]]), np.array([-1.0, 0.0]))
    found = AblationCAM("conv")(ag.wrap(Network({"conv": conv, "gap": GlobalAverage(), "dense": dense})), X, 0)
    assert found.provenance.scores == (0.0,) * 3
    np.testing.assert_array_equal(found.values, 1 * 3.0 + 2 * -2.0)


# -- FullGrad -----------------------------------------------------------------------------------------------------


def test_fullgrad_shares_out_the_whole_score() -> None:
    found = FullGrad()(ag.wrap(DEEP, mean=tuple(CENTRE), std=(0.2, 0.3, 0.25), channels="BGR"), X, TARGETS)
    np.testing.assert_allclose(found.extras["delta"], 0, atol=1e-12)
    assert np.abs(found.provenance.scores).min() > 0.1
    assert not any("add up" in warning for warning in found.provenance.warnings)


@pytest.mark.parametrize("activation", [Relu(), Sigmoid()])  # a sigmoid says 0.5 to nothing, which is no bias
def test_fullgrad_draws_the_pixels_and_the_biases_of_all_channels(activation: Any) -> None:
    model = ag.wrap(double(deep_network(), relu1=activation), mean=tuple(CENTRE))
    parts = [(X - CENTRE) * ag.Saliency()(model, X, TARGETS).values]
    for layer in ("conv1", "conv2"):
        bias: Any = DEEP.layers[layer].bias  # type: ignore[union-attr]
        parts.append(bias * ag.Saliency(layer)(model, X, TARGETS).values)
    expected = np.zeros((3, *SIZE))
    for part in parts:
        for channel in np.moveaxis(np.abs(part), -1, 0):
            low, high = (f(channel, axis=(1, 2), keepdims=True) for f in (np.min, np.max))
            expected += (channel - low) / np.where(high > low, high - low, 1)
    np.testing.assert_allclose(FullGrad()(model, X, TARGETS).values, expected, rtol=1e-9)


@pytest.mark.tensorflow
def test_fullgrad_knows_the_biases_that_an_activation_within_a_layer_cuts_off() -> None:
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    layers, found = keras.layers, []
    for within in (True, False):
        stack: list[Any] = [keras.Input((*SIZE, 3), dtype="float64")]
        for linear in (partial(layers.Conv2D, 6, 3), partial(layers.DepthwiseConv2D, 2), partial(layers.Dense, 5)):
            stack.append(linear(activation="relu" if within else None, dtype="float64"))
            stack += [] if within else [layers.ReLU(dtype="float64")]
        last = layers.Dense(4, activation="softmax" if within else None, dtype="float64")
        stack += [layers.GlobalAveragePooling2D(dtype="float64"), last]
        network = keras.Sequential(stack)
        rng = np.random.default_rng(0)
        network.set_weights([rng.normal(size=weight.shape) for weight in network.get_weights()])
        found.append(FullGrad()(ag.wrap(network), X, TARGETS))
    one, other = found
    assert np.abs(one.provenance.scores).min() > 0.1
    np.testing.assert_allclose([one.extras["delta"], other.extras["delta"]], 0, atol=1e-12)
    np.testing.assert_allclose(one.values, other.values, rtol=1e-9)


def test_fullgrad_says_where_the_parts_do_not_add_up() -> None:
    bent = ag.wrap(double(deep_network(), relu1=Relu(0.3)))  # what is cut off is in no part
    found = FullGrad()(bent, X, TARGETS)
    assert np.abs(found.extras["delta"]).min() > 1e-3
    assert "For 3 of 3 images the parts do not add up to the score" in found.provenance.warnings[0]


# -- several layers -----------------------------------------------------------------------------------------------


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


# -- chunks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "size", "most", "length"), [(5, 2, 8, 2), (5, 6, 8, 4), (1, 64, 8, 8), (8, 8, 8, 8)])
def test_chunks_have_one_length_however_many_items_there_are(count: int, size: int, most: int, length: int) -> None:
    found = list(equal_chunks(np.arange(count), size, most))
    assert {len(chunk) for chunk in found} == {length}
    np.testing.assert_array_equal(np.concatenate(found)[:count], np.arange(count))
    assert (np.concatenate(found)[count:] == count - 1).all()
