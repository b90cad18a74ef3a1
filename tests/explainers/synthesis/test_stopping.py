"""A run may be stopped anywhere, even within a step: it keeps what it has, and goes on as if nothing had happened."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from agnoscope.explainers.synthesis.deep_dream import DeepDream
from agnoscope.explainers.synthesis.feature_inversion import FeatureInversion
from agnoscope.explainers.synthesis.feature_visualization import FeatureVisualization
from agnoscope.optimisation.optimisers import Adam, Ascent
from agnoscope.optimisation.run import State
from tests.explainers.synthesis.frameworks import demo
from tests.explainers.synthesis.test_photos import photo

METHOD = FeatureVisualization(iterations=6)


def raised_at(number: int, error: type[BaseException]) -> Callable[[State], None]:
    """A callback that raises this when it is called for the so-manieth time."""
    seen: list[State] = []

    def callback(state: State) -> None:
        seen.append(state)
        if len(seen) == number:
            raise error

    return callback


def test_a_callback_stops_a_run() -> None:
    made = METHOD(demo(), "ball", callback=raised_at(3, StopIteration))
    assert (made.making.finished, made.making.steps) == (False, 3)
    assert "Stopped after 3 of 6 steps" in made.making.warnings[-1]


def test_what_a_callback_returns_stops_nothing() -> None:
    assert METHOD(demo(), "ball", callback=lambda _: True).making.finished


def test_ctrl_c_before_an_octaves_first_step_keeps_the_octave_before(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, calls = Ascent.step, []

    def step(self, *words):
        calls.append(words)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return plain(self, *words)

    monkeypatch.setattr(Ascent, "step", step)
    dream, given = DeepDream(iterations=2, octaves=2, jitter=0), photo(56, 56)
    made = dream(demo(), given)
    assert (made.making.finished, made.making.steps, made.images.shape) == (False, 2, (1, 56, 56, 3))
    assert np.abs(made.images - given / 255).mean() > dream.rate / 2


def test_a_row_that_is_stopped_has_the_layers_so_far() -> None:
    method, layers = FeatureInversion(iterations=3), ("relu1", "relu2", "relu3")
    whole = method.row(demo(), photo(96, 96), layers)
    for error in (StopIteration, KeyboardInterrupt):
        row = method.row(demo(), photo(96, 96), layers, callback=raised_at(5, error))
        assert (row.names, row.making.finished) == (("relu1", "relu2"), False)
        np.testing.assert_array_equal(row.images[0], whole.images[0])


def test_ctrl_c_before_a_layers_first_step_keeps_the_row_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = FeatureInversion.plan

    def plan(self, *asked):
        if self.layer == "relu2":
            raise KeyboardInterrupt
        return plain(self, *asked)

    monkeypatch.setattr(FeatureInversion, "plan", plan)
    row = FeatureInversion(iterations=2).row(demo(), photo(96, 96), ("relu1", "relu2"))
    assert (row.names, row.making.finished) == (("relu1",), False)
    assert row.making.warnings[-1] == "Stopped at 1 of 2 layers."
    with pytest.raises(KeyboardInterrupt):
        FeatureInversion(iterations=2).row(demo(), photo(96, 96), ("relu2", "relu1"))


def test_ctrl_c_ends_a_flight_within_its_frame() -> None:
    flight = DeepDream(iterations=2, octaves=1).zoom(demo(), photo(48, 48), 4, callback=raised_at(3, KeyboardInterrupt))
    next(flight)
    with pytest.raises(KeyboardInterrupt):
        next(flight)


def test_a_callback_ends_a_flight_within_its_frame() -> None:
    flight = DeepDream(iterations=2, octaves=1).zoom(demo(), photo(48, 48), 4, callback=raised_at(3, StopIteration))
    assert len(list(flight)) == 1


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
