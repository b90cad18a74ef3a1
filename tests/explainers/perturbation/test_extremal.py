"""Extremal perturbation: its parts against loops over pixels, and whether it finds the only spot that counts."""

from typing import Any

import numpy as np
import pytest

from agnoscope import CapabilityError, OptionError, wrap
from agnoscope.backends.reference import Conv, GlobalAverage, Network
from agnoscope.backends.tape import xp
from agnoscope.explainers.fillings import blurred
from agnoscope.explainers.perturbation.extremal import (
    BELL,
    COLDNESS,
    ExtremalPerturbation,
    _largest,
    _perturbed,
    _smoothed,
    climb,
    pyramid,
)
from agnoscope.testing import deep_network, images

X = images()
SPOT = slice(4, 9), slice(11, 16)
PHOTO = np.random.default_rng(0).uniform(size=(20, 24, 3))


def spotted(weight: float = 1.0) -> Network:
    """Its score is the contrast within one spot of an image of 20 × 24 pixels: blurring takes it away."""
    kernel = np.zeros((20, 24, 3, 1))
    kernel[SPOT] = weight * np.sign(PHOTO[SPOT] - 0.5)[..., None]
    return Network({"conv": Conv(kernel, np.zeros(1)), "gap": GlobalAverage()})


@pytest.mark.parametrize("variant", ["preserve", "delete"])
def test_it_finds_the_spot_that_counts(variant: Any) -> None:
    area = 25 / 480
    found = ExtremalPerturbation(2 * area, variant, steps=60)(wrap(spotted()), PHOTO, 1)
    mask = found.values[0]
    assert mask[SPOT].mean() > 0.8
    assert mask.mean() == pytest.approx(2 * area, abs=0.03)
    clean, (perturbed,) = found.provenance.scores[0], found.extras["perturbed"][0]
    blurry = float((blurred(PHOTO, 20 * 20 / 224) * spotted().layers["conv"].kernel[..., 0]).sum())  # type: ignore[union-attr]
    kept = (perturbed - blurry) / (clean - blurry)
    assert kept > 0.8 if variant == "preserve" else kept < 0.2


def test_it_avoids_what_speaks_against() -> None:
    mask = ExtremalPerturbation(0.1, steps=60)(wrap(spotted(-1.0)), PHOTO, 1).values[0]
    assert mask[SPOT].mean() < 0.15


def test_the_area_is_what_was_asked_for_where_nothing_else_counts() -> None:
    flat = wrap(Network({"conv": Conv(np.zeros((1, 1, 3, 2)), np.zeros(2)), "gap": GlobalAverage()}))
    rising = lambda run: run["scores"][:, 0]  # noqa: E731
    for area in (0.1, 0.5, 0.9):
        found = ExtremalPerturbation(area, steps=100)(flat, PHOTO, rising)
        assert found.values.mean() == pytest.approx(area, abs=0.1)


def test_the_mask_is_the_largest_share_of_the_cells_and_ties_share() -> None:
    mask = np.array([[[0.9, 0.1, 0.4], [0.4, 0.4, 0.0]]])
    for area, expected in {
        1 / 6: [1, 0, 0, 0, 0, 0],
        2 / 6: [1, 0, 1 / 3, 1 / 3, 1 / 3, 0],
        2.5 / 6: [1, 0, 0.5, 0.5, 0.5, 0],
        4 / 6: [1, 0, 1, 1, 1, 0],
        0.99: [1, 1, 1, 1, 1, 0.94],
        0.01: [0.06, 0, 0, 0, 0, 0],
    }.items():
        found = _largest(xp, mask, np.array([6 * area]))
        np.testing.assert_allclose(found.ravel(), expected, atol=1e-9)
    np.testing.assert_allclose(_largest(xp, np.ones((1, 4, 5)), np.array([6.0])), 0.3)


def test_cells_are_smoothed_by_a_smooth_maximum() -> None:
    cells = np.random.default_rng(0).uniform(size=(2, 4, 6))

    def along(lines: Any) -> Any:
        """Every line by itself, and five places further at both ends."""
        count = lines.shape[1]
        found = np.empty((len(lines), count + 10))
        for i in range(count + 10):
            reached = lines * np.exp(-0.5 * ((np.arange(count) - (i - 5)) / BELL) ** 2)
            weights = np.exp(COLDNESS * reached)
            found[:, i] = (reached * weights).sum(axis=1) / weights.sum(axis=1)
        return found

    expected = [along(along(one.T).T) for one in cells]
    np.testing.assert_allclose(_smoothed(xp, cells), expected, rtol=1e-9)
    lone = np.zeros((1, 9, 9))
    lone[0, 4, 4] = 1
    smooth = _smoothed(xp, lone)[0]
    assert smooth.max() == smooth[9, 9] > 0.95
    assert smooth[9, 10] == pytest.approx(np.exp(-0.5 / BELL**2), abs=0.1)
    np.testing.assert_array_equal(_smoothed(xp, np.zeros((1, 3, 4))), np.zeros((1, 13, 14)))


