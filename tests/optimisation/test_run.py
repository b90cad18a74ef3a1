"""The loop: what ascent must find, and what happens when a run is stopped, saved, cut into batches, or goes wrong."""

import tracemalloc
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

import agnoscope as ag
from agnoscope.backends.reference import Conv, Dense, GlobalAverage, Network, Relu
from agnoscope.errors import FileError, NonFiniteError, OptionError, TargetError
from agnoscope.explainers.synthesis.feature_visualization import FeatureVisualization
from agnoscope.model import Model
from agnoscope.optimisation.canvas import Canvas
from agnoscope.optimisation.corrections import Blur
from agnoscope.optimisation.lbfgs import LBFGS
from agnoscope.optimisation.optimisers import Adam, Ascent, Optimiser, Slope
from agnoscope.optimisation.parameterisations.base import Tree
from agnoscope.optimisation.parameterisations.fourier import Fourier
from agnoscope.optimisation.parameterisations.pixels import Pixels
from agnoscope.optimisation.regularisers import L2, Correction, Penalty
from agnoscope.optimisation.run import Run
from agnoscope.optimisation.stage import Stage
from agnoscope.optimisation.transformations import Jitter, Scale, Views
from agnoscope.target import side_by_side
from agnoscope.testing import deep_network
from agnoscope.trees import mapped
from tests.explainers.synthesis.frameworks import demo

FRAMEWORKS = [pytest.param(name, marks=getattr(pytest.mark, name)) for name in ("torch", "jax", "tensorflow")]
WEIGHTS = np.random.default_rng(0).normal(size=(4, 5, 3, 2))
KINDS: list[Optimiser] = [Adam(0.02), Ascent(0.02, momentum=0.8, fall=30), LBFGS(memory=3)]


@cache
def linear() -> Model:
    """Two channels, each the inner product with its weights of the image, taken from -1 to 1."""
    network = Network({"conv": Conv(WEIGHTS, np.zeros(2))})
    return ag.wrap(network, input_size=(4, 5), range=(-1, 1))


@cache
def deep() -> Model:
    layers = {
        name: replace(layer, kernel=layer.kernel.astype(float), bias=layer.bias.astype(float))
        if isinstance(layer, Conv | Dense)
        else layer
        for name, layer in deep_network().layers.items()
    }
    return ag.wrap(Network(layers), input_size=(8, 9))


def run_of(model: Model, *stages: Stage, batch_size: int = 8, identity: str = "", seed: int = 0) -> Run[NDArray[Any]]:
    count = len(stages[0].target.names)
    return Run(model, stages, count, seed, batch_size, lambda run: run.images()[0], lambda: identity)


def two_stages(optimiser: Optimiser, **options: Any) -> tuple[Stage, ...]:
    """Random views of two sizes; the second stage begins where the first one ended."""
    targets = [ag.Channel("relu2", 3), ag.Channel("relu1", 2), ag.ClassScore(1)]
    small, large = Canvas.of(deep(), (8, 9)), Canvas.of(deep(), (8, 9))
    bound = side_by_side(targets, deep(), (8, 9))
    views = Views((Jitter(2), Scale(0.9, 1.1)), 2)
    first = Stage(small, Pixels(0.1), bound, 4, optimiser, views, corrections=(Blur(2, 0.5),), **options)
    second = Stage(large, Fourier(), bound, 3, optimiser, replace(views, count=1), penalties=(L2(0.1),), **options)
    return first, second


def finished(run: Run[NDArray[Any]]) -> NDArray[Any]:
    list(run)
    assert run.finished
    return run.result()


# -- the truth ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class UnitBall(Correction):
    """The nearest image that is at most 1 away from gray."""

    def __call__(self, step: int, canvas: Canvas, images: NDArray[Any], gradient: NDArray[Any]) -> NDArray[Any]:
        away = images - canvas.middle
        return canvas.middle + away / np.maximum(1, np.sqrt((away**2).sum(axis=(1, 2, 3), keepdims=True)))


