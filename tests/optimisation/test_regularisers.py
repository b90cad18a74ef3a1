"""Penalties: closed forms, the same in every framework, and gradients by difference quotients."""

from collections.abc import Mapping
from typing import Any

import array_api_compat.numpy as xp
import numpy as np
import pytest
from numpy.typing import NDArray

import agnoscope as ag
from agnoscope.errors import LayerError, OptionError
from agnoscope.explainers.synthesis.feature_visualization import FeatureVisualization
from agnoscope.model import Model
from agnoscope.optimisation.canvas import Canvas
from agnoscope.optimisation.parameterisations.pixels import Pixels
from agnoscope.optimisation.regularisers import L1, L2, Diversity, Penalty, PNorm, Spectrum, TotalVariation
from agnoscope.targets.features import features_of, gram_matrix
from tests.explainers.synthesis.frameworks import demo, demo64
from tests.frameworks import FRAMEWORKS

CANVAS = Canvas((6, 8), 3, (-2.0, 6.0), "float64")
ALL = [
    L1(),
    L2(),
    PNorm(),
    PNorm(exponent=1.0),
    TotalVariation(),
    TotalVariation(exponent=2.5),
    Spectrum(),
    Spectrum(power=1.0),
]


def measured(penalty: Penalty, images: NDArray[Any], canvas: Canvas = CANVAS, **values: Any) -> NDArray[Any]:
    return penalty(xp, canvas, images, values)


def drawn(count: int = 2, dtype: str = "float64") -> NDArray[Any]:
    return np.random.default_rng(0).uniform(-2, 6, (count, 6, 8, 3)).astype(dtype)


@pytest.mark.parametrize(("penalty", "power"), [(L1(), 1), (L2(), 2), (PNorm(), 6), (PNorm(exponent=2.5), 2.5)])
def test_norms_are_powers_of_the_distance_from_gray_in_half_spans(penalty: Penalty, power: float) -> None:
    images = np.stack([np.full((6, 8, 3), 2.0), np.full((6, 8, 3), 5.0), np.full((6, 8, 3), -2.0)])
    np.testing.assert_allclose(measured(penalty, images), [0, 0.75**power, 1], rtol=1e-12)
    images[1, :3] = 2.0
    np.testing.assert_allclose(measured(penalty, images)[1], 0.75**power / 2, rtol=1e-12)


@pytest.mark.parametrize("exponent", [1.0, 2.0])
def test_total_variation_adds_up_the_steps_between_neighbours(exponent: float) -> None:
    images = np.full((3, 6, 8, 3), -2.0)
    images[1, :, 4:] = 6.0  # one edge from top to bottom, 6 pixels long
    images[2, 2, 3, 0] = 2.0  # a dot of one channel has four edges of half the height
    expected = [0, 6 * 3 * 2**exponent / (6 * 8 * 3), 4 / (6 * 8 * 3)]
    np.testing.assert_allclose(measured(TotalVariation(exponent=exponent), images), expected)


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_the_spectrum_of_a_wave_costs_its_power_times_its_frequency(power: float) -> None:
    rows, columns = np.arange(6)[:, None, None], np.arange(8)[None, :, None]
    slow, fast = np.cos(2 * np.pi * columns / 8 + 0.3), (-1.0) ** rows * np.ones_like(columns)
    waves = [0, slow, fast, slow * fast]
    images = 2 + 4 * np.stack([np.broadcast_to(0.5 * wave, (6, 8, 3)) for wave in waves])
    expected = [0, 0.125 * 0.25**power, 0.25, 0.125 * np.hypot(1, 0.25) ** power]
    np.testing.assert_allclose(measured(Spectrum(power=power), images), expected, atol=1e-12)


@pytest.mark.parametrize("penalty", ALL, ids=repr)
def test_gradients_are_difference_quotients(penalty: Penalty) -> None:
    images = drawn()
    direction = np.random.default_rng(1).normal(size=images.shape)
    ahead, behind = (measured(penalty, images + sign * 1e-6 * direction) for sign in (1, -1))
    slope = sloped(demo64(), penalty, images)["gradient"]
    np.testing.assert_allclose((slope * direction).sum(axis=(1, 2, 3)), (ahead - behind) / 2e-6, rtol=1e-6)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("penalty", ALL, ids=repr)
def test_frameworks_agree(penalty: Penalty, framework: str) -> None:
    images = drawn(dtype="float32")
    images[1, :3] = 2.0  # gray, flat: where powers and signs have no slope
    found, expected = sloped(demo(framework), penalty, images), sloped(demo(), penalty, images)
    for name in ("value", "gradient"):
        np.testing.assert_allclose(found[name], expected[name], atol=1e-6 * np.abs(expected[name]).max(), err_msg=name)
        assert found[name].dtype == np.float32


def sloped(model: Model, penalty: Penalty, images: NDArray[Any]) -> dict[str, Any]:
    return model.compile(_sloped, penalty)({"images": images})


