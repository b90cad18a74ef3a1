"""Fooling images: closed forms of a linear network, bounds, the network's own check of the saved file, refusals."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import agnoscope as ag
from agnoscope.answers import predict
from agnoscope.backends.reference import Conv, GlobalAverage, Network, Sigmoid
from agnoscope.demo.scenes import make_scenes
from agnoscope.errors import ImageError, OptionError, TargetError
from agnoscope.explainers.synthesis.bounded import Bounded
from agnoscope.explainers.synthesis.fooling import Fooling
from agnoscope.optimisation.optimisers import Slope
from agnoscope.synthesis import Synthesis
from tests.explainers.synthesis.frameworks import OTHERS, STEPS, assert_frameworks_agree, demo

SCENES = [scene.image for scene in make_scenes(6, 1)]
GRAY = np.full((8, 9, 3), 0.5)


def linear(weight: float = 0.01, units: int = 2, head: Any = None) -> tuple[ag.Model, np.ndarray]:
    """A network whose scores are products of the image with kernels, and the kernels, in float64."""
    kernel = weight * np.random.default_rng(5).normal(size=(8, 9, 3, units))
    layers: dict[str, Any] = {"conv": Conv(kernel, -0.5 * kernel.sum(axis=(0, 1, 2))), "gap": GlobalAverage()}
    return ag.wrap(Network(layers | ({"head": head} if head else {})), input_size=(8, 9)), kernel


@pytest.mark.torch
@pytest.mark.parametrize("framework", OTHERS)
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_frameworks_agree(norm: Any, framework: str) -> None:
    photo = np.random.default_rng(3).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    method = Fooling(iterations=STEPS, confidence=0.999999, norm=norm, rate={"linf": 1e-4, "l2": 0.01}[norm])
    assert_frameworks_agree(method, lambda model: (photo, ["ship", "cat"]), framework)


def test_of_a_linear_network_every_number_moves_by_the_sign_of_its_weight() -> None:
    model, kernel = linear()
    made = Fooling(iterations=30, bound=0.05, rounded=False)(model, GRAY, 1)
    wanted = 0.05 * np.sign(kernel[..., 1] - kernel[..., 0])
    np.testing.assert_allclose(made.extras["change"][0], wanted, atol=1e-12)


def test_of_a_linear_network_the_shortest_change_goes_along_the_weights() -> None:
    model, kernel = linear()
    made = Fooling(iterations=20, norm="l2", bound=0.5, rounded=False)(model, GRAY, 0)
    along = kernel[..., 0] - kernel[..., 1]
    np.testing.assert_allclose(made.extras["change"][0], 0.5 * along / np.linalg.norm(along), atol=1e-12)


def test_one_step_of_the_whole_bound_is_the_fast_gradient_sign_method() -> None:
    model, kernel = linear(units=3)
    made = Fooling(iterations=1, rate=10 / 255, bound=10 / 255, rounded=False)(model, GRAY, 2)
    slope = kernel[..., 2] - kernel.mean(axis=-1)  # gray has the same score for all three
    np.testing.assert_allclose(made.extras["change"][0], 10 / 255 * np.sign(slope), atol=1e-12)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_saved_picture_fools_as_well(norm: Any, tmp_path: Path) -> None:
    between_levels = 0.9 * SCENES[2].astype(np.float32) / 255
    made = Fooling(norm=norm, bound=None)(demo(), [*SCENES[:2], between_levels], [1, 2, None])
    assert made.making.warnings == ()
    for each in made:
        answer = predict(demo(), each.save(tmp_path / "fooling.png"))[0][0]
        assert answer.label == each.making.targets[0]
        assert answer.probability == each.extras["confidence"][0] >= 0.95
    levels = 255 * made.extras["change"]
    np.testing.assert_allclose(levels, levels.round(), atol=1e-4)


@pytest.mark.parametrize("rounded", [True, False])
@pytest.mark.parametrize(
    ("norm", "bound", "name"), [("linf", 0.01, "largest change"), ("l2", 0.7, "length of the change")]
)
def test_bounds_are_kept_and_used(norm: Any, bound: float, name: str, rounded: bool) -> None:
    asked: dict[str, Any] = {"iterations": 30, "confidence": 0.9999999, "norm": norm, "rounded": rounded}
    made = Fooling(bound=bound, **asked)(demo(), SCENES[:3], [1, 2, None])
    reached = made.extras[name]
    assert (reached <= bound + 1e-6).all()
    assert reached.max() >= (0.75 if rounded else 0.999) * bound  # 0.01 is two whole levels and a half
    assert (Fooling(bound=None, **asked)(demo(), SCENES[:3], [1, 2, None]).extras[name] > bound).any()


def test_the_usual_bound_is_that_of_the_literature() -> None:
    asked: dict[str, Any] = {"iterations": 12, "confidence": 0.9999999, "rounded": False}
    for norm, name, bound in (
        ("linf", "largest change", 8 / 255),
        ("l2", "length of the change", 2 / 255 * 27648**0.5),
    ):
        reached = Fooling(norm=norm, **asked)(demo(), SCENES[:2], [1, 2]).extras[name]  # of 96 × 96 × 3 numbers
        np.testing.assert_allclose(reached, bound, rtol=1e-4)


def test_large_steps_that_fall_find_what_small_ones_do_not() -> None:
    small, both = (Fooling(rate=rate, confidence=0.9999)(demo(), SCENES[5], 1) for rate in (0.5 / 255, None))
    assert both.extras["confidence"][0] > small.extras["confidence"][0] + 0.1
    assert both.extras["largest change"][0] <= 8 / 255 + 1e-6


def test_steps_are_small_first_and_fall_from_twice_the_bound() -> None:
    pixels = {"pixels": np.full((1, 1, 1, 1), 0.5)}
    stepper = Bounded("linf", 0.001, 0.02, (0.0, 1.0), rounded=False, falling=(2, 6))
    memory, lengths = stepper.begin(pixels), []
    for _ in range(7):
        memory = {**memory, "levels": memory["origin"] + 0.02 * 255}  # from where the bound leaves room
        moved, memory = stepper.step(
            pixels, np.zeros(1), {"pixels": np.ones((1, 1, 1, 1))}, memory, Slope(NotImplemented, dict)
        )
        lengths.append(0.52 - moved["pixels"].item())
    np.testing.assert_allclose(lengths, [0.001, 0.001, 0.04, 0.03, 0.02, 0.01, 0.0], atol=1e-12)


def test_the_size_of_the_change_by_hand() -> None:
    model, kernel = linear(weight=10.0)
    made = Fooling(iterations=1, rate=2 / 255, bound=None)(model, np.array(GRAY * 254, dtype=np.uint8), 0)
    assert made.extras["largest change"][0] == pytest.approx(2 / 255)
    assert made.extras["mean change"][0] == pytest.approx(2 / 255)
    assert made.extras["length of the change"][0] == pytest.approx(2 / 255 * np.sqrt(kernel[..., 0].size))


def test_result_tells_of_before_and_after(tmp_path: Path) -> None:
    made = Fooling()(demo(), SCENES[0], None)
    first, second = predict(demo(), SCENES[0])[0][:2]
    assert made.extras["answer before"][0] == first.label
    assert made.extras["answer"][0] == made.making.targets[0] == second.label
    assert made.extras["confidence before"][0] == pytest.approx(second.probability)
    assert made.names == (f"image 1 as {second.label}",)
    np.testing.assert_array_equal(made.photos[0], SCENES[0])
    again = Synthesis.load(made.save(tmp_path / "made.npz"))
    assert again.extras["answer"].tolist() == made.extras["answer"].tolist()


def test_images_and_classes_pair_up() -> None:
    method = Fooling(iterations=1)
    assert len(method(demo(), SCENES[0], [1, 2])) == 2
    assert method(demo(), SCENES[:2], "ball").making.targets == ("ball [0]",) * 2
    with pytest.raises(TargetError, match="3 targets were given for 2 images"):
        method(demo(), SCENES[:2], [0, 1, 2])


def test_gray_becomes_other_classes() -> None:
    made = Fooling(bound=None, noise=0.0)(demo(), None, ["cone", "crate"])
    assert (made.extras["confidence"] >= 0.95).all()
    assert made.extras["answer"].tolist() == list(made.making.targets)
    assert made.names == ("gray as cone [1]", "gray as crate [2]")
    assert np.ptp(made.photos[0]) == 0


def test_noise_is_the_seeds_and_every_images_own() -> None:
    first, second, third = (
        np.stack(Fooling(iterations=1, noise=0.2, seed=seed)(demo(), None, [1, 1]).photos) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, second)
    assert (first != third).any()
    assert (first[0] != first[1]).any()
    assert np.std(first) == pytest.approx(0.2 * 255, rel=0.1)


def test_a_photo_is_fooled_at_another_size() -> None:
    model = ag.wrap(Network({"conv": Conv(np.ones((1, 1, 3, 2)) * [1, -1], np.zeros(2)), "gap": GlobalAverage()}))
    assert Fooling(iterations=1, size=(10, 12))(model, SCENES[0], 1).images.shape == (1, 10, 12, 3)
    assert Fooling(iterations=1, size=16)(model, None, 1).images.shape == (1, 16, 16, 3)


@pytest.mark.parametrize("asked", [0, 1])
def test_a_single_unit_has_two_answers(asked: int) -> None:
    model, kernel = linear(weight=1.0, units=1, head=Sigmoid())
    made = Fooling(bound=None)(model, GRAY + 1e-3, asked)
    assert made.extras["confidence"][0] >= 0.95
    chance = 1 / (1 + np.exp((-1 if asked else 1) * (made.photos[0] / 255 - 0.5).ravel() @ kernel.ravel()))
    assert made.history[0, 0] == pytest.approx(np.log(chance))
    assert np.sign((made.extras["change"][0] * kernel[..., 0]).sum()) == (1 if asked else -1)


def test_the_gradient_lives_where_the_probability_is_below_float32() -> None:
    kernel = np.zeros((1, 1, 3, 2), dtype=np.float32)
    kernel[..., 0] = 200
    model = ag.wrap(Network({"conv": Conv(kernel, np.zeros(2, np.float32)), "gap": GlobalAverage()}), input_size=(4, 4))
    made = Fooling(bound=None, iterations=300)(model, np.full((4, 4, 3), 0.5, dtype=np.float32), 1)
    assert made.history[0, 0] == pytest.approx(-300, rel=0.01)
    assert made.extras["confidence before"][0] < 1e-100
    assert (made.extras["change"] < 0).all()


def test_what_falls_short_says_by_how_much() -> None:
    model, _ = linear()
    made = Fooling(iterations=3, bound=1 / 255)(model, GRAY, 1)
    told = f"{made.extras['confidence'][0]:.1%} is short of the 95.0% asked for, after 3 steps, with a change of at"
    assert any(told in warning for warning in made.making.warnings)


def test_what_is_answered_already_is_said_at_once() -> None:
    answers = [row[0].index for row in predict(demo(), SCENES[:2])]
    with pytest.raises(TargetError, match=r"already, with .*nothing to change"):
        Fooling(confidence=0.5)(demo(), SCENES[:2], answers)
    other = [answers[0], (answers[1] + 1) % 3]
    made = Fooling(confidence=0.5)(demo(), SCENES[:2], other)
    assert len(made.making.warnings) == 1
    assert "already" in made.making.warnings[0]
    assert (np.abs(made.extras["change"]).max(axis=(1, 2, 3)) > 0).tolist() == [False, True]


def test_a_stopped_run_goes_on(tmp_path: Path) -> None:
    method = Fooling(iterations=8, norm="l2", confidence=0.9999999)
    run = method.begin(demo(), SCENES[0], 1)
    for state in run:
        if state.step == 3:
            run.save(tmp_path / "run.npz")
    resumed = method(demo(), SCENES[0], 1, resume=tmp_path / "run.npz")
    np.testing.assert_array_equal(resumed.images, run.result().images)


def test_small_steps_add_up_to_levels() -> None:
    pixels = np.full((1, 1, 2, 1), 0.0)
    stepper = Bounded("linf", 0.25 / 255, None, (0.0, 1.0))
    memory, shown = stepper.begin({"pixels": pixels}), []
    for _ in range(6):
        gradient = {"pixels": np.array([[[[-1.0], [1.0]]]])}
        moved, memory = stepper.step({"pixels": pixels}, np.zeros(1), gradient, memory, Slope(NotImplemented, dict))
        shown.append(255 * moved["pixels"].ravel())
    np.testing.assert_allclose(shown, [[0, 0], [1, 0], [1, 0], [1, 0], [1, 0], [2, 0]], atol=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {"confidence": 1.0},
        {"confidence": 0.0},
        {"norm": "l1"},
        {"bound": 0.0},
        {"bound": -1.0},
        {"bound": float("nan")},
        {"bound": 0.5 / 255},
        {"rate": 0.0},
        {"noise": -0.1},
        {"iterations": 0},
    ],
)
def test_bad_options(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        Fooling(**options)(demo(), SCENES[0], 1)


@pytest.mark.parametrize("target", ["top-1", ag.Channel("relu2", 1), [], "unicorn", 7])
def test_bad_targets(target: Any) -> None:
    with pytest.raises(TargetError):
        Fooling()(demo(), SCENES[0], target)


def test_bad_images() -> None:
    with pytest.raises(ImageError):
        Fooling()(demo(), "missing.jpg", 1)


def test_a_picture_that_runs_out_of_steps_is_the_best_one() -> None:
    run = Fooling(iterations=7, rate=60 / 255, bound=None, confidence=0.9999999).begin(demo(), SCENES[:3], [1, 2, 0])
    scores = np.array([state.score for state in run])
    found = np.array(run.result().making.scores)
    assert (found >= scores.max(axis=0) - 1e-5).all()
    assert (scores.argmax(axis=0) < len(scores) - 1).any()
    run.finished = False  # the last look was one step before the last picture
    np.testing.assert_allclose(np.maximum(run.result().making.scores, found), found, atol=1e-5)
