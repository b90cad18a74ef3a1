"""What the commands that make images share, seen through `agnoscope visualize`."""

import sys
from pathlib import Path

import pytest
from PIL import Image

from agnoscope.cli import output
from agnoscope.cli.imagine.options import PARTS
from agnoscope.optimisation.run import Run
from agnoscope.synthesis import Synthesis

MODEL = ("visualize", "py:mine:wrapped")
CLASS = (*MODEL, "-t", "2")
FAST = ("-O", "optimiser.rate=0.5")
"""Steps so large that every frame of an animation differs from the one before: equal ones are written as one."""


def test_a_class_becomes_a_picture_that_is_named_after_it(folder: Path, run) -> None:
    code, out, _ = run(*CLASS, "--steps", "3", "--size", "5x7")
    assert code == 0
    target, done = out.splitlines()
    assert target.startswith("  class 2: ")
    assert done == "feature-visualization: 1 image, 3 steps → 2_feature-visualization.png"
    with Image.open(folder / "2_feature-visualization.png") as picture:
        assert picture.size == (7, 5)


def test_neurons_at_two_places_become_two_pictures(folder: Path, run) -> None:
    for place in ("1,2", "2,3"):
        assert run(*MODEL, "-l", "conv1", "--channel", "1", "--at", place, "--steps", "1")[0] == 0
    assert len(list(folder.glob("conv1-1-at-*.png"))) == 2


@pytest.mark.parametrize(
    ("words", "targets"),
    [
        (("-t", "0", "-t", "3"), ("class 0", "class 3")),
        (("-l", "relu1"), ("activity of relu1",)),
        (("-l", "relu1", "--channel", "4", "--channel", "1"), ("mean of relu1[4]", "mean of relu1[1]")),
        (("-l", "relu1", "--grid", "3"), ("mean of relu1[0]", "mean of relu1[1]", "mean of relu1[2]")),
        (("-l", "relu1", "--channel", "1", "--at", "2,3"), ("relu1[1] at (2, 3)",)),
    ],
)
def test_the_part_of_the_network_can_be_of_any_size(folder: Path, run, words: tuple[str, ...], targets: tuple) -> None:
    assert run(*MODEL, *words, "--steps", "2", "-o", "x.npz")[0] == 0
    assert Synthesis.load(folder / "x.npz").making.targets == targets


def test_options_reach_the_method_and_its_parts(folder: Path, run) -> None:
    words = (
        "-O",
        "optimiser=ascent",
        "-O",
        "optimiser.rate=0.5",
        "-O",
        "views.count=2",
        "-O",
        "parameterisation=pixels",
    )
    assert run(*CLASS, *words, "--steps", "2", "--seed", "3", "--size", "9", "-o", "x.npz")[0] == 0
    made = Synthesis.load(folder / "x.npz")
    assert (made.making.seed, made.making.steps, made.images.shape) == (3, 2, (1, 9, 9, 3))
    options = made.making.options
    assert (options["optimiser"]["is"], options["optimiser"]["rate"]) == ("Ascent", 0.5)
    assert options["views"]["count"] == 2
    assert options["parameterisation"]["is"] == "Pixels"


def test_a_single_picture_is_drawn_with_titles_if_asked_for(folder: Path, run) -> None:
    assert run(*CLASS, "--steps", "2", "--draw", "-o", "x.png")[0] == 0
    with Image.open(folder / "x.png") as picture:
        assert picture.width > 100


@pytest.mark.parametrize("parameterisation", PARTS["parameterisation"])
@pytest.mark.parametrize("optimiser", PARTS["optimiser"])
def test_every_part_has_a_name(folder: Path, run, parameterisation: str, optimiser: str) -> None:
    words = ("-O", f"parameterisation={parameterisation}", "-O", f"optimiser={optimiser}", "--size", "16", "-t", "0")
    assert run(*CLASS, *words, "--steps", "2", "-o", "x.npz")[0] == 0
    options = Synthesis.load(folder / "x.npz").making.options
    assert options["parameterisation"]["is"].lower() == parameterisation
    assert options["optimiser"]["is"].lower() == optimiser


def test_penalties_and_corrections_have_names_too(folder: Path, run) -> None:
    penalties, corrections = (",".join(PARTS[several]) for several in ("penalties", "corrections"))
    words = ("-O", "parameterisation=pixels", "-O", f"penalties={penalties}:0.5", "-O", f"corrections={corrections}")
    assert run(*CLASS, *words, "--steps", "2", "-o", "x.npz")[0] == 0
    options = Synthesis.load(folder / "x.npz").making.options
    assert [(each["is"], each["weight"]) for each in options["penalties"][-2:]] == [
        ("Spectrum", 1.0),
        ("TotalVariation", 0.5),
    ]
    assert len(options["corrections"]) == len(PARTS["corrections"])
    assert run(*CLASS, "-O", "penalties=none", "--steps", "2", "-o", "x.npz")[0] == 0


def test_pictures_are_kept_on_the_way_and_become_an_animation(folder: Path, run) -> None:
    words = ("--steps", "6", "-t", "1", "-o", "x.png", "--save-every", "2", "--animation", "x.webp", *FAST)
    code, out, _ = run(*CLASS, *words)
    assert code == 0
    assert out.splitlines()[-1].endswith("→ x.png, x.webp, x_steps")
    assert sorted(path.name for path in (folder / "x_steps").iterdir()) == ["00002.png", "00004.png", "00006.png"]
    with Image.open(folder / "x_steps" / "00004.png") as picture:
        assert picture.size == (14, 5)  # two images side by side
    with Image.open(folder / "x.webp") as animation:
        assert animation.n_frames == 7  # a frame per step, and what came of it
        assert animation.size == (308, 110)


