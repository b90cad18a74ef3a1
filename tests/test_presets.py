"""Presets: their last steps by hand, the way through to what they wrap, and what the result says of them."""

import json
from typing import Any

import numpy as np
import pytest

import agnoscope as ag
from agnoscope.arrays import resize
from agnoscope.backends.reference import Conv, Network, Softmax
from agnoscope.explainers.base import as_explainer
from agnoscope.explainers.finished import STEPS
from agnoscope.plugins import plugins
from agnoscope.presets import PRESETS
from agnoscope.resizing import RULES
from agnoscope.testing import deep_network, images, linear_network
from tests.explainers.gradients.closed_forms import TARGETS, X, double, linear_model, linear_weights

SIZE = X.shape[1:3]
MAP = np.array([[[-1.0, 0.0], [1.0, 3.0]]])
COLOURS = np.array([[[[1.0, -4.0, 0.0]], [[2.0, 2.0, 5.0]]]])


def deep_model(**options: Any) -> ag.Model:
    return ag.wrap(double(deep_network()), **options)


def with_softmax() -> ag.Model:
    return ag.wrap(Network({**double(deep_network()).layers, "head": Softmax()}))


@pytest.mark.parametrize(
    ("step", "values", "expected"),
    [
        ("absolute", MAP, [[[1, 0], [1, 3]]]),
        ("relu", MAP, [[[0, 0], [1, 3]]]),
        ("channel-max", COLOURS, [[[1], [5]]]),
        ("channel-mean", COLOURS, [[[-1], [3]]]),
        ("min-max", MAP, [[[0, 0.25], [0.5, 1]]]),
        ("min-max 1e-7", 1e-7 * MAP, [[[0, 0.2], [0.4, 0.8]]]),
        ("share of the maximum", MAP, [[[-1 / 3, 0], [1 / 3, 1]]]),
        ("share of the maximum", -2 - MAP, [[[0, 0], [0, 0]]]),
        ("min-max", np.ones((1, 2, 2)), [[[0, 0], [0, 0]]]),
        ("resize corners", MAP, [[[-1, -0.5, 0], [0, 0.75, 1.5], [1, 2, 3]]]),
        ("resize nearest", MAP, [[[-1, -1, 0], [-1, -1, 0], [1, 1, 3]]]),
        ("resize mirrored", MAP[:, :, :1] * [[[1, 0]]], [[[-5 / 9, -1 / 3, -1 / 9], [0, 0, 0], [5 / 9, 1 / 3, 1 / 9]]]),
        ("resize", np.array([[[0.0, 3.0]]]), np.tile([0, 1.5, 3], (1, 3, 1))),
    ],
)
def test_steps_by_hand(step: str, values: Any, expected: Any) -> None:
    np.testing.assert_allclose(STEPS[step](values, (3, 3)), expected, atol=1e-15)


def test_every_step_is_by_image() -> None:
    values = np.random.default_rng(0).normal(size=(3, 4, 5, 3))
    for name, step in STEPS.items():
        each = np.concatenate([step(one[None], (8, 9)) for one in values])
        np.testing.assert_allclose(step(values, (8, 9)), each, atol=1e-15, err_msg=name)


def test_steps_run_in_their_order() -> None:
    slopes = linear_weights()
    found = ag.Finished(ag.Saliency(), ("absolute", "channel-max", "min-max"))(linear_model(), X, TARGETS)
    largest = np.abs(slopes).max(axis=-1)
    low, high = (f(largest, axis=(1, 2), keepdims=True) for f in (np.min, np.max))
    np.testing.assert_allclose(found.values, (largest - low) / (high - low), rtol=1e-12)
    other = ag.Finished(ag.Saliency(), ("channel-max", "absolute"))(linear_model(), X, TARGETS)
    np.testing.assert_allclose(other.values, np.abs(slopes.max(axis=-1)), rtol=1e-12)


@pytest.mark.parametrize("rule", ["", *RULES])
def test_maps_come_to_the_size_of_the_image(rule: str) -> None:
    small = Network({**double(deep_network()).layers, "conv1": _with_stride(2)})
    explainer = ag.GradCAM("relu2", upsample=False)
    found = ag.Finished(explainer, (f"resize {rule}".strip(),))(small, X, 1).values
    maps = explainer(small, X, 1).values
    matrices = [RULES[rule](*pair) for pair in zip(maps.shape[1:], SIZE, strict=True)] if rule else []
    expected = matrices[0] @ maps @ matrices[1].T if rule else resize(np, maps, SIZE)
    assert maps.shape[1:] != SIZE
    np.testing.assert_allclose(found, expected, atol=1e-12)


