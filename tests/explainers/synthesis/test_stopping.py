"""A run that is stopped anywhere, even within a step, goes on as if nothing had happened."""

from pathlib import Path

import numpy as np
import pytest

from agnoscope.explainers.synthesis.feature_visualization import FeatureVisualization
from agnoscope.optimisation.optimisers import Adam
from tests.explainers.synthesis.frameworks import demo

METHOD = FeatureVisualization(iterations=6)


def test_ctrl_c_within_a_step_leaves_the_run_where_the_step_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = METHOD(demo(), "ball")
    run = METHOD.begin(demo(), "ball")
    plain = Adam.step

    def step(self, *words):
        if run.steps_done == 3:
            raise KeyboardInterrupt
        return plain(self, *words)

    monkeypatch.setattr(Adam, "step", step)
    with pytest.raises(KeyboardInterrupt):
        list(run)
    assert (run.steps_done, run.step) == (3, 3)
    run.save(tmp_path / "run.npz")
    monkeypatch.undo()
    resumed = METHOD(demo(), "ball", resume=tmp_path / "run.npz")
    np.testing.assert_array_equal(resumed.images, undisturbed.images)
    np.testing.assert_array_equal(resumed.history, undisturbed.history)