def test_the_run_alone_may_be_asked_for(folder: Path, run) -> None:
    assert run(*CLASS, "--steps", "4", "-o", "run.gif")[0] == 0
    assert [path.name for path in folder.glob("run*")] == ["run.gif"]
    with Image.open(folder / "run.gif") as animation:
        assert animation.n_frames > 1


def test_the_objective_is_told_now_and_then_in_a_pipe_and_beside_a_bar_on_a_terminal(
    folder: Path, run, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    _, _, err = run(*CLASS, "--steps", "25", "-o", "x.npz")
    lines = err.splitlines()
    assert len(lines) == 10
    assert lines[-1].startswith("feature-visualization: step 25 of 25, objective ")
    history = Synthesis.load(folder / "x.npz").history
    assert float(lines[-1].split()[-1]) == pytest.approx(history[-1, 0], rel=1e-2)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with output.progress_of_run("work") as report:
        report(1, 2, 0.25)
    shown = capsys.readouterr().err
    assert "1/2" in shown
    assert "objective 0.25" in shown


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "what to visualise"),
        (("-t", "1", "-l", "relu1"), "not both"),
        (("-t", "9"), "4 classes"),
        (("-t", "dog"), "no labels"),
        (("-t", "top-1"), "what to visualise"),
        (("-t", "1", "--channel", "3"), "--layer"),
        (("-l", "relu9"), "'relu2'"),
        (("-l", "relu1", "--channel", "6"), "it has 6"),
        (("-l", "relu1", "--channel", "-1"), "--channel"),
        (("-l", "relu1", "--grid", "7"), "it has 6"),
        (("-l", "relu1", "--grid", "0"), "--grid"),
        (("-l", "relu1", "--grid", "2", "--channel", "1"), "one of them"),
        (("-l", "relu1", "--at", "1,1"), "--channel"),
        (("-l", "relu1", "--channel", "1", "--at", "5,0"), "(5, 0)"),
        (("-l", "relu1", "--channel", "1", "--at", "3"), "ROW,COLUMN"),
        (("-t", "1", "--steps", "0"), "--steps"),
        (("-t", "1", "--size", "0"), "size"),
        (("-t", "1", "--size", "3x4x5"), "size"),
        (("-t", "1", "--size", "big"), "'big'"),
        (("-t", "1", "--seed", "-1"), "--seed"),
        (("-t", "1", "--save-every", "0"), "--save-every"),
        (("-t", "1", "--batch-size", "0"), "--batch-size"),
        (("-t", "1", "-m", "grad-cam"), "no synthesizer 'grad-cam'"),
        (("-t", "1", "-O", "depth=3"), "no option 'depth'"),
        (("-t", "1", "-O", "optimiser=adan"), "There are adam"),
        (("-t", "1", "-O", "optimiser=3"), "no optimiser 3"),
        (("-t", "1", "-O", "optimiser.speed=3"), "Adam has no option 'speed'"),
        (("-t", "1", "-O", "size.height=3"), "has no option 'height'"),
        (("-t", "1", "-O", "parameterisation=oil"), "pixels"),
        (("-t", "1", "-O", "penalties=l2,l3"), "'l3'"),
        (("-t", "1", "-O", "penalties=l2:much"), "NAME:WEIGHT"),
        (("-t", "1", "-O", "penalties=3"), "total-variation"),
        (("-t", "1", "-O", "corrections=blur:2", "-O", "parameterisation=pixels"), "no weight"),
        (("-t", "1", "-O", "corrections=blur"), "pixels"),
        (("-t", "1", "-o", "x.txt"), ".npz"),
        (("-t", "1", "-o", "absent/x.png"), "does not exist"),
        (("-t", "1", "-o", "x"), "existing folder"),
        (("-t", "1", "--draw", "-o", "x.npz"), "--draw is for a picture"),
        (("-t", "1", "--draw", "-o", "x.gif"), "--draw is for a picture"),
        (("-t", "1", "--animation", "x.mp4"), ".gif"),
        (("-t", "1", "--animation", "absent/x.gif"), "does not exist"),
        (("-t", "1", "--animation", "x.gif", "-o", "y.gif"), "animation already"),
        (("-t", "1", "--animation", "x.webp", "-o", "x.webp"), "give two"),
        (("-t", "1", "--resume"), "There is no stopped run '1_feature-visualization.stopped.npz'"),
    ],
)
def test_a_mistake_is_one_line_before_any_work_is_done(
    folder: Path, run, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], says: str
) -> None:
    monkeypatch.setattr(Run, "_forward", lambda *_: pytest.fail("a step was made"))
    before = sorted(folder.rglob("*"))
    code, out, err = run(*MODEL, *words)
    assert (code, out) == (2, "")
    assert err.startswith("agnoscope: ")
    assert len(err.splitlines()) == 1
    assert says in err
    assert sorted(folder.rglob("*")) == before


def test_a_file_in_the_place_of_the_folder_is_left_alone(folder: Path, run) -> None:
    (folder / "x_steps").write_text("mine")
    code, _, err = run(*CLASS, "-o", "x.png", "--save-every", "2")
    assert code == 2
    assert "'x_steps'" in err
    assert (folder / "x_steps").read_text() == "mine"