@pytest.mark.parametrize("optimiser", [Ascent(0.02), Ascent(0.02, "l2", 0.5), Ascent(0.02, "none")], ids=repr)
def test_a_linear_unit_on_the_unit_ball_is_excited_by_its_weights(optimiser: Optimiser) -> None:
    method = FeatureVisualization(200, None, Pixels(), None, optimiser, corrections=(UnitBall(),))
    made = method(linear(), [ag.Channel("conv", 0), ag.Channel("conv", 1)])
    for channel in (0, 1):
        weights = WEIGHTS[..., channel] / np.linalg.norm(WEIGHTS[..., channel])
        away = made.images[channel] - 0.5
        assert np.linalg.norm(away) == pytest.approx(1, abs=1e-9)
        assert (away * weights).sum() >= 0.999
        assert made.making.scores[channel] == pytest.approx(2 * np.linalg.norm(WEIGHTS[..., channel]), rel=1e-3)


@pytest.mark.parametrize(
    ("optimiser", "steps", "precision"),
    [(Ascent(1e-3, "none"), 300, 1e-6), (Adam(0.01), 300, 1e-3), (LBFGS(), 8, 1e-8)],
)
def test_a_penalised_linear_unit_is_excited_by_its_weights(optimiser: Optimiser, steps: int, precision: float) -> None:
    # w · c - 400 · mean(c²), over 60 numbers c from -1 to 1, is highest at c = 60 w / 800.
    method = FeatureVisualization(steps, None, Pixels(), None, optimiser, penalties=(L2(400.0),))
    made = method(linear(), ag.Channel("conv", 0))
    np.testing.assert_allclose(2 * made.images[0] - 1, WEIGHTS[..., 0] * 0.075, atol=precision)


def test_lbfgs_never_loses_what_it_has() -> None:
    method = FeatureVisualization(25, None, Pixels(), None, LBFGS())
    made = method(demo(), ["ball", "cone", ag.Channel("relu2", 3)])
    assert (np.diff(made.history, axis=0) >= 0).all()
    assert (made.history[-1] > made.history[0] + 1).any()


def test_a_line_searchs_last_look_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    evaluated = Run._evaluated
    monkeypatch.setattr(Run, "_evaluated", lambda *args, **words: looks.append(1) or evaluated(*args, **words))
    stage = Stage(
        Canvas.of(linear(), (4, 5)),
        Pixels(),
        ag.Channel("conv", 0).bind(linear(), 1, (4, 5)),
        8,
        LBFGS(),
        None,
        penalties=(L2(400.0),),
    )
    list(run_of(linear(), stage))
    assert len(looks) <= 8 + 4


# -- stopped and taken up again ----------------------------------------------------------------------------------------


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


# -- batches -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimiser", KINDS, ids=repr)
def test_batches_make_no_difference(optimiser: Optimiser) -> None:
    asked = [ag.Channel("relu2", 3), ag.Channel("relu1", 2), ag.ClassScore(1), ag.ClassScore(3), ag.Channel("relu1", 5)]
    method = FeatureVisualization(8, views=Views((Jitter(2),), 2), optimiser=optimiser)
    at_once, one_by_one, by_two = (method(deep(), asked, batch_size=size).images for size in (10, 1, 4))
    np.testing.assert_allclose(one_by_one, at_once, atol=1e-9)
    np.testing.assert_allclose(by_two, at_once, atol=1e-9)


@pytest.mark.parametrize("optimiser", KINDS, ids=repr)
def test_an_image_does_not_depend_on_the_others(optimiser: Optimiser) -> None:
    method = FeatureVisualization(8, optimiser=optimiser)
    alone = method(deep(), ag.ClassScore(1)).images[0]
    for others in ([ag.ClassScore(3)], [ag.Channel("relu2", 3), ag.Channel("relu1", 2)]):
        np.testing.assert_allclose(method(deep(), [ag.ClassScore(1), *others]).images[0], alone, atol=1e-9)


