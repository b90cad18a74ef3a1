"""Options of a wrong kind are refused in words, whatever the command line or a notebook gives."""

from typing import Any

import numpy as np
import pytest

import agnoscope as ag
from agnoscope.explainers.fillings import several
from agnoscope.testing import deep_network, images

WRONG: list[Any] = [
    *(ag.BlurIG(steps="10"), ag.BlurIG(steps=2.5), ag.BlurIG(max_sigma="3")),  # type: ignore[arg-type]
    *(ag.GuidedIG(steps="5"), ag.GuidedIG(fraction="x"), ag.GuidedIG(max_dist=None)),  # type: ignore[arg-type]
    *(ag.DeepLift(tolerance=None), ag.LRP(epsilon=None), ag.LRP(gamma="x"), ag.LRP(rule=["epsilon"])),  # type: ignore[arg-type]
    *(ag.IntegratedGradients(tolerance="x"), ag.IntegratedGradients(most=0)),  # type: ignore[arg-type]
    *(ag.FullGrad(guard=-1.0), ag.GradCAMPlusPlus(guard=-1.0), ag.ScoreCAM(channels=True), ag.KernelSHAP(samples=2)),
    *(ag.SmoothGrad(seed=-1), ag.RISE(seed="x"), ag.RandomMap(seed=None)),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("explainer", WRONG, ids=repr)
def test_an_option_of_a_wrong_kind_is_refused(explainer: ag.Explainer) -> None:
    with pytest.raises(ag.OptionError):
        explainer(ag.wrap(deep_network()), images())


@pytest.mark.parametrize("batch_size", ["4", 2.5, True])
def test_so_is_a_batch_size(batch_size: Any) -> None:
    with pytest.raises(ag.OptionError, match="batch_size="):
        ag.Saliency()(ag.wrap(deep_network()), images(), batch_size=batch_size)


def test_one_layer_is_as_good_as_a_tuple_of_one() -> None:
    assert ag.SeveralLayers(layers="conv1") == ag.SeveralLayers(layers=("conv1",))  # type: ignore[arg-type]
    with pytest.raises(ag.OptionError, match="layers=3"):
        ag.SeveralLayers(layers=3)  # type: ignore[arg-type]


def test_a_colour_is_one_baseline_whatever_its_numbers_are_made_of() -> None:
    colour = (0.25, 0.5, 0.75)
    assert several(ag.IntegratedGradients(tuple(np.float32(colour))).baseline) == (colour,)  # type: ignore[arg-type]


def test_an_explainer_keeps_the_picture_that_it_was_given() -> None:
    picture = np.zeros((5, 7, 3))
    explainer = ag.IntegratedGradients(picture)
    before = hash(explainer)
    picture += 1
    assert hash(explainer) == before
