"""Training lowers the loss that it is asked to lower, to the same numbers in every framework, stopped or not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from agnoscope.demo.scenes import make_scenes
from agnoscope.errors import AgnoscopeError, FileError, ImageError, LayerError, NonFiniteError, OptionError
from agnoscope.explainers.synthesis.style import content_layer, style_layers
from agnoscope.explainers.synthesis.style_transfer import StyleTransfer
from agnoscope.fast_style.loss import PARTS
from agnoscope.fast_style.photos import Photos
from agnoscope.fast_style.run import State
from agnoscope.fast_style.training import FastStyle
from agnoscope.images import InputSpec
from agnoscope.optimisation.parameterisations.pixels import Pixels
from tests.explainers.synthesis.frameworks import OTHERS, demo, layer
from tests.networks.wrapped import apart, network, x64

TINY = FastStyle(iterations=6, width=2, blocks=1, batch_size=2, total_variation=0.0)
SCENES = [scene.image for scene in make_scenes(7, seed=5)]
STYLE = SCENES[0]


def numbers(run: Any) -> bytes:
    """All that a training has come to."""
    return b"".join(array.tobytes() for array in (*run.parameters.values(), *run.history))


@pytest.mark.torch
@pytest.mark.parametrize("framework", OTHERS)
def test_frameworks_agree(framework: str) -> None:
    method = replace(TINY, iterations=4, total_variation=0.5)

    def trained(framework: str, dtype: str) -> Any:
        with x64(framework, dtype):
            model = network(framework, "resnet20", dtype)
            early, late = (layer(model, name) for name in ("layer1.1", "layer2.1"))
            seen = replace(method, content_layers=(late,), style_layers=(early, late))
            return seen.train(model, SCENES, [SCENES[1], SCENES[2]])

    one, other = (trained(each, "float64") for each in ("torch", framework))
    assert one.parameters["in.kernel"].dtype == other.parameters["in.kernel"].dtype == np.float64
    assert apart(one.history, other.history) <= 1e-6
    for name, array in one.parameters.items():
        np.testing.assert_allclose(other.parameters[name], array, atol=1e-6, err_msg=name)
    one, other = (trained(each, "float32") for each in ("torch", framework))
    assert apart(one.history[0], other.history[0]) <= 1e-4


def test_the_loss_is_what_style_transfer_lowers_for_each_picture() -> None:
    options = {"content_layers": ("relu3",), "style_layers": ("relu1", "relu2"), "layer_weights": (1.0, 3.0)}
    options |= {"content_weight": 0.7, "style_weight": 2.0, "total_variation": 0.4}
    state = next(iter(replace(TINY, **options).begin(demo(), SCENES, STYLE)))
    lone = StyleTransfer(**options, iterations=1, scales=1, parameterisation=Pixels())
    each = [
        next(replace(lone, start=picture).steps(demo(), photo, STYLE))
        for photo, picture in zip(state.photos, state.images, strict=True)
    ]
    assert state.loss == pytest.approx(-np.mean([one.objective for one in each]), rel=1e-4)
    assert state.parts["penalties"] == pytest.approx(np.mean([one.score - one.objective for one in each]), rel=1e-3)
    assert sum(state.parts.values()) == pytest.approx(state.loss, rel=1e-6)


def test_the_loss_falls() -> None:
    made = replace(TINY, iterations=30, rate=0.02).train(demo(), SCENES, STYLE)
    loss = made.history.sum(axis=1)
    assert made.history.shape == (30, len(PARTS))
    assert loss[-5:].mean() < 0.5 * loss[:5].mean()


def test_it_is_the_same_again_and_another_with_another_seed() -> None:
    one, again, other = (TINY.begin(demo(), SCENES, STYLE) for _ in range(3))
    for run in (one, again):
        list(run)
    assert numbers(one) == numbers(again)
    list(other := replace(TINY, seed=1).begin(demo(), SCENES, STYLE))
    assert numbers(one) != numbers(other)


@pytest.mark.parametrize("stop", [0, 1, 4, 6])
def test_a_stopped_training_ends_as_if_it_had_not_been_stopped(tmp_path: Path, stop: int) -> None:
    undisturbed, stopped = (TINY.begin(demo(), SCENES, [STYLE, SCENES[1]]) for _ in range(2))
    list(undisturbed)
    for _ in zip(range(stop), stopped, strict=False):
        pass
    resumed = TINY.begin(demo(), SCENES, [STYLE, SCENES[1]], resume=stopped.save(tmp_path / "stopped.npz"))
    assert resumed.step == stop
    list(resumed)
    assert numbers(resumed) == numbers(undisturbed)
    assert resumed.result().training == undisturbed.result().training


@pytest.mark.parametrize(
    ("method", "images", "style"),
    [
        (replace(TINY, seed=1), SCENES, STYLE),
        (TINY, SCENES[1:], STYLE),
        (TINY, SCENES, SCENES[1]),
        (replace(TINY, style_weight=1.0), SCENES, STYLE),
    ],
)
def test_another_training_is_not_resumed(tmp_path: Path, method: FastStyle, images: Any, style: Any) -> None:
    path = TINY.begin(demo(), SCENES, STYLE).save(tmp_path / "stopped.npz")
    with pytest.raises(OptionError, match="another training"):
        method.begin(demo(), images, style, resume=path)


def test_a_keyboard_interrupt_gives_the_network_so_far() -> None:
    def interrupt(state: State) -> None:
        if state.step == 3:
            raise KeyboardInterrupt

    made = TINY.train(demo(), SCENES, STYLE, callback=interrupt)
    assert (made.training.steps, made.training.finished, len(made.history)) == (3, False, 3)
    assert made.training.warnings == ("Stopped after 3 of 6 steps.",)
    run = TINY.begin(demo(), SCENES, STYLE)
    for _ in zip(range(3), run, strict=False):
        pass
    assert np.array_equal(made.parameters["in.kernel"], run.parameters["in.kernel"])


def test_nan_stops_with_the_network_before_it() -> None:
    run = replace(TINY, rate=1e30).begin(demo(), SCENES, STYLE)
    with np.errstate(all="ignore"):
        steps = [state.run.parameters for state in run]
    made = run.result()
    assert 1 <= len(steps) < TINY.iterations
    assert any("NaN or infinity" in warning for warning in made.training.warnings)
    assert not made.training.finished
    start = TINY.begin(demo(), SCENES, STYLE).parameters if len(steps) == 1 else steps[-2]
    assert all(np.array_equal(made.parameters[name], start[name]) for name in start)


def test_nan_at_once_is_an_error() -> None:
    broken = demo().with_parameters({"conv3.bias": np.full(32, np.nan)})
    with pytest.raises(NonFiniteError):
        replace(TINY, content_layers=("relu3",), style_layers=("relu1", "relu2")).train(broken, SCENES, STYLE)


def test_styles_take_turns_and_are_named_by_their_files(tmp_path: Path) -> None:
    paths = [tmp_path / "grass.png", tmp_path / "brick.png"]
    for path, picture in zip(paths, SCENES, strict=False):
        Image.fromarray(picture).save(path)
    run = TINY.begin(demo(), SCENES, [*paths, SCENES[3]])
    given = [run._given()[1]["mix"]]
    run.step = 1
    given.append(run._given()[1]["mix"])
    np.testing.assert_array_equal(np.concatenate(given), np.eye(3)[[0, 1, 2, 0]])
    assert run.result().styles == ("grass", "brick", "style 3")
    assert run.result().parameters["in.scale"].shape == (3, 2)


def test_only_the_styles_that_were_shown_are_trained() -> None:
    """With one photo per step the second step is the second style's, so after one step its numbers are untouched."""
    run = replace(TINY, batch_size=1).begin(demo(), SCENES, [STYLE, SCENES[1]])
    before = run.parameters["out.shift"]
    next(iter(run))
    moved = run.parameters["out.shift"] != before
    assert moved[0].all()
    assert not moved[1].any()