def test_memory_does_not_grow_with_the_steps() -> None:
    def peak(steps: int) -> int:
        tracemalloc.start()
        FeatureVisualization(steps, 32, optimiser=Adam())(demo(), "ball")
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(3)
    assert peak(60) - peak(10) < 64 * 1024


# -- stages ------------------------------------------------------------------------------------------------------------


def test_a_stage_begins_where_the_one_before_ended() -> None:
    first, second = (replace(stage, views=None, corrections=()) for stage in two_stages(Adam(0.02)))
    second = replace(second, parameterisation=Pixels())
    states = list(run_of(deep(), first, second))
    assert [state.stage for state in states] == [0] * 4 + [1] * 3
    assert [state.step for state in states] == [1, 2, 3, 4, 5, 6, 7]
    change = [np.abs(after.images - before.images).max() for before, after in pairwise(states)]
    assert max(change) <= 0.021 + 1e-6
    assert min(change) > 0.001


def test_an_image_that_is_finished_stays_as_it_is() -> None:
    bound = side_by_side([ag.Channel("conv", 0), ag.Channel("conv", 1)], linear(), (4, 5))
    canvas = Canvas.of(linear(), (4, 5))
    stage = Stage(canvas, Pixels(), bound, 50, Ascent(0.05), until=lambda score: score > np.array([1.0, 20.0]))
    run = run_of(linear(), stage)
    states = list(run)
    reached = [int(np.argmax([state.score[i] > limit for state in states])) for i, limit in enumerate((1.0, 20.0))]
    assert reached[0] < reached[1] == len(states) - 1 < 49
    np.testing.assert_array_equal(states[-1].images[0], states[reached[0]].images[0])
    np.testing.assert_array_equal(run.result(), states[-1].images)


# -- callers -----------------------------------------------------------------------------------------------------------


def test_callback_and_iterator_see_the_same_steps() -> None:
    method, called = FeatureVisualization(4), []
    made = method(demo(), ["ball", "cone"], callback=called.append)
    iterated = list(method.steps(demo(), ["ball", "cone"]))
    assert [state.step for state in called] == [state.step for state in iterated] == [1, 2, 3, 4]
    assert {state.total for state in called} == {4}
    for one, other in zip(called, iterated, strict=True):
        np.testing.assert_array_equal(one.images, other.images)
        np.testing.assert_array_equal(one.objective, other.objective)
    np.testing.assert_array_equal(made.history, [state.objective for state in called])
    np.testing.assert_array_equal(iterated[-1].run.result().images, made.images)


@pytest.mark.torch
def test_the_network_stays_as_it_was() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Dropout(), torch.nn.Conv2d(4, 2, 3)
    )
    network.train()
    network[0].weight.requires_grad_(False)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    flags = [parameter.requires_grad for parameter in network.parameters()]
    FeatureVisualization(3)(ag.wrap(network, input_size=(12, 12)), ag.Channel("4", 1))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert [parameter.requires_grad for parameter in network.parameters()] == flags
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(module.training and not module._forward_hooks for module in network.modules())


TRACED = []


@dataclass(frozen=True)
class Traced(Penalty):
    """Costs nothing, and remembers whenever it is compiled."""

    name: ClassVar[str] = "traced"

    def __call__(self, xp: Any, canvas: Canvas, images: Any, values: Mapping[str, Any]) -> Any:
        TRACED.append(images.shape)
        return xp.mean(images, axis=(1, 2, 3)) * 0


@pytest.mark.parametrize("framework", FRAMEWORKS[1:])
def test_a_run_compiles_once_and_another_class_not_at_all(framework: str) -> None:
    TRACED.clear()
    method = FeatureVisualization(6, penalties=(Traced(),))
    method(demo(framework), ["ball", "cone"])
    first = len(TRACED)
    method(demo(framework), ["crate", "ball"])
    FeatureVisualization(9, penalties=(Traced(),), optimiser=Ascent(), seed=3)(demo(framework), ["cone", "ball"])
    assert 2 <= first <= 4  # a step and a last look; TensorFlow may trace a gradient twice
    assert len(TRACED) == first