def _with_stride(stride: int) -> Conv:
    conv = double(deep_network()).layers["conv1"]
    assert isinstance(conv, Conv)
    return Conv(conv.kernel, conv.bias, stride, 1)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_run_and_say_who_they_are(name: str) -> None:
    found = ag.preset(name)(deep_model(), X[:2], [1, 0])
    assert np.abs(found.values).max() > 0
    assert found.provenance.method == found.provenance.options["name"] == name
    assert json.loads(json.dumps(found.provenance.options)) is not None
    alone = ag.preset(name)(deep_model(), X[1], 0)
    np.testing.assert_allclose(alone.values[0], found.values[1], rtol=1e-6, atol=1e-9)


def test_presets_are_named_after_a_library_and_a_method() -> None:
    methods = plugins().names("explainer")
    for name in PRESETS:
        library, _, method = name.partition(":")
        assert library
        assert method in [*methods, "gradient-shap"]


def test_one_line_gives_a_preset() -> None:
    found = ag.explain(deep_model(), X, "captum:saliency", 1)
    np.testing.assert_array_equal(found.values, np.abs(ag.Saliency()(deep_model(), X, 1).values))
    assert as_explainer("captum:saliency") == ag.preset("captum:saliency") == PRESETS["captum:saliency"]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("captum:salency", {}, "no preset 'captum:salency'. Near it: 'captum:saliency'"),
        ("captum:smoothgrad", {"sample": 3}, "'captum:smoothgrad' has no option 'sample'. Its options: 'samples'"),
        ("captum:saliency", {"steps": ("relu",)}, "has no option 'steps'. Its options: 'layer'"),
        ("captum:saliency", {"name": "mine"}, "has no option 'name'"),
    ],
)
def test_what_there_is_not_is_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ag.OptionError, match=message.replace(".", r"\.")):
        ag.preset(name, **options)


def test_options_reach_what_is_wrapped() -> None:
    smooth = ag.preset("tf-keras-vis:smoothgrad", samples=3, layer="conv2", seed=7)
    assert smooth.steps == PRESETS["tf-keras-vis:smoothgrad"].steps
    assert (smooth.explainer.samples, smooth.seed, smooth.layer) == (3, 7, "conv2")
    assert ag.preset("captum:integrated-gradients", steps=9).explainer.steps == 9
    wrapped = ag.preset("captum:smoothgrad", explainer="input-x-gradient").explainer.explainer
    assert wrapped == ag.InputXGradient()
    assert PRESETS["captum:smoothgrad"].explainer.samples == 5


def test_the_record_holds_the_whole_recipe() -> None:
    options = ag.preset("tf-keras-vis:smoothgrad", samples=2)(deep_model(), X, 1).provenance.options
    assert options["steps"] == ("channel-max", "min-max 1e-7")
    assert options["probability"] is False
    smooth = options["explainer"]
    assert (smooth["method"], smooth["samples"], smooth["noise"]) == ("smoothgrad", 2, 0.2)
    assert (smooth["explainer"]["method"], smooth["explainer"]["steps"]) == ("finished", ("absolute",))
    assert smooth["explainer"]["explainer"] == {"method": "saliency", "layer": None}


def test_finished_is_as_what_it_wraps() -> None:
    model = deep_model()
    for inner in (ag.GuidedBackprop(), ag.GradCAM(), ag.RISE(samples=4, grid=3, seed=3), ag.IntegratedGradients()):
        finished = ag.Finished(inner)
        found, expected = (explainer(model, X, 1) for explainer in (finished, inner))
        np.testing.assert_array_equal(found.values, expected.values)
        np.testing.assert_array_equal(found.extras.get("delta", 0), expected.extras.get("delta", 0))
        assert finished.needs == inner.needs
        for part in ("reduction", "layer", "seed", "automatic", "warnings", "answers", "scores"):
            assert getattr(found.provenance, part) == getattr(expected.provenance, part), part
        assert found.provenance.options["explainer"] == {"method": inner.name, **expected.provenance.options}
    assert ag.Finished(ag.GuidedBackprop()).doubts(model, SIZE) == ag.GuidedBackprop().doubts(model, SIZE)
    assert ag.Finished("saliency", "absolute") == ag.Finished(ag.Saliency(), ("absolute",))


def test_steps_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ag.OptionError, match="no step 'normalise'"):
        ag.Finished(ag.Saliency(), ("normalise",))
    with pytest.raises(ag.OptionError, match=r"'channel-max' needs values with channels; .* shape \(5, 7\)"):
        ag.Finished(ag.GradCAM(), ("channel-max",))(deep_model(), X)
    with pytest.raises(ag.OptionError, match=r"'resize' needs values with height and width; .* shape \(8,\)"):
        ag.Finished(ag.Saliency("gap"), ("resize",))(deep_model(), X)
    assert ag.preset("captum:saliency", layer="gap")(deep_model(), X).values.shape == (3, 8)


def test_a_wrong_layer_is_refused_before_any_work() -> None:
    with pytest.raises(ag.LayerError, match="no layer 'relu9'"):
        ag.preset("captum:grad-cam", layer="relu9")(deep_model(), X)