def test_the_pyramid_goes_from_blurred_to_sharp_and_is_climbed_linearly() -> None:
    levels = pyramid(X[0])
    assert levels.shape == (8, *X[0].shape)
    np.testing.assert_array_equal(levels[-1], X[0])
    np.testing.assert_allclose(levels[0], blurred(X[0], 5 * 20 / 224), rtol=1e-6)
    contrast = levels.std(axis=(1, 2)).mean(axis=1)
    assert (np.diff(contrast) >= 0).all()
    assert contrast[-1] > 1.2 * contrast[0]
    for height in (0.0, 0.3, 0.5, 6 / 7, 1.0):
        mask = np.full((1, 15, 17), height)
        for variant, climbed in (("preserve", height), ("delete", 1 - height)):
            below = min(int(climbed * 7), 6)
            expected = levels[below] + (climbed * 7 - below) * (levels[below + 1] - levels[below])
            np.testing.assert_allclose(_perturbed(xp, mask, climb(levels)[None], variant)[0], expected, atol=1e-6)


def test_several_areas_are_the_mean_of_their_masks() -> None:
    model = wrap(deep_network())
    both = ExtremalPerturbation((0.2, 0.5), steps=5)(model, X, 1)
    each = [ExtremalPerturbation(area, steps=5)(model, X, 1) for area in (0.2, 0.5)]
    np.testing.assert_allclose(both.values, (each[0].values + each[1].values) / 2, atol=1e-5)
    assert both.extras["perturbed"].shape == (3, 2)
    np.testing.assert_allclose(both.extras["perturbed"][:, 1:], each[1].extras["perturbed"], rtol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 2, 4, 100])
def test_chunks_and_company_make_no_difference(batch_size: int) -> None:
    model, explainer = wrap(deep_network()), ExtremalPerturbation((0.2, 0.4), steps=4)
    seen: list[tuple[int, int]] = []
    whole = explainer(model, X, batch_size=batch_size, progress=lambda done, total: seen.append((done, total)))
    for i in range(3):
        np.testing.assert_allclose(explainer(model, X[i]).values[0], whole.values[i], atol=1e-5)
    done = [step for step, _ in seen]
    assert done == sorted(set(done))
    assert (done[0], seen[-1]) == (0, (24, 24))


def test_the_class_asked_for_stays_that_of_the_clean_image() -> None:
    spot: Any = spotted().layers["conv"]
    kernel = np.concatenate([spot.kernel, np.zeros_like(spot.kernel)], axis=-1)
    model = wrap(Network({"conv": Conv(kernel, np.array([0.0, 8.0])), "gap": GlobalAverage()}))
    first, named = (ExtremalPerturbation(0.1, "delete", steps=20)(model, PHOTO, target) for target in (None, 0))
    assert first.extras["perturbed"][0, 0] < 8 < first.provenance.scores[0]  # now the other class would be first
    np.testing.assert_array_equal(first.values, named.values)


def test_it_needs_gradients_and_says_what_cells_it_took() -> None:
    model = wrap(deep_network())
    assert ExtremalPerturbation(steps=1)(model, X).provenance.options["cell"] == 1
    assert "cell" in ExtremalPerturbation(steps=1)(model, X).provenance.automatic
    assert ExtremalPerturbation().settle(model, (224, 300)).cell == 7
    model.can = frozenset()
    with pytest.raises(CapabilityError, match="extremal-perturbation needs 'gradient'"):
        ExtremalPerturbation()(model, X)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"area": 0}, "area=0 must lie between 0 and 1"),
        ({"area": 1.0}, "area=1.0 must lie between"),
        ({"area": (0.1, 2)}, "area=2 must lie between"),
        ({"area": ()}, r"area=\(\) holds no area"),
        ({"area": "large"}, "area='large' must lie"),
        ({"variant": "keep"}, "variant='keep' is unknown: use 'preserve' or 'delete'"),
        ({"steps": 0}, "steps=0 must be a whole number, at least 1"),
        ({"cell": 0}, "cell=0 must be a whole number, at least 1"),
        ({"cell": 6}, r"cell=6 is more than the image \(5, 7\) has pixels"),
    ],
)
def test_it_refuses_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        ExtremalPerturbation(**options)(wrap(deep_network()), X)