# -- dead units --------------------------------------------------------------------------------------------------------


def shut(bias: float) -> Model:
    """Channel 0 sums up the image and adds a bias, of gray it makes 13.5 + bias; channel 1 is alive."""
    single = np.float32
    kernel, biases = np.ones((3, 3, 3, 2), single), np.array([bias, 1.0], single)
    dense = Dense(np.eye(2, dtype=single), np.zeros(2, single))
    layers = {"conv": Conv(kernel, biases), "relu": Relu(), "gap": GlobalAverage(), "dense": dense}
    return ag.wrap(Network(layers), input_size=(6, 6))


@pytest.mark.parametrize("optimiser", [Adam(0.05), Ascent(0.05), LBFGS(0.05)], ids=repr)
def test_a_shut_unit_comes_alive(optimiser: Optimiser) -> None:
    method = FeatureVisualization(30, None, Pixels(), None, optimiser)
    made = method(shut(-17.0), ag.Channel("relu", 0))
    assert made.history[0] == 0
    assert made.making.scores[0] == pytest.approx(10, abs=0.5)  # white
    assert not made.making.warnings


def test_a_dead_unit_is_told_after_the_redirection() -> None:
    method, seen = FeatureVisualization(60), []
    with pytest.raises(TargetError, match=r"relu.*first 16 steps.*redirected.*dead"):
        method(shut(-500.0), ag.Channel("relu", 0), callback=seen.append)
    assert len(seen) < 17
    with pytest.raises(TargetError, match="first 4 steps"):
        FeatureVisualization(4)(shut(-500.0), ag.Channel("relu", 0))


def test_a_dead_unit_among_others_is_a_note() -> None:
    made = FeatureVisualization(20)(shut(-500.0), [ag.Channel("relu", 0), ag.Channel("relu", 1)])
    (warning,) = made.making.warnings
    assert "dead" in warning
    assert made.making.targets[0] in warning
    assert made.making.targets[1] not in warning
    assert made.making.scores[1] > 14


def constant(values: Mapping[str, Any]) -> Any:
    return values["scores"][:, 0] * 0 + 1


@pytest.mark.parametrize("framework", [*FRAMEWORKS, "reference"])
def test_an_objective_that_does_not_depend_on_the_image_is_told(framework: str) -> None:
    with pytest.raises(TargetError, match="does not depend on the image"):
        FeatureVisualization(3)(demo(framework), ag.Score(constant))


# -- NaN ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Breaking(Optimiser):
    """Ascent whose step after a number of others makes NaN."""

    good: int

    def begin(self, parameters: Tree) -> Tree:
        return Ascent(0.001).begin(parameters)

    def step(
        self, parameters: Tree, loss: NDArray[Any], gradient: Tree, memory: Tree, slope: Slope
    ) -> tuple[Tree, Tree]:
        moved, memory = Ascent(0.001).step(parameters, loss, gradient, memory, slope)
        return (mapped(moved, lambda leaf: leaf * np.nan) if memory["steps"] > self.good else moved), memory


def test_nan_on_the_way_keeps_the_last_good_images() -> None:
    seen: list[Any] = []
    made = FeatureVisualization(9, None, Pixels(), None, Breaking(3))(demo(), "ball", callback=seen.append)
    assert len(seen) == made.making.steps == len(made.history) == 4
    np.testing.assert_array_equal(made.images, seen[3].images)
    assert np.isfinite(made.images).all()
    assert not made.making.finished
    assert any(warning.startswith("Step 5 gave NaN or infinity") for warning in made.making.warnings)


def test_nan_from_the_first_step_is_an_error() -> None:
    def broken(values: Mapping[str, Any]) -> Any:
        return values["scores"][:, 0] * np.nan

    with pytest.raises(NonFiniteError, match="at once"):
        FeatureVisualization(3)(demo(), ag.Score(broken))
