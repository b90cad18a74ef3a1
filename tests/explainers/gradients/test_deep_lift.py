"""DeepLIFT against closed forms; with ReLUs alone its values add up exactly."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from agnoscope import CapabilityError, OptionError, Saliency, wrap
from agnoscope.backends.reference import Conv, Dense, GlobalAverage, Network, Relu, Sigmoid
from agnoscope.explainers.gradients.deep_lift import DeepLift
from agnoscope.target import ClassScore
from agnoscope.testing import deep_network, images, linear_network, rectified_network
from tests.explainers.gradients.closed_forms import (
    SATURATED,
    TARGETS,
    X,
    always_open,
    double,
    linear_weights,
    only,
    rectified_model,
    rectified_path,
    saturated_model,
    without_red,
)


@pytest.mark.parametrize(
    ("baseline", "mean"), [("black", 0.0), ("white", 1.0), ((0.2, 0.4, 0.9), (0.2, 0.4, 0.9)), (X[1] / 2, X[1] / 2)]
)
def test_of_a_linear_score_it_is_weight_times_change(baseline: Any, mean: Any) -> None:
    found = DeepLift(baseline)(wrap(always_open()), X, TARGETS)
    np.testing.assert_allclose(found.values, linear_weights() * (X - mean), rtol=1e-9, atol=1e-12)


def test_a_saturated_score_still_has_its_cause() -> None:
    assert Saliency()(saturated_model(), SATURATED, only).values.item() == 0
    found = DeepLift()(saturated_model(), SATURATED, only)
    assert found.values.item() == pytest.approx(1, abs=1e-12)
    assert found.extras["delta"].item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("high", [None, 6.0])
@pytest.mark.parametrize("baseline", [0.0, 0.3])
def test_a_relu_passes_its_change_on(high: float | None, baseline: float) -> None:
    model = wrap(double(rectified_network(high)))
    found = DeepLift(baseline)(model, X, 1)
    if high is None:
        np.testing.assert_allclose(found.values, rectified_path(X, baseline, 1), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.extras["delta"], 0, atol=1e-10)
    assert found.provenance.warnings == ()


@pytest.mark.parametrize("baseline", ["black", "white", "mean", "blur"])
def test_the_values_add_up_to_the_rise(baseline: str) -> None:
    for network, x, digits in ((double(deep_network()), X, 1e-10), (deep_network(), images(), 1e-5)):
        found = DeepLift(baseline)(wrap(network), x, 1)
        np.testing.assert_allclose(found.extras["delta"], 0, atol=digits)
    black = DeepLift()(wrap(double(deep_network())), X, 1)
    rise = np.array(black.provenance.scores) - Saliency()(wrap(double(deep_network())), 0 * X, 1).provenance.scores
    np.testing.assert_allclose(black.values.sum(axis=(1, 2, 3)), rise, rtol=1e-9)


def test_delta_is_what_is_too_much_and_is_told_where_it_is_large() -> None:
    layers: dict[str, Any] = dict(double(deep_network()).layers)
    layers["relu2"] = Sigmoid()
    model = wrap(Network(layers))
    found = DeepLift()(model, X, 1)
    rise = np.array(found.provenance.scores) - Saliency()(model, 0 * X, 1).provenance.scores
    np.testing.assert_allclose(found.extras["delta"], found.values.sum(axis=(1, 2, 3)) - rise, rtol=1e-9)
    doubt, note = found.provenance.warnings
    assert doubt == "1 activations are no ReLUs and keep their own gradient (Sigmoid)."
    assert note.startswith("DeepLIFT adds up to ")
    assert DeepLift(tolerance=1e9)(model, X, 1).provenance.warnings == (doubt,)


def test_between_equal_inputs_the_slope_is_the_gradient() -> None:
    model = rectified_model()
    found = DeepLift(X[0])(model, X[:1], 1)  # nothing changes at all
    assert not found.values.any()
    assert np.isfinite(found.values).all()
    dimmed = X[:1].copy()
    dimmed[:, 0, 0] *= 0.9
    there = DeepLift(X[0])(model, dimmed, 1)
    assert np.isfinite(there.values).all()
    assert there.values[0, 0, 0].any()
    assert not there.values[0, 1:].any()


def test_a_unit_that_stays_the_same_passes_its_gradient_on() -> None:
    pixels = np.array([1.0, -1.0]).reshape(1, 2, 1, 1)  # relu(x1 - x2 + 1)
    layers = {"conv": Conv(pixels, np.ones(1)), "relu": Relu(), "gap": GlobalAverage()}
    model = wrap(Network({**layers, "dense": Dense(np.ones((1, 1)), np.zeros(1))}), channels="L")
    found = DeepLift()(model, np.full((1, 1, 2, 1), 0.5), only)
    np.testing.assert_allclose(found.values.ravel(), [0.5, -0.5], rtol=1e-12)


@pytest.mark.parametrize("space", ["score", "probability"])
def test_the_first_answer_of_the_image_is_asked_of_its_baseline(space: Any) -> None:
    model = wrap(double(deep_network()))
    found = DeepLift()(model, X, ClassScore(space=space))
    first = found.output.argmax(axis=1)
    assert len({*first}) > 1
    named = DeepLift()(model, X, ClassScore(tuple(map(int, first)), space))
    np.testing.assert_array_equal(found.values, named.values)
    np.testing.assert_array_equal(found.extras["delta"], named.extras["delta"])
    (asked,) = {tuple(each.provenance.targets) for each in (found, named)}
    assert asked == tuple(f"class {i}" for i in first)


def test_a_named_class_takes_one_pass() -> None:
    model, programs = wrap(double(deep_network())), []
    compiled = model.compile
    model.compile = lambda program, static: programs.append(program.__name__) or compiled(program, static)  # type: ignore[method-assign]
    DeepLift()(model, X, 1)
    assert programs == ["_rescale_program"]
    DeepLift()(model, X)
    assert programs == ["_rescale_program", "_rescale_program", "score_program"]


def test_what_counts_for_nothing_gets_exactly_nothing() -> None:
    found = DeepLift()(without_red(), X, 1)
    assert (found.values[..., 0] == 0).all()
    assert (found.values[..., 1:] != 0).any()


@pytest.mark.parametrize("batch_size", [1, 2, 4, 5, 100])
def test_chunks_make_no_difference_and_hold_an_image_and_its_baseline(batch_size: int) -> None:
    model, lengths = wrap(double(deep_network())), set()
    compiled = model.compile
    model.compile = lambda program, static: (  # type: ignore[method-assign]
        lambda images, *rest: lengths.add(len(images)) or compiled(program, static)(images, *rest)
    )
    found = DeepLift("blur")(model, X, 1, batch_size=batch_size)
    assert len(lengths) == 1
    assert lengths.pop() <= max(1, batch_size // 2)
    whole = DeepLift("blur")(wrap(double(deep_network())), X, 1)
    np.testing.assert_allclose(found.values, whole.values, rtol=1e-9, atol=1e-12)


def test_it_refuses_what_makes_no_sense() -> None:
    with pytest.raises(CapabilityError, match="none ran"):
        DeepLift()(wrap(linear_network()), X, 1)
    for options, message in (
        ({"baseline": "pink"}, "baseline='pink' is unknown"),
        ({"tolerance": 0}, "tolerance=0 must be a finite number above 0"),
    ):
        with pytest.raises(OptionError, match=message):
            DeepLift(**options)(rectified_model(), X)  # type: ignore[arg-type]
    assert replace(DeepLift(X[0]), tolerance=0.5) == DeepLift(X[0], 0.5)
