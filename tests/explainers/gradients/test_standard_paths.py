"""Paths that bend, blur IG and guided IG, use the array API standard and nothing else."""

import numpy as np
import pytest

from agnoscope import Explainer, wrap
from agnoscope.explainers.gradients.blur_ig import BlurIG
from agnoscope.explainers.gradients.guided_ig import GuidedIG
from tests.strict import OPTIONS, StrictModel
from tests.test_standard import X, network


@pytest.mark.parametrize("explainer", [BlurIG(steps=3), GuidedIG(steps=3)], ids=lambda explainer: explainer.name)
def test_they_keep_to_the_standard(explainer: Explainer) -> None:
    strict, oracle = (explainer(model, X) for model in (StrictModel(network()), wrap(network(), **OPTIONS)))
    assert np.abs(oracle.values).max() > 0
    np.testing.assert_allclose(strict.values, oracle.values, rtol=1e-5, atol=1e-6 * np.abs(oracle.values).max())
    np.testing.assert_allclose(strict.extras["delta"], oracle.extras["delta"], atol=1e-6)
