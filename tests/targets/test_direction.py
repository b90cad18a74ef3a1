"""A direction: the inner product with a unit vector times a cosine to a power, over a map or at one place of it."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import agnoscope as ag
from agnoscope.errors import TargetError
from agnoscope.explainers.synthesis.feature_visualization import FeatureVisualization
from agnoscope.target import side_by_side
from agnoscope.targets.features import Direction
from agnoscope.targets.units import Channel, Neuron
from tests.explainers.synthesis.frameworks import OTHERS, STEPS, assert_frameworks_agree, layer
from tests.targets.asking import bind, scored, shown, sloped

PIXELS = np.array([[[[3.0, 4.0], [4.0, 3.0], [0.0, 0.0]], [[-3.0, 4.0], [3.0, -4.0], [0.0, 2.0]]]])
"""Inner products with (3, 4)/5: 5, 4.8 and 0, then 1.4, -1.4 and 1.6; lengths 5, 5, 0, 5, 5 and 2."""


def told(x: NDArray[Any], vector: NDArray[Any], power: float) -> NDArray[Any]:
    """By the published formula, for every place: x·v times the cosine, at least 0.1, to a power; v of length 1."""
    product = x @ (vector / np.linalg.norm(vector))
    return product * np.maximum(product / (np.linalg.norm(x, axis=-1) + 1e-300), 0.1) ** power


@pytest.mark.parametrize("length", [1.0, 5.0])
def test_by_hand(length: float) -> None:
    vector = length * np.array([3.0, 4.0])
    assert scored(shown(2), Direction("conv", vector), PIXELS) == pytest.approx([11.4 / 6])
    assert scored(shown(2), Direction("conv", vector, position=(0, 1)), PIXELS) == pytest.approx([4.8])
    assert scored(shown(2), Direction("conv", vector, 2.0, (1, 2)), PIXELS) == pytest.approx([1.6 * 0.8**2])
    # Neither turns a small cosine the product's sign, nor is it forgotten.
    assert scored(shown(2), Direction("conv", vector, 2.0, (1, 1)), PIXELS) == pytest.approx([-1.4 * 0.1**2])


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0, 4.0])
def test_the_published_formula(power: float) -> None:
    random = np.random.default_rng(0)
    x, vector = random.normal(size=(3, 5, 4, 6)), random.normal(size=6)
    expected = told(x, vector, power)
    np.testing.assert_allclose(
        scored(shown(6), Direction("conv", vector, power), x), expected.mean(axis=(1, 2)), rtol=1e-10
    )
    for place in ((0, 0), (4, 3), (1, 2)):
        found = scored(shown(6), Direction("conv", vector, power, place), x)
        np.testing.assert_allclose(found, expected[:, *place], rtol=1e-10)
    centre = scored(shown(6), Direction("conv", vector, power, "centre"), x)
    np.testing.assert_allclose(centre, expected[:, 2, 2], rtol=1e-10)


@pytest.mark.parametrize("position", [None, (1, 0)])
def test_along_one_channel_it_is_that_channel(position: Any) -> None:
    x = np.random.default_rng(1).normal(size=(2, 3, 3, 4))
    unit = Channel("conv", 2) if position is None else Neuron("conv", 2, position)
    found = scored(shown(4), Direction("conv", [0, 0, 7, 0], position=position), x)
    np.testing.assert_allclose(found, scored(shown(4), unit, x), rtol=1e-12)


def test_gradients_are_difference_quotients_and_zero_elsewhere_on_the_map() -> None:
    x, model = np.random.default_rng(2).normal(size=(1, 2, 3, 4)), shown(4)
    target = Direction("conv", np.arange(4) + 1.0, 2.0, (1, 2))
    _, slope = sloped(model, target, x)
    for place in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[place] += 1e-6
        down[place] -= 1e-6
        assert slope[place] == pytest.approx((scored(model, target, up) - scored(model, target, down))[0] / 2e-6, 1e-6)
    assert np.argwhere(slope.any(axis=-1)).tolist() == [[0, 1, 2]]


def test_a_silent_place_has_a_finite_gradient() -> None:
    _, slope = sloped(shown(2), Direction("conv", [3, 4], 2.0), np.zeros((1, 2, 2, 2)))
    assert np.isfinite(slope).all()


def test_a_layer_without_a_map_has_no_places() -> None:
    x = np.random.default_rng(3).normal(size=(2, 3, 3, 4))
    model = shown(4, pooled=True)
    places = (None, "centre", (9, 9))
    found = [scored(model, Direction("gap", np.ones(4), position=place), x) for place in places]  # type: ignore[arg-type]
    np.testing.assert_array_equal(found, [found[0]] * 3)


@pytest.mark.torch
@pytest.mark.parametrize("framework", OTHERS)
def test_frameworks_agree_on_images_of_a_direction_at_a_place(framework: str) -> None:
    def asked(model: ag.Model) -> tuple[Any, ...]:
        name = layer(model, "layer2.1")
        vector = np.random.default_rng(4).normal(size=model.layer(name, model.spec.size).shape[-1])
        return ([Direction(name, vector, 2.0, place) for place in ((3, 5), "centre")],)

    assert_frameworks_agree(FeatureVisualization(iterations=STEPS), asked, framework)


def test_a_place_and_the_whole_map_of_one_layer_may_be_asked_for_together() -> None:
    x = np.random.default_rng(5).normal(size=(4, 3, 3, 4))
    asked = [
        Channel("conv", 1),
        Neuron("conv", 1),
        Direction("conv", [0, 1, 0, 0]),
        Direction("conv", [0, 1, 0, 0], position="centre"),
    ]
    for targets in (asked, asked[::-1], asked[:2] * 2, asked[2:] * 2):
        together = scored(shown(4), side_by_side(targets, shown(4), (3, 3)), x)
        alone = [scored(shown(4), target, x)[place] for place, target in enumerate(targets)]
        np.testing.assert_allclose(together, alone, rtol=1e-12)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (Direction("conv", [1, 2, 3]), r"shape \(3,\); layer 'conv' has 2 channels"),
        (Direction("conv", [0, 0]), "no direction"),
        (Direction("conv", [1, 2], -1), "power=-1"),
        (Direction("conv", [1, 2], position=(2, 0)), r"positions up to \(2, 3\); \(2, 0\) is not in it"),
        (Direction("conv", [1, 2], position="center"), "center is not in it"),  # type: ignore[arg-type]
    ],
)
def test_what_has_no_direction_or_place_is_refused(target: Direction, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        bind(shown(2), target, PIXELS)
