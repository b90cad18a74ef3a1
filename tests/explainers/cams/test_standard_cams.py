"""Class activation maps use the array API standard and nothing else, so that any backend can run them."""

import numpy as np
import pytest

import agnoscope as ag
from tests.explainers.cams.test_cams import ALL
from tests.strict import OPTIONS, StrictModel
from tests.test_standard import TARGETS, X, network


@pytest.mark.parametrize("explainer", ALL, ids=lambda explainer: explainer.name)
@pytest.mark.parametrize("target", [TARGETS["first answer"], TARGETS["one each"]], ids=["first answer", "one each"])
def test_class_activation_maps_keep_to_the_standard(explainer: ag.Explainer, target: object) -> None:
    strict = explainer(StrictModel(network()), X, target)
    oracle = explainer(ag.wrap(network(), **OPTIONS), X, target)
    np.testing.assert_allclose(strict.values, oracle.values, rtol=1e-5, atol=1e-5 * np.abs(oracle.values).max())
    assert np.abs(oracle.values).max() > 0
