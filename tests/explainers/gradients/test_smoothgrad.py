"""SmoothGrad and its kin against moments taken by NumPy of the same noisy images."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agnoscope import CapabilityError, Explainer, GradCAM, Model, Occlusion, OptionError, Saliency, wrap
from agnoscope.explainers.gradients.integrated_gradients import IntegratedGradients
from agnoscope.explainers.gradients.smoothgrad import Moments, SmoothGrad, SmoothGradSquared, VarGrad
from agnoscope.testing import deep_network
from tests.explainers.gradients.closed_forms import TARGETS, X, double, linear_model, linear_weights

KINDS = [SmoothGrad, SmoothGradSquared, VarGrad]
MOMENTS: Any = {
    SmoothGrad: lambda values: values.mean(axis=0),
    SmoothGradSquared: lambda values: np.mean(values**2, axis=0),
    VarGrad: lambda values: values.var(axis=0),
}


def deep_model() -> Model:
    return wrap(double(deep_network()), bounds=(-9, 9))


def noisy(image: NDArray[Any], deviation: float, samples: int, seed: int = 0) -> NDArray[Any]:
    drawn = np.random.default_rng(seed).standard_normal((samples, *image.shape), dtype=np.float32)
    return image + deviation * drawn


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "wrapped", [Saliency(), GradCAM(), Occlusion(window=3), IntegratedGradients(steps=5)], ids=lambda each: each.name
)
def test_it_is_the_moment_of_the_wrapped_methods_values(kind: Any, wrapped: Explainer) -> None:
    found = kind(wrapped, samples=7, noise=0.2)(deep_model(), X, TARGETS)
    for image, values, target in zip(X, found.values, TARGETS, strict=True):
        each = wrapped(deep_model(), noisy(image, 0.2 * np.ptp(image), 7), target).values
        expected = MOMENTS[kind](each)
        np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())
    assert found.provenance.reduction == wrapped.reduction


def test_noise_may_be_given_in_units_of_the_bounds() -> None:
    found = SmoothGrad(samples=7, noise=0.3, absolute=True, seed=5)(deep_model(), X[0], 1)
    expected = Saliency()(deep_model(), noisy(X[0], 0.3, 7, 5), 1).values.mean(axis=0)
    np.testing.assert_allclose(found.values[0], expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


def test_noisy_images_are_not_cut_off_at_the_bounds() -> None:
    white = np.ones_like(X[:1])
    inside = wrap(double(deep_network()))  # whose bounds are (0, 1)
    found = SmoothGrad(noise=0.3, absolute=True)(inside, white, 1)
    np.testing.assert_allclose(found.values, SmoothGrad(noise=0.3, absolute=True)(deep_model(), white, 1).values)


@pytest.mark.parametrize(("kind", "power"), [(SmoothGrad, 1), (SmoothGradSquared, 2)])
def test_of_a_linear_score_noise_changes_nothing(kind: Any, power: int) -> None:
    np.testing.assert_allclose(kind()(linear_model(), X, TARGETS).values, linear_weights() ** power, rtol=1e-9)
    np.testing.assert_allclose(VarGrad()(linear_model(), X, TARGETS).values, 0, atol=1e-20)


def test_without_noise_it_is_the_method_itself() -> None:
    found = SmoothGrad(noise=0, samples=3)(deep_model(), X, 1)
    np.testing.assert_allclose(found.values, Saliency()(deep_model(), X, 1).values, rtol=1e-12)
    assert not VarGrad(noise=0, samples=3)(deep_model(), X, 1).values.any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_size", [1, 3, 4, 7])
def test_chunks_make_no_difference_and_no_image_sees_another(kind: Any, batch_size: int) -> None:
    method = kind(samples=10)
    whole = method(deep_model(), X, 1)
    np.testing.assert_allclose(method(deep_model(), X, 1, batch_size=batch_size).values, whole.values, rtol=1e-8)
    np.testing.assert_array_equal(method(deep_model(), X[1], 1).values[0], whole.values[1])


def test_never_more_than_a_batch_goes_through_at_once() -> None:
    model, lengths = deep_model(), set()
    compiled = model.compile
    model.compile = lambda program, static: (  # type: ignore[method-assign]
        lambda images, *rest: lengths.add(len(images)) or compiled(program, static)(images, *rest)
    )
    SmoothGrad(samples=10)(model, X, 1, batch_size=4)
    assert lengths == {1, 4}  # the clean image, and chunks of one length


def test_the_first_answer_of_the_clean_image_is_asked_for() -> None:
    method = SmoothGrad(noise=3.0, absolute=True, samples=20)  # so much that answers change
    found = method(deep_model(), X)
    first = found.output.argmax(axis=1)
    assert (Saliency()(deep_model(), noisy(X[0], 3.0, 20).clip(-9, 9)).output.argmax(axis=1) != first[0]).any()
    np.testing.assert_array_equal(found.values, method(deep_model(), X, first).values)
    np.testing.assert_allclose(found.provenance.scores, found.output.max(axis=1))


def test_seeds_draw_and_are_told() -> None:
    found = [SmoothGrad(samples=5, seed=seed)(deep_model(), X, 1) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(found[0].values, found[1].values)
    assert (found[0].values != found[2].values).any()
    assert found[2].provenance.seed == 1


def test_the_wrapped_method_keeps_its_choices_its_words_and_its_needs() -> None:
    found = SmoothGrad("grad-cam", samples=2)(deep_model(), X, 1).provenance
    assert found.options["explainer"].items() >= {"method": "grad-cam", "layer": "relu2", "upsample": True}.items()
    assert found.layer == "relu2"
    coarse = SmoothGrad(IntegratedGradients(steps=2, most=2, tolerance=1e-9), samples=3)(deep_model(), X, 1)
    assert len(coarse.provenance.warnings) == 1
    blind = deep_model()
    blind.can = frozenset()
    with pytest.raises(CapabilityError, match="smoothgrad needs 'gradient'"):
        SmoothGrad()(blind, X, 1)
    assert SmoothGrad("occlusion", samples=2)(blind, X, 1).values.shape == X.shape[:3]


def test_moments_do_not_lose_a_small_variance_beside_a_large_mean() -> None:
    numbers = 1e9 + np.random.default_rng(0).normal(size=(60, 4))
    moments = Moments()
    for part in np.split(numbers, [1, 20, 33]):
        moments.add(part)
    np.testing.assert_allclose(moments.mean, numbers.mean(axis=0), rtol=1e-15)
    np.testing.assert_allclose(moments.variance, numbers.var(axis=0), rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "samples=0 must be a whole number, at least 1"),
        ({"samples": 2.5}, r"samples=2\.5 must be"),
        ({"noise": -0.1}, r"noise=-0\.1 must be a finite number from 0 on"),
        ({"noise": np.nan}, "noise=nan must be"),
        ({"noise": "loud"}, "noise='loud' must be"),
        ({"explainer": 3}, "A int is no explainer"),
        ({"explainer": "saliensy"}, "'saliency'"),
        ({"explainer": Occlusion(window=50)}, "larger than the image"),
    ],
)
def test_it_refuses_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        SmoothGrad(**options)(deep_model(), X)
