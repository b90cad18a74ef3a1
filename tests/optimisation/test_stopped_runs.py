"""Runs that are stopped, saved and taken up again end as if nothing had happened."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import agnoscope as ag
from agnoscope.errors import FileError, OptionError
from agnoscope.explainers.synthesis.feature_visualization import FeatureVisualization
from agnoscope.optimisation.optimisers import Adam, Ascent, Optimiser
from agnoscope.optimisation.parameterisations.base import Tree
from agnoscope.optimisation.parameterisations.fourier import Fourier
from agnoscope.optimisation.parameterisations.pixels import Pixels
from tests.explainers.synthesis.frameworks import demo
from tests.optimisation.runs import KINDS, deep, finished, run_of, two_stages


@pytest.mark.parametrize("optimiser", KINDS, ids=repr)
def test_a_run_saved_after_any_step_ends_with_the_same_bytes(optimiser: Optimiser, tmp_path: Path) -> None:
    stages = two_stages(optimiser, slopes=True)
    undisturbed = run_of(deep(), *stages)
    images = finished(undisturbed)
    for after in range(8):
        stopped = run_of(deep(), *stages)
        for _ in zip(range(after), stopped, strict=False):
            pass
        path = stopped.save(tmp_path / f"{after}.npz")
        resumed = run_of(deep(), *stages)
        resumed.restore(path)
        assert resumed.steps_done == after
        assert finished(resumed).tobytes() == images.tobytes()
        assert np.array(resumed.history).tobytes() == np.array(undisturbed.history).tobytes()
        np.testing.assert_array_equal(resumed.best, undisturbed.best)
        np.testing.assert_array_equal(resumed.slopes, undisturbed.slopes)


def test_a_run_stopped_between_two_stages_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stages = two_stages(Adam())
    undisturbed, stopped, resumed = (run_of(deep(), *stages) for _ in range(3))

    def interrupted(*_: Any) -> Tree:
        raise KeyboardInterrupt

    monkeypatch.setattr(Fourier, "of", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(stopped)
    monkeypatch.undo()
    resumed.restore(stopped.save(tmp_path / "run.npz"))
    assert resumed.steps_done == 4
    np.testing.assert_array_equal(finished(resumed), finished(undisturbed))


def test_a_file_of_another_run_is_refused(tmp_path: Path) -> None:
    def saved(method: FeatureVisualization, *asked: Any) -> Path:
        run = method.begin(demo(), *asked)
        next(iter(run))
        return run.save(tmp_path / "run.npz")

    method = FeatureVisualization(4)
    path = saved(method, "ball")
    method.begin(demo(), "ball", resume=path)
    for other, asked in ((method, "cone"), (replace(method, seed=1), "ball"), (FeatureVisualization(5), "ball")):
        with pytest.raises(OptionError, match="another run"):
            other.begin(demo(), asked, resume=path)
    with pytest.raises(OptionError, match="another run"):
        method.begin(demo("reference", "cheater"), "ball", resume=path)


VECTOR = np.arange(1.0, 25.0)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (ag.Direction("relu2", VECTOR), ag.Direction("relu2", VECTOR, power=2.0)),
        (ag.ClassScore(0), ag.ClassScore(0, space="probability")),
        (2 * ag.Direction("relu2", VECTOR), 2 * ag.Direction("relu2", VECTOR, power=2.0)),
    ],
    ids=["power", "space", "term"],
)
def test_a_file_of_a_question_of_the_same_name_is_refused(one: ag.Target, other: ag.Target, tmp_path: Path) -> None:
    method = FeatureVisualization(4)
    run = method.begin(demo(), one)
    next(iter(run))
    path = run.save(tmp_path / "run.npz")
    method.begin(demo(), one, resume=path)
    with pytest.raises(OptionError, match="another run"):
        method.begin(demo(), other, resume=path)


def test_a_function_is_known_again_wherever_it_lies_in_memory(tmp_path: Path) -> None:
    def asked() -> ag.Score:
        return ag.Score(lambda run: run["scores"][:, 0])

    run = FeatureVisualization(4).begin(demo(), asked())
    next(iter(run))
    FeatureVisualization(4).begin(demo(), asked(), resume=run.save(tmp_path / "run.npz"))


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    run = run_of(deep(), *two_stages(Adam()))
    path = run.save(tmp_path / "run.npz")
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(FileError, match="damaged"):
        run.restore(path)
    with pytest.raises(FileError, match="no file"):
        run.restore(tmp_path / "nowhere.npz")
    picture = FeatureVisualization(1)(demo(), "ball").save(tmp_path / "made.npz")
    with pytest.raises(FileError, match="synthesis"):
        run.restore(picture)


def test_an_interrupt_gives_the_best_images_and_says_so() -> None:
    seen = []

    def callback(state: Any) -> None:
        seen.append(state)
        if state.step == 5:
            raise KeyboardInterrupt

    method = FeatureVisualization(9, None, Pixels(), None, Ascent(0.01))  # so long that the objective falls, too
    made = method(demo(), "ball", callback=callback)
    objectives = [state.objective[0] for state in seen]
    best = int(np.argmax(objectives))
    assert 0 < best < 4
    np.testing.assert_array_equal(made.images, seen[best].images)
    assert made.making.scores[0] == pytest.approx(objectives[best], rel=1e-5)
    assert (made.making.finished, made.making.steps, len(made.history)) == (False, 5, 5)
    assert any("Stopped after 5 of 9 steps" in warning for warning in made.making.warnings)