def _sloped(model: Model, penalty: Penalty, given: Mapping[str, Any]) -> dict[str, Any]:
    def total(tree: Mapping[str, Any]) -> Any:
        images = tree["images"]
        values = {"layer": images[:, :, :, :2] ** 2} if penalty.needs else {}
        found = penalty(model.xp, CANVAS, images, values)
        return model.xp.sum(found), {"value": found}

    (_, found), gradient = model.value_and_grad(total)(given)
    return {**found, "gradient": gradient["images"]}


# -- diversity ---------------------------------------------------------------------------------------------------------


def test_diversity_is_the_mean_cosine_between_gram_matrices() -> None:
    one, other = np.zeros((2, 2, 4)), np.zeros((2, 2, 4))
    one[..., 0], other[..., 1] = 3.0, 7.0
    found = measured(Diversity(layer="layer"), drawn(3), layer=np.stack([one, one, other]))
    np.testing.assert_allclose(found, [0.5, 0.5, 0])
    half = measured(Diversity(layer="layer"), drawn(), layer=np.stack([one + other, one]))
    # (9, 21, 21, 49) against (9, 0, 0, 0).
    np.testing.assert_allclose(half, 9 / np.linalg.norm([9, 21, 21, 49]))


def test_the_views_of_an_image_count_together() -> None:
    one, other = np.zeros((2, 2, 4)), np.zeros((2, 2, 4))
    one[..., 0], other[..., 1] = 1.0, 1.0
    seen = np.stack([one, other, one, one])  # two views of each of two images
    np.testing.assert_allclose(measured(Diversity(layer="layer"), drawn(), layer=seen), np.sqrt(0.5))


def test_alone_or_silent_nothing_is_alike() -> None:
    np.testing.assert_array_equal(measured(Diversity(layer="layer"), drawn(1), layer=np.ones((1, 2, 2, 4))), [0])
    silent = np.stack([np.zeros((2, 2, 4)), np.ones((2, 2, 4))])
    np.testing.assert_array_equal(measured(Diversity(layer="layer"), drawn(), layer=silent), [0, 0])


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_frameworks_agree_on_diversity_and_its_gradient(framework: str) -> None:
    images = drawn(3, "float32")
    images[2] = 0  # a silent one
    penalty = Diversity(layer="layer")
    found, expected = sloped(demo(framework), penalty, images), sloped(demo(), penalty, images)
    np.testing.assert_allclose(found["value"], expected["value"], atol=1e-6)
    np.testing.assert_allclose(found["gradient"], expected["gradient"], atol=1e-6)
    assert np.abs(expected["gradient"]).max() > 1e-3


def test_images_grow_apart_whatever_the_batches() -> None:
    def made(batch_size: int, *penalties: Penalty) -> Any:
        method = FeatureVisualization(iterations=25, views=None, penalties=penalties)
        return method(demo(), [ag.Channel("relu2", 3)] * 3, batch_size=batch_size).images

    def alike(images: NDArray[Any]) -> float:
        grams = gram_matrix(xp, features_of(demo(), images, ("relu2",))["relu2"]).reshape(3, -1)
        grams /= np.linalg.norm(grams, axis=1, keepdims=True)
        return float((grams @ grams.T)[np.triu_indices(3, 1)].mean())

    plain, diverse = made(4), made(4, Diversity(20.0, layer="relu2"))
    assert alike(diverse) < alike(plain) - 0.1
    np.testing.assert_array_equal(made(1, Diversity(20.0, layer="relu2")), diverse)


def test_a_layer_that_is_not_there_is_refused() -> None:
    with pytest.raises(LayerError, match="relu9"):
        FeatureVisualization(penalties=(Diversity(layer="relu9"),)).begin(demo(), "ball")


# -- in a run ----------------------------------------------------------------------------------------------------------


def test_the_objective_is_the_score_less_the_weighted_penalties() -> None:
    method = FeatureVisualization(iterations=1, views=None, parameterisation=Pixels(0.2), penalties=(L2(3.0), L1(-0.5)))
    (state,) = method.steps(demo(), "ball")
    canvas = Canvas.of(demo(), state.images.shape[1:3])
    expected = state.score - 3 * measured(L2(), state.images, canvas) + 0.5 * measured(L1(), state.images, canvas)
    np.testing.assert_allclose(state.objective, expected, rtol=1e-5)
    assert abs(state.objective - state.score) > 0.01


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: L2(float("inf")), "weight"),
        (lambda: L2("much"), "weight"),
        (lambda: PNorm(exponent=0.5), "exponent"),
        (lambda: TotalVariation(exponent=0), "exponent"),
        (lambda: Spectrum(power=-1), "power"),
    ],
)
def test_wrong_options_are_refused(make: Any, told: str) -> None:
    with pytest.raises(OptionError, match=told):
        make()