def test_the_book_explains_the_probability() -> None:
    model = with_softmax()
    found = ag.preset("keras-book:grad-cam")(model, X, 1)
    by_hand = np.maximum(ag.GradCAM(upsample=False)(model, X, ag.ClassScore(1, "probability")).values, 0)
    np.testing.assert_allclose(found.values, by_hand / by_hand.max(axis=(1, 2), keepdims=True), rtol=1e-12)
    assert found.provenance.space == "probability"
    assert found.provenance.scores == pytest.approx(np.exp(found.output)[:, 1] / np.exp(found.output).sum(axis=1))
    assert ag.preset("keras-io:grad-cam")(model, X, 1).provenance.space == "score"
    assert "target" in ag.preset("keras-book:grad-cam")(model, X).provenance.automatic


def test_so_does_what_wraps_it() -> None:
    smooth = ag.SmoothGrad("keras-book:grad-cam", samples=2)(with_softmax(), X, 1)
    assert smooth.provenance.space == "probability"
    assert smooth.provenance.options["explainer"]["method"] == "keras-book:grad-cam"


def test_other_targets_are_asked_as_they_are() -> None:
    found = ag.preset("keras-book:grad-cam")(with_softmax(), X, ag.Channel("conv2", 1))
    assert found.provenance.space == "activation"


def test_abilities_that_lack_are_asked_for_under_the_presets_name() -> None:
    model = deep_model()
    model.can = model.can - {"relu"}
    with pytest.raises(ag.CapabilityError, match="captum:guided-backprop"):
        ag.preset("captum:guided-backprop")(model, images())


def test_pairs_path_has_both_ends_and_equal_weights() -> None:
    def cube(run: Any) -> Any:
        return run["scores"][:, 0] ** 3 / 3

    found = ag.preset("pair:integrated-gradients")(linear_model(), X, cube)
    weights, bias = linear_weights()[1], double_bias()
    slopes = [(bias + share * (X * weights).sum(axis=(1, 2, 3))) ** 2 for share in np.linspace(0, 1, 25)]
    np.testing.assert_allclose(found.values, X * weights * np.mean(slopes, axis=0)[:, None, None, None], rtol=1e-10)


def double_bias() -> float:
    """The bias of the linear network's class 0, which is the second of `TARGETS`."""
    return float(linear_network().layers["conv"].bias[0])


def test_the_guard_of_grad_cam_plus_plus_stands_in_the_denominator() -> None:
    model = deep_model()
    maps = model.compile(lambda model, _, images: model.run(images, ("relu2",)), None)(X)["relu2"]
    slopes = double(deep_network()).layers["dense"].kernel[:, 1] / np.prod(SIZE)
    for guard in (0.0, 1e-6, 1e-2):
        alpha = slopes**2 / (2 * slopes**2 + maps.sum(axis=(1, 2)) * slopes**3 + guard)
        expected = np.einsum("nhwk,nk->nhw", maps, np.prod(SIZE) * alpha * np.maximum(slopes, 0))
        np.testing.assert_allclose(ag.GradCAMPlusPlus("relu2", guard=guard)(model, X, 1).values, expected, rtol=1e-10)


def test_the_guard_of_full_grad_stands_in_every_range() -> None:
    model = linear_model()
    part = np.abs(X * linear_weights())
    low, high = (f(part, axis=(1, 2), keepdims=True) for f in (np.min, np.max))
    expected = ((part - low) / (high - low + 0.5)).sum(axis=-1)
    np.testing.assert_allclose(ag.FullGrad(guard=0.5)(model, X, TARGETS).values, expected, rtol=1e-9)


@pytest.mark.parametrize("explainer", [ag.GuidedGradCAM(enlarge="cubic"), ag.ScoreCAM(enlarge="cubic")], ids=repr)
def test_a_rule_that_there_is_not_is_refused(explainer: ag.Explainer) -> None:
    with pytest.raises(
        ag.OptionError, match="enlarge='cubic' is unknown: use 'linear', 'corners', 'mirrored', 'nearest'"
    ):
        explainer(deep_model(), X)


def test_the_rule_of_score_cams_masks_tells_only_where_there_is_something_to_enlarge() -> None:
    small = Network({**double(deep_network()).layers, "conv1": _with_stride(2)})
    linear, corners = (ag.ScoreCAM("relu2", enlarge=rule)(small, X, 1).values for rule in ("linear", "corners"))
    assert np.abs(linear - corners).max() > 1e-6 * np.abs(linear).max()
    same = [ag.ScoreCAM("relu2", enlarge=rule)(deep_model(), X, 1).values for rule in ("linear", "nearest")]
    np.testing.assert_allclose(*same, rtol=1e-12)  # there is nothing to enlarge
