"""The loop: what ascent must find, in batches and stages, and what callers see of it."""

import tracemalloc
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

import agnoscope as ag
from agnoscope.errors import OutOfMemoryError
from agnoscope.explainers.synthesis.feature_visualization import FeatureVisualization
from agnoscope.optimisation.canvas import Canvas
from agnoscope.optimisation.lbfgs import LBFGS
from agnoscope.optimisation.optimisers import Adam, Ascent, Optimiser
from agnoscope.optimisation.parameterisations.pixels import Pixels
from agnoscope.optimisation.regularisers import L2, Correction, Diversity, Penalty
from agnoscope.optimisation.run import Run
from agnoscope.optimisation.stage import Stage
from agnoscope.optimisation.transformations import Jitter, Views
from agnoscope.target import side_by_side
from agnoscope.trees import leaves
from tests.explainers.synthesis.frameworks import demo
from tests.frameworks import FRAMEWORKS
from tests.optimisation.runs import KINDS, WEIGHTS, deep, linear, run_of, two_stages

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


def room_for(monkeypatch: pytest.MonkeyPatch, most: int) -> list[int]:
    """Memory runs out where more images than these are looked at at once; returns how many were, time after time."""
    plain, seen = type(deep()).compile, []

    def compiled(self, program, static=None):
        found = plain(self, program, static)

        def call(parameters, *given):
            seen.append(len(leaves(parameters)[0]))
            if seen[-1] > most:
                raise MemoryError("out of memory")
            return found(parameters, *given)

        return call

    monkeypatch.setattr(type(deep()), "compile", compiled)
    monkeypatch.setattr(deep(), "batch_limits", {})
    return seen


def test_batches_are_halved_where_memory_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, method = [ag.ClassScore(number) for number in (1, 3, 0, 2, 1)], FeatureVisualization(4)
    wanted = method(deep(), asked).images
    seen = room_for(monkeypatch, 2)
    np.testing.assert_allclose(method(deep(), asked).images, wanted, atol=1e-9)
    assert seen[:3] == [5, 2, 2]
    assert max(seen[1:]) == 2


@pytest.mark.parametrize(("most", "penalties"), [(0, ()), (2, (Diversity(layer="relu1"),))])
def test_memory_that_suffices_for_nothing_is_told(
    monkeypatch: pytest.MonkeyPatch, most: int, penalties: tuple[Penalty, ...]
) -> None:
    room_for(monkeypatch, most)
    with pytest.raises(OutOfMemoryError):
        FeatureVisualization(4, penalties=penalties)(deep(), [ag.ClassScore(1)] * 3)


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
    torch.manual_seed(0)  # one in twenty such networks is dead
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
