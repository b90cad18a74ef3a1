"""Aligned images: a common part that is the same, or changes evenly, and a mixture that is the base's own image."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import agnoscope as ag
from agnoscope.errors import OptionError
from agnoscope.explainers.synthesis.feature_visualization import FeatureVisualization
from agnoscope.explainers.synthesis.series import channels, interpolated
from agnoscope.optimisation.canvas import Canvas
from agnoscope.optimisation.parameterisations.aligned import Aligned
from agnoscope.optimisation.parameterisations.base import Parameterisation
from agnoscope.optimisation.parameterisations.cppn import CPPN
from agnoscope.optimisation.parameterisations.fixed_magnitude import FixedMagnitude
from agnoscope.optimisation.parameterisations.fourier import Fourier
from agnoscope.optimisation.parameterisations.pixels import Pixels
from agnoscope.optimisation.parameterisations.pyramid import Pyramid
from agnoscope.trees import mapped
from tests.explainers.synthesis.frameworks import OTHERS, STEPS, assert_frameworks_agree, demo, layer
from tests.optimisation.parameterisations.programs import generators, gradient, images, leaf, moved, paths
from tests.optimisation.parameterisations.test_each import FRAMEWORKS, PACKAGES

CANVAS = Canvas((8, 9), bounds=(-1.0, 2.0), dtype="float64")
BASES = (Fourier(deviation=0.1), Pyramid(deviation=0.5), Pixels(deviation=0.1), CPPN(3, 8), FixedMagnitude())
each = pytest.mark.parametrize("base", BASES, ids=lambda base: base.name)


def stepped(aligned: Aligned, count: int, seed: int = 1) -> Any:
    """Parameters after a step that moved every number by itself."""
    random = np.random.default_rng(seed)
    start = aligned.start(CANVAS, generators(count))
    return aligned.kept(CANVAS, mapped(start, lambda a: a + 0.3 * random.normal(size=a.shape)))


@each
@pytest.mark.parametrize("gradual", [True, False])
def test_the_common_part_is_the_same_or_changes_evenly(base: Parameterisation, gradual: bool) -> None:
    aligned = Aligned(base, gradual=gradual)
    for parameters in (aligned.start(CANVAS, generators(4))["common"], stepped(aligned, 4)["common"]):
        for path in paths(parameters):
            change = np.diff(leaf(parameters, path), axis=0)
            np.testing.assert_allclose(change, change[:1].repeat(3, axis=0), atol=1e-12)
            assert (np.abs(change).max() < 1e-12) or gradual
    assert gradual == any(np.abs(np.diff(leaf(parameters, path), axis=0)).max() > 1e-3 for path in paths(parameters))


def test_it_is_what_is_nearest_to_the_images_own_steps() -> None:
    start = Aligned(gradual=False).start(CANVAS, generators(3))
    steps = np.random.default_rng(2).normal(size=start["common"]["spectrum"].shape)
    common = {"spectrum": start["common"]["spectrum"] + steps}
    kept = Aligned(gradual=False).kept(CANVAS, {**start, "common": common})["common"]["spectrum"]
    np.testing.assert_allclose(kept[1], common["spectrum"].mean(axis=0))
    # A straight line through (0, a), (1, b) and (2, c) goes through their mean, with the slope (c - a) / 2.
    kept = Aligned().kept(CANVAS, {**start, "common": common})["common"]["spectrum"]
    np.testing.assert_allclose(kept[1], common["spectrum"].mean(axis=0))
    np.testing.assert_allclose(kept[2] - kept[1], (common["spectrum"][2] - common["spectrum"][0]) / 2)


@each
def test_images_are_the_bases_of_the_mixture(base: Parameterisation) -> None:
    aligned = Aligned(base, share=0.75)
    parameters = stepped(aligned, 3)
    mixture = {
        path: 0.25 * leaf(parameters["own"], path) + 0.75 * leaf(parameters["common"], path)
        for path in paths(parameters["own"])
    }
    whole = parameters["own"]
    for path, array in mixture.items():
        whole = moved(whole, path, (), array - leaf(whole, path))
    np.testing.assert_allclose(images(aligned, CANVAS, parameters), images(base, CANVAS, whole), atol=1e-9)


@each
def test_images_stay_within_the_bounds(base: Parameterisation) -> None:
    aligned = Aligned(base)
    far = aligned.kept(CANVAS, mapped(aligned.start(CANVAS, generators(3)), lambda a: a * 30))
    made = images(aligned, CANVAS, far)
    assert (made.min() >= -1 - 1e-9, made.max() <= 2 + 1e-9) == (True, True)


@pytest.mark.parametrize("base", BASES[:3], ids=lambda base: base.name)
def test_parameters_of_images_stand_for_these_images(base: Parameterisation) -> None:
    wanted = np.random.default_rng(2).uniform(-0.9, 1.9, (3, *CANVAS.size, 3))
    parameters = Aligned(base).of(CANVAS, wanted)
    np.testing.assert_allclose(images(Aligned(base), CANVAS, parameters), wanted, atol=1e-9)
    np.testing.assert_allclose(images(Aligned(base), CANVAS, Aligned(base).kept(CANVAS, parameters)), wanted, atol=1e-9)


@each
def test_gradients_are_difference_quotients(base: Parameterisation) -> None:
    aligned, random = Aligned(base), np.random.default_rng(3)
    parameters = stepped(aligned, 2)
    weights = random.normal(size=(2, *CANVAS.size, 3))
    slopes = gradient(aligned, CANVAS, parameters, weights)
    for path in paths(parameters):
        place = tuple(random.integers(leaf(parameters, path).shape))
        ahead, behind = (
            (images(aligned, CANVAS, moved(parameters, path, place, step)) * weights).sum() for step in (1e-5, -1e-5)
        )
        assert leaf(slopes, path)[place] == pytest.approx((ahead - behind) / 2e-5, rel=1e-5, abs=1e-6)


@each
@pytest.mark.parametrize("backend", FRAMEWORKS)
def test_frameworks_make_the_same_images(base: Parameterisation, backend: str) -> None:
    pytest.importorskip(PACKAGES[backend])
    canvas = Canvas((32, 27), bounds=(-1.0, 1.0))
    parameters = Aligned(base).start(canvas, generators(3))
    one, other = (images(Aligned(base), canvas, parameters, demo(name)) for name in ("reference", backend))
    np.testing.assert_allclose(other, one, atol=2e-6 * canvas.span, rtol=0)


@pytest.mark.torch
@pytest.mark.parametrize("framework", OTHERS)
def test_frameworks_agree_on_the_way_between_channels(framework: str) -> None:
    def asked(model: ag.Model) -> tuple[Any, ...]:
        one, other = channels(layer(model, "layer2.1"), 2)
        return (interpolated(one, other, 3),)

    assert_frameworks_agree(FeatureVisualization(iterations=STEPS, parameterisation=Aligned()), asked, framework)


@pytest.mark.torch
def test_neighbours_on_the_way_lie_in_the_same_places_and_lose_nothing() -> None:
    model, way = demo("torch"), interpolated(ag.ClassScore("ball"), ag.ClassScore("crate"), 5)
    apart, together = (
        FeatureVisualization(64, parameterisation=each)(model, way, batch_size=2) for each in (Fourier(), Aligned())
    )
    alike = [np.mean(_correlations(each.images)) for each in (apart, together)]
    assert alike[0] < 0.4
    assert alike[1] > 0.8
    assert together.history[-10:].mean() > 0.9 * apart.history[-10:].mean()


def _correlations(made: np.ndarray) -> list[float]:
    """Between each image and the next one."""
    rows = made.reshape(len(made), -1)
    return [float(np.corrcoef(one, other)[0, 1]) for one, other in pairwise(rows)]


def test_one_image_has_all_in_common_with_itself() -> None:
    parameters = Aligned().start(CANVAS, generators(1))
    np.testing.assert_allclose(parameters["own"]["spectrum"], parameters["common"]["spectrum"])


@pytest.mark.parametrize("share", [0, 1, -0.5, "most"])
def test_the_share_lies_between_nothing_and_all(share: Any) -> None:
    with pytest.raises(OptionError, match="share"):
        Aligned(share=share)


def test_the_base_is_a_parameterisation() -> None:
    with pytest.raises(OptionError, match="base='fourier'"):
        Aligned("fourier")  # type: ignore[arg-type]
