"""Integrated gradients against closed forms, and its axioms: completeness, dummy, implementation invariance."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agnoscope import Explainer, Explanation, LayerError, Model, OptionError, Saliency, wrap
from agnoscope.explainers.gradients.expected_gradients import ExpectedGradients
from agnoscope.explainers.gradients.input_x_gradient import InputXGradient
from agnoscope.explainers.gradients.integrated_gradients import RULES, IntegratedGradients
from agnoscope.testing import deep_network, rectified_network
from tests.explainers.gradients.closed_forms import (
    PAIR,
    SATURATED,
    TARGETS,
    X,
    double,
    equal_models,
    linear_model,
    linear_weights,
    only,
    pair_model,
    product,
    rectified_model,
    rectified_path,
    saturated_model,
    without_red,
)

EXACT = [rule for rule in RULES if rule != "captum-trapezoid"]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("steps", [2, 7, 50])
def test_weights_add_up_to_one_and_captums_do_not(rule: str, steps: int) -> None:
    nodes, weights = RULES[rule](steps)
    assert len(nodes) == len(weights) == steps
    assert ((nodes >= 0) & (nodes <= 1) & (np.diff(nodes, prepend=-1) > 0)).all()
    np.testing.assert_allclose(weights.sum(), 1 if rule in EXACT else 1 - 1 / steps, rtol=1e-12)


def test_rules_have_their_textbook_order() -> None:
    def integral(rule: str, power: int) -> float:
        nodes, weights = RULES[rule](4)
        return float(weights @ nodes**power) * (power + 1)  # 1 where it is exact

    assert [integral("gauss-legendre", power) for power in range(8)] == pytest.approx([1] * 8)
    assert [integral("left", 1), integral("right", 1)] == pytest.approx([0.75, 1.25])
    for rule in ("middle", "trapezoid"):
        assert integral(rule, 1) == pytest.approx(1)
        assert integral(rule, 2) != pytest.approx(1)


@pytest.mark.parametrize("rule", EXACT)
@pytest.mark.parametrize(
    ("baseline", "mean"), [("black", 0.0), ("white", 1.0), ("gray", 0.5), ((0.2, 0.4, 0.9), (0.2, 0.4, 0.9))]
)
def test_of_a_linear_score_it_is_weight_times_change(rule: Any, baseline: Any, mean: Any) -> None:
    found = IntegratedGradients(baseline, rule=rule, steps=5)(linear_model(), X, TARGETS)
    np.testing.assert_allclose(found.values, linear_weights() * (X - mean), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.extras["delta"], 0, atol=1e-10)
    np.testing.assert_array_equal(found.extras["steps"], 5)


def test_captums_trapezoid_loses_a_share() -> None:
    found = IntegratedGradients(rule="captum-trapezoid", steps=10, tolerance=None)(linear_model(), X, TARGETS)
    np.testing.assert_allclose(found.values, 0.9 * linear_weights() * X, rtol=1e-9)
    np.testing.assert_allclose(found.extras["delta"], -0.1 * (linear_weights() * X).sum(axis=(1, 2, 3)), rtol=1e-9)


def test_of_a_product_each_factor_gets_one_half() -> None:
    found = IntegratedGradients()(pair_model(), PAIR, product)
    np.testing.assert_allclose(found.values.ravel(), [0.75, 0.75], rtol=1e-12)


def test_a_saturated_score_still_has_its_cause() -> None:
    assert Saliency()(saturated_model(), SATURATED, only).values.item() == 0
    found = IntegratedGradients(tolerance=1e-5, rule="middle", most=10**5)(saturated_model(), SATURATED, only)
    assert found.values.item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("baseline", [0.0, 0.3])
def test_a_gate_counts_for_the_share_of_the_way_that_it_is_open(baseline: float) -> None:
    found = IntegratedGradients(baseline, steps=2000, rule="middle", tolerance=None)(rectified_model(), X, 1)
    expected = rectified_path(X, baseline, 1)
    np.testing.assert_allclose(found.values, expected, atol=2e-3 * np.abs(expected).max())


def missed(found: Explanation, model: Model) -> NDArray[Any]:
    """By which share of the rise from black the values miss it."""
    rise = np.array(found.provenance.scores) - Saliency()(model, np.zeros_like(X[0]), 1).provenance.scores[0]
    return (found.values.sum(axis=(1, 2, 3), dtype=np.float64) - rise) / rise


def test_steps_are_doubled_until_the_values_add_up() -> None:
    model = wrap(double(deep_network()))
    once = IntegratedGradients(tolerance=None, rule="left", steps=3)(model, X, 1)
    assert (np.abs(missed(once, model)) > 0.01).any()
    np.testing.assert_array_equal(once.extras["steps"], 3)
    found = IntegratedGradients(rule="left", steps=3)(model, X, 1)
    assert (np.abs(missed(found, model)) <= 0.01).all()
    assert found.extras["steps"].max() > 3
    assert found.provenance.warnings == ()
    for i, steps in enumerate(found.extras["steps"]):
        assert steps in {3 * 2**n for n in range(8)}
        half = IntegratedGradients(rule="left", tolerance=None, steps=max(1, int(steps) // 2))(model, X[i], 1)
        assert steps == 3 or np.abs(missed(half, model)) > 0.01  # it stops as soon as it may


def test_they_add_up_to_six_digits_if_that_is_wanted() -> None:
    small, model = X[:1, :1, :2], rectified_model()
    method = IntegratedGradients(tolerance=1e-6, rule="middle", steps=2**10, most=2**19)
    found = method(model, small, 1, batch_size=2**14)
    expected = rectified_path(small, 0.0, 1)
    np.testing.assert_allclose(found.values.sum(), expected.sum(), rtol=1e-6)
    np.testing.assert_allclose(found.values, expected, atol=1e-4 * np.abs(expected).max())
    assert found.provenance.warnings == ()


def test_what_does_not_add_up_is_told_once() -> None:
    model = wrap(double(deep_network()))
    found = IntegratedGradients(rule="left", tolerance=1e-5, steps=10, most=25)(model, X, 1)
    np.testing.assert_array_equal(found.extras["steps"], 25)
    (words,) = found.provenance.warnings
    assert words.startswith("With 25 steps integrated gradients miss the score's rise by more than 1e-05 of it")
    assert words.endswith("most=50.")


def test_delta_is_what_is_too_much() -> None:
    model = wrap(double(deep_network()))
    found = IntegratedGradients(tolerance=None, steps=3)(model, X, 1)
    rise = np.array(found.provenance.scores) - Saliency()(model, np.zeros_like(X[0]), 1).provenance.scores[0]
    np.testing.assert_allclose(found.extras["delta"], missed(found, model) * rise, rtol=1e-9)
    assert np.abs(found.extras["delta"]).min() > 1e-6


def test_several_baselines_are_averaged() -> None:
    model, picture = wrap(double(deep_network())), X[1] / 2
    parts = [IntegratedGradients(each, tolerance=None)(model, X, 1) for each in ("black", "blur", picture)]
    found = IntegratedGradients(("black", "blur", picture), tolerance=None)(model, X, 1)
    np.testing.assert_allclose(found.values, np.mean([part.values for part in parts], axis=0), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.extras["delta"], np.mean([part.extras["delta"] for part in parts], axis=0))


def test_a_path_within_a_layer() -> None:
    model = rectified_model()
    found = IntegratedGradients(layer="relu", tolerance=None, steps=3)(model, X, 1)
    layers = double(rectified_network()).layers
    z = X @ layers["conv"].kernel[0, 0] + layers["conv"].bias
    change = np.maximum(z, 0) - np.maximum(layers["conv"].bias, 0)
    slope = layers["dense"].kernel[:, 1] / 35
    np.testing.assert_allclose(found.values, change * slope, rtol=1e-9)  # beyond the layer all is linear
    np.testing.assert_allclose(found.extras["delta"], 0, atol=1e-10)
    assert found.provenance.layer == "relu"
    with pytest.raises(LayerError, match="no layer 'reluu'"):
        IntegratedGradients(layer="reluu")(model, X, 1)


def test_what_counts_for_nothing_gets_exactly_nothing() -> None:
    found = IntegratedGradients()(without_red(), X, 1)
    assert (found.values[..., 0] == 0).all()
    assert (found.values[..., 1:] != 0).any()
    black = X.copy()
    black[:, 2:] = 0
    assert (IntegratedGradients()(rectified_model(), black, 1).values[:, 2:] == 0).all()


@pytest.mark.parametrize("method", [IntegratedGradients(), InputXGradient(), ExpectedGradients()], ids=repr)
def test_equal_functions_get_equal_values(method: Explainer) -> None:
    one, other = equal_models()
    np.testing.assert_allclose(method(one, X, 1).values, method(other, X, 1).values, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_chunks_make_no_difference_and_keep_their_length_when_steps_double(batch_size: int) -> None:
    model = wrap(double(deep_network()))
    lengths = set()
    compiled = model.compile

    def watched(program: Any, static: Any) -> Any:
        run = compiled(program, static)
        return lambda *trees: (program.__name__ == "_slopes_program" and lengths.add(len(trees[5]))) or run(*trees)

    model.compile = watched  # type: ignore[method-assign]
    method = IntegratedGradients(tolerance=1e-3, steps=10, most=80)
    found = method(model, X, 1, batch_size=batch_size)
    assert len(lengths) == 1
    assert found.extras["steps"].max() > 10
    whole = method(wrap(double(deep_network())), X, 1)
    np.testing.assert_allclose(found.values, whole.values, rtol=1e-9, atol=1e-12)


def test_the_first_answer_is_asked_for_all_along_the_path() -> None:
    model = wrap(double(deep_network()))
    found = IntegratedGradients()(model, X)
    first = found.output.argmax(axis=1)
    assert len({*first}) > 1
    np.testing.assert_array_equal(found.values, IntegratedGradients()(model, X, first).values)


def test_progress_counts_the_points() -> None:
    seen: list[tuple[int, int]] = []
    method = IntegratedGradients(("black", "white"), steps=10, tolerance=1e-9, most=40)
    method(wrap(double(deep_network())), X[:2], 1, batch_size=5, progress=lambda *step: seen.append(step))
    assert seen == [(done, 280) for done in range(0, 281, 5)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": "simpson"}, "rule='simpson' is unknown: use 'gauss-legendre', 'left'"),
        ({"steps": 0}, "steps=0 must be a whole number, at least 1"),
        ({"steps": 1, "rule": "trapezoid"}, "steps=1 must be a whole number, at least 2"),
        ({"steps": 2.5}, r"steps=2\.5 must be"),
        ({"most": "all"}, "most='all' must be a whole number"),
        ({"tolerance": 0}, "tolerance=0 must be a finite number above 0"),
        ({"baseline": "pink"}, "baseline='pink' is unknown"),
        ({"baseline": ("black", 2.0)}, r"baseline=2\.0 holds values"),
    ],
)
def test_it_refuses_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        IntegratedGradients(**options)(rectified_model(), X)
