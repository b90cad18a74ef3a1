"""Ablation-CAM takes one channel away at a time."""

from typing import Any

import numpy as np
import pytest

import agnoscope as ag
from agnoscope.backends.reference import Conv, Dense, GlobalAverage, Network
from agnoscope.explainers.cams.ablation_cam import AblationCAM
from tests.explainers.cams.deep import DEEP, TARGETS, X, captured


@pytest.mark.parametrize("layer", ["relu1", "conv2", "relu2"])
def test_ablation_cam_takes_one_channel_away_at_a_time(layer: str) -> None:
    model, maps = ag.wrap(DEEP), captured(DEEP, layer)
    found = AblationCAM(layer)(model, X, TARGETS, batch_size=3)
    for i, target in enumerate(TARGETS):
        y = model.compile(_without, layer)(X[i][None], np.ones((1, maps.shape[-1])))["scores"][0, target]
        keep = 1 - np.eye(maps.shape[-1])
        without = model.compile(_without, layer)(np.repeat(X[i][None], len(keep), axis=0), keep)["scores"][:, target]
        np.testing.assert_allclose(found.values[i], maps[i] @ ((y - without) / abs(y)), rtol=1e-9, atol=1e-12)


def _without(model: ag.Model, layer: str, x: Any, keep: Any) -> dict[str, Any]:
    return model.run(x, ("scores",), {layer: lambda a: a * keep[:, None, None, :]})


def test_a_score_of_zero_leaves_the_falls_as_they_are() -> None:
    conv = Conv(np.zeros((1, 1, 3, 2)), np.array([1.0, 2.0]))  # maps of ones and of twos
    dense = Dense(np.array([[3.0, 0.0], [-1.0, 0.0]]), np.array([-1.0, 0.0]))
    found = AblationCAM("conv")(ag.wrap(Network({"conv": conv, "gap": GlobalAverage(), "dense": dense})), X, 0)
    assert found.provenance.scores == (0.0,) * 3
    np.testing.assert_array_equal(found.values, 1 * 3.0 + 2 * -2.0)