def test_every_photo_has_its_turn_in_each_round() -> None:
    images = [np.full((4, 4, 3), float(i) / 10) for i in range(5)]
    photos = Photos(images, InputSpec(), (4, 4), "float64", seed=0)
    first, second = (photos.take(range(start, start + 5))[:, 0, 0, 0] for start in (0, 5))
    assert sorted(first) == sorted(second) == [0, 0.1, 0.2, 0.3, 0.4]
    assert list(first) != list(second)
    again = Photos(images, InputSpec(), (4, 4), "float64", seed=0).take([5, 6, 7, 8, 9])[:, 0, 0, 0]
    assert list(again) == list(second)


def test_photos_of_any_size_are_cut_to_the_middle() -> None:
    wide = np.zeros((20, 60, 3), dtype=np.uint8)
    wide[:, 20:40] = 255
    (found,) = Photos([wide], InputSpec(size=(96, 96)), (10, 10), "float32", seed=0).take([0])
    np.testing.assert_array_equal(found, np.ones((10, 10, 3)))


def test_photos_that_cannot_be_read_are_passed_over_and_named(tmp_path: Path) -> None:
    for number, picture in enumerate(SCENES[:3]):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    made = TINY.train(demo(), tmp_path, STYLE)
    assert made.training.photos == 4
    told = made.training.warnings[0]
    assert "broken.jpg was passed over" in told
    for path in tmp_path.glob("?.png"):
        path.write_bytes(b"no photo")
    with pytest.raises(ImageError, match="None of the 4 photos can be read"):
        TINY.train(demo(), tmp_path, STYLE)


