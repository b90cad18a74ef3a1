"""`agnoscope sanity` as a user meets it."""

import json
from pathlib import Path

import pytest
from PIL import Image

from agnoscope.demo.scenes import make_scenes


def test_the_command_finds_the_memoriser_by_itself(folder: Path, run) -> None:
    words = ("sanity", "demo:honest", "-m", "saliency", "--count", "12", "--backend", "reference", "-o", "found.json")
    code, out, err = run(*words)
    assert (code, err) == (0, "")
    header, saliency, control = out.splitlines()[:3]
    assert header.split()[:7] == ["method", "dense", "conv5", "conv4", "conv3", "conv2", "conv1"]
    assert "depends on the weights" in saliency
    assert saliency.rstrip().endswith("depends on the labels")
    assert control.startswith("(edge-filter)")
    assert control.count("does not") == 2
    assert len(json.loads((folder / "found.json").read_text())["rows"]) == 2


def test_photos_are_taken_and_without_a_second_network_the_labels_are_left_out(folder: Path, run) -> None:
    (folder / "photos").mkdir()
    for number, scene in enumerate(make_scenes(3, 5)):
        Image.fromarray(scene.image).save(folder / "photos" / f"{number}.png")
    words = ("-m", "saliency", "-m", "guided-backprop", "--backend", "reference")
    code, out, err = run("sanity", "demo:cheater", "photos", "demo:0", *words)
    assert (code, err) == (0, "")
    assert "labels" not in out
    assert "over 4 images" in out
    assert "undecided" in out  # four are too few
    code, out, _ = run("sanity", "demo:cheater", "demo:0", "-m", "saliency", "--other", "demo:memoriser", *words[-2:])
    assert code == 0
    assert "on the labels" in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("demo:honest", "-o", "x.csv"), ".json"),
        (("demo:honest", "--count", "1"), "--count 1"),
        (("demo:honest", "-m", "grad-cm"), "grad-cam"),
        (("demo:honest", "absent.png"), "absent.png"),
        (("demo:honest", "--other", "demo:thief"), "demo:memoriser"),
    ],
)
def test_a_mistake_is_one_line(folder: Path, run, words: tuple[str, ...], says: str) -> None:
    code, out, err = run("sanity", *words, "--backend", "reference")
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert says in err
