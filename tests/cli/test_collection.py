"""The commands that show what a scan holds: patches, neighbours, map and classes."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

import agnoscope as ag
from agnoscope.cli.collection.classes import classes
from agnoscope.cli.collection.map import map_command
from agnoscope.cli.collection.neighbours import neighbours
from agnoscope.cli.collection.patches import patches
from agnoscope.demo import CLASSES
from agnoscope.demo.models import load
from agnoscope.demo.scenes import make_scenes

MODEL = ("demo:cheater", "run", "--backend", "reference")
COMMANDS = {"patches": patches, "neighbours": neighbours, "map": map_command, "classes": classes}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scan of fifteen scenes in folders named by their things, with masks."""
    folder = tmp_path_factory.mktemp("scenes")
    for number, scene in enumerate(make_scenes(15, 5, correlated=0.9)):
        for what, pixels in (("photos", scene.image), ("masks", scene.mask)):
            place = folder / what / CLASSES[scene.label] / f"{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(place)
    model = load("cheater", "reference")
    ag.scan_all(model, folder / "photos", folder / "run", layers=("relu5", "conv2"), labels="folders", keep=9)
    ag.scan_all(model, folder / "photos" / "ball", folder / "bare", layers="relu5")
    return folder


@pytest.fixture
def call(scenes: Path, monkeypatch: pytest.MonkeyPatch):
    """Run one of the commands in the folder of the scan."""
    monkeypatch.chdir(scenes)

    def run(command: str, *words: str) -> Result:
        return CliRunner().invoke(COMMANDS[command], words)

    return run


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def test_patches_draws_a_picture_and_counts_the_dead(scenes: Path, call) -> None:
    found = call("patches", *MODEL, "-c", "3", "-c", "19", "-k", "4", "-o", "p.png")
    assert found.exit_code == 0, found.output
    lines = found.output.splitlines()
    assert lines[0].startswith("channel 3: ")
    assert lines[1].startswith("channel 19: ")
    assert " of 48 are dead." in found.output
    assert size(scenes / "p.png")[0] > 400


def test_patches_writes_a_folder(scenes: Path, call) -> None:
    found = call("patches", *MODEL, "-l", "conv2", "--count", "2", "-k", "3", "--diverse", "--plain", "-o", "folder")
    assert found.exit_code == 0, found.output
    told = json.loads((scenes / "folder" / "patches.json").read_text())
    assert len(told["units"]) == 2
    assert "guided" not in told["units"][0]["examples"][0]


def test_neighbours_prints_a_table_of_both_spaces(scenes: Path, call) -> None:
    name = next((scenes / "photos").rglob("*.png")).relative_to(scenes / "photos").as_posix()
    found = call("neighbours", *MODEL[:2], name, "demo:0", *MODEL[2:], "-k", "2", "-o", "n.png")
    assert found.exit_code == 0, found.output
    table = [line.split() for line in found.output.splitlines()[1:-1]]
    assert [(line[0], line[1]) for line in table] == [
        (query, space) for query in (name, "demo:0") for space in ("features", "features", "pixels", "pixels")
    ]
    assert all(line[2] != name for line in table[:4])
    assert size(scenes / "n.png")[0] > 300


def test_classes_names_what_fires_off_the_object(scenes: Path, call) -> None:
    found = call("classes", *MODEL, "--masks", "masks", "--count", "1", "-k", "2", "-o", "c.png")
    assert found.exit_code == 0, found.output
    rows = [line for line in found.output.splitlines() if line.startswith(CLASSES)]
    assert [row.split()[0] for row in rows] == sorted(CLASSES)
    assert any("spurious?" in row for row in rows)
    assert "Fire off the object: " in found.output
    assert size(scenes / "c.png")[1] > 500
    alone = call("classes", *MODEL, "--class", "ball", "--count", "1", "-k", "2", "-o", "one.png")
    assert alone.exit_code == 0, alone.output
    assert "off the object" not in alone.output


def test_map_prints_what_it_is_worth(scenes: Path, call) -> None:
    for words in (("-o", "m.png"), ("--grid", "-o", "g.png"), ("--look", "dots", "-o", "d.png")):
        found = call("map", "run", "--method", "pca", *words)
        assert found.exit_code == 0, found.output
        assert "; trustworthiness " in found.output
        assert size(scenes / words[-1])[0] > 200
    found = call("map", "run", "--method", "pca", "--most", "10", "-o", "m.html")
    assert found.exit_code == 0, found.output
    assert "10 of 15 images, drawn at random (seed 0)." in found.output
    page = (scenes / "m.html").read_text()
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert "Content-Security-Policy" in page


def test_mistakes_are_told_before_any_work(call) -> None:
    for command, words, error, message in (
        ("patches", (*MODEL, "-o", "p.txt"), ag.OptionError, "must be a folder or end in"),
        ("patches", ("demo:honest", *MODEL[1:]), ag.OptionError, "another network"),
        ("patches", (*MODEL, "-k", "10"), ag.OptionError, "from 1 to 9"),
        ("patches", (*MODEL, "-c", "48"), ag.TargetError, "it has 48, from 0"),
        ("patches", (*MODEL, "-l", "conv3"), ag.LayerError, "kept no layer"),
        ("patches", (*MODEL, "--neurons"), ag.LayerError, "kept no neurons"),
        ("neighbours", (*MODEL[:2], "none.png", *MODEL[2:]), ag.ImageError, "no image file"),
        ("neighbours", (*MODEL[:2], "none.png", "-o", "n.html"), ag.OptionError, "must end in"),
        ("classes", ("demo:cheater", "bare", *MODEL[2:]), ag.OptionError, "has no labels"),
        ("classes", (*MODEL, "--class", "dog"), ag.OptionError, "no image of a class 'dog'"),
        ("classes", (*MODEL, "--masks", "nowhere"), ag.FileError, "no folder"),
        ("map", ("run", "-o", "map.gif"), ag.OptionError, "must end in"),
        ("map", ("nowhere",), ag.FileError, "no scan"),
        ("map", ("run", "-l", "conv3"), ag.LayerError, "kept no layer"),
    ):
        found = call(command, *words)
        assert isinstance(found.exception, error), (command, words, found.output)
        assert message in str(found.exception)