def test_a_style_that_is_not_reached_is_told() -> None:
    far = TINY.train(demo(), SCENES, STYLE)
    assert far.history[-1, 1] > 2 * TINY.style_weight
    assert "farther from the style than a blank one" in far.training.warnings[0]
    near = replace(TINY, style_layers=("relu1",), iterations=60, rate=0.02).train(demo(), SCENES, STYLE)
    assert near.history[-10:, 1].mean() < 2 * TINY.style_weight
    assert near.training.warnings == ()


def test_layers_are_those_that_style_transfer_chooses() -> None:
    made = TINY.begin(demo(), SCENES, STYLE).result()
    assert made.training.content == (content_layer(demo(), (96, 96)),)
    assert made.training.style == style_layers(demo(), (), 96)


def test_the_network_of_the_user_is_unchanged() -> None:
    model = demo()
    before = {name: array.copy() for name, array in model.parameters().items()}
    TINY.train(model, SCENES, STYLE)
    assert all(np.array_equal(array, before[name]) for name, array in model.parameters().items())


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        ({"iterations": 0}, OptionError, "iterations"),
        ({"width": 1.5}, OptionError, "width"),
        ({"blocks": 0}, OptionError, "blocks"),
        ({"batch_size": -1}, OptionError, "batch_size"),
        ({"seed": -1}, OptionError, "seed"),
        ({"content_weight": -1.0}, OptionError, "content_weight"),
        ({"style_weight": 0.0}, OptionError, "style_weight"),
        ({"size": 4}, OptionError, "size"),
        ({"rate": 0.0}, OptionError, "rate"),
        ({"total_variation": -1.0}, OptionError, "total_variation"),
        ({"statistics": "mode"}, OptionError, "covariance"),
        ({"layer_weights": (1.0,)}, OptionError, "layer_weights"),
        ({"content_layers": ("relu7",)}, LayerError, "relu5"),
        ({"style_layers": ("relu1", "dense")}, LayerError, "no map"),
        ({"style_layers": "relu1"}, LayerError, "names"),
    ],
)
def test_options_out_of_range_are_refused(change: dict[str, Any], error: type[AgnoscopeError], told: str) -> None:
    with pytest.raises(error, match=told):
        replace(TINY, **change).begin(demo(), SCENES, STYLE)


def test_bad_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no photo"):
        TINY.begin(demo(), tmp_path, STYLE)
    for none in ([], SCENES[0], 3):
        with pytest.raises(ImageError, match="no photos to train on"):
            TINY.begin(demo(), none, STYLE)
    with pytest.raises(ImageError, match="no style image"):
        TINY.begin(demo(), SCENES, [])
    with pytest.raises(ImageError, match="nowhere"):
        TINY.begin(demo(), SCENES, tmp_path / "nowhere.png")
