"""`agnoscope layers`, `features` and `filters`: what a network holds."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

import agnoscope as ag
from agnoscope.cli.inside import features, filters
from agnoscope.cli.lists import layers

DEMO = ("demo:honest", "--backend", "reference")


def call(command, *words: str) -> Result:
    return CliRunner().invoke(command, words)


def test_layers_tell_shapes_parameters_and_what_units_see() -> None:
    lines = [" ".join(line.split()) for line in call(layers, *DEMO).output.splitlines()]
    assert lines[0] == "name kind type shape parameters sees"
    assert lines[3] == "conv2 conv Conv 48 × 48 × 24 3,480 8 × 8"
    assert lines[4] == "relu2 relu Relu 48 × 48 × 24 8 × 8"
    assert lines[-2] == "dense dense Dense 3 147"
    assert lines[-1] == "50,603 parameters"


def test_layers_as_json_have_the_same_numbers() -> None:
    found = json.loads(call(layers, *DEMO, "--json").output)
    assert found["parameters"] == sum(layer["parameters"] for layer in found["layers"]) == 50603
    assert found["layers"][8] == {
        "name": "conv5",
        "kind": "conv",
        "type": "Conv",
        "shape": [12, 12, 48],
        "parameters": 24624,
        "sees": [34, 34],
        "sees_all": False,
    }


def test_receptive_fields_can_be_left_out() -> None:
    assert call(layers, *DEMO, "--no-receptive-fields").output.splitlines()[0].split()[-1] == "parameters"
    found = json.loads(call(layers, *DEMO, "--json", "--no-receptive-fields").output)
    assert {layer["sees"] for layer in found["layers"]} == {None}


def test_layers_of_a_network_that_cannot_be_measured_are_listed_with_a_note(folder: Path) -> None:
    out = call(layers, "py:mine:broken", "--size", "5x7").output
    assert "conv1" in out
    assert "note: Receptive fields were not measured. The network gives NaN or infinity in 'conv2'" in out


def test_names_that_layers_lists_are_taken_by_the_other_commands(folder: Path) -> None:
    names = [
        layer["name"] for layer in json.loads(call(layers, *DEMO, "--json", "--no-receptive-fields").output)["layers"]
    ]
    done = call(features, *DEMO, "demo:0", "-l", names[1], "-l", names[9], "--most", "3", "--percentile", "99")
    assert done.exit_code == 0, done.exception
    assert "relu5: 12 × 12, 31 of 48 channels dead here" in done.output
    assert Image.open("demo-0_features.png").width > 8 * 96
    assert call(filters, *DEMO, "-l", names[2]).exit_code == 0
    assert Path("conv2_filters.png").exists()


def test_features_of_every_layer_go_into_a_folder(folder: Path) -> None:
    (folder / "maps").mkdir()
    done = call(features, *DEMO, "demo:1", "--out", "maps", "--most", "4", "--side", "16")
    assert done.exit_code == 0, done.exception
    assert [path.name for path in sorted((folder / "maps").iterdir())][:3] == [
        "000_conv1.png",
        "001_relu1.png",
        "002_conv2.png",
    ]


def test_filters_go_where_they_are_told(folder: Path) -> None:
    done = call(filters, *DEMO, "--out", "mine.webp", "--scale", "own")
    assert "conv1: 4 × 4 × 3 × 16 weights → mine.webp" in done.output
    assert Path("mine.webp").exists()


@pytest.mark.parametrize(
    ("command", "words", "error", "reason"),
    [
        (features, ("demo:0", "--layer", "conv9"), ag.LayerError, "no layer 'conv9'"),
        (features, ("demo:0", "--layer", "dense"), ag.LayerError, "no map of"),
        (features, ("demo:0", "--out", "a.txt"), ag.OptionError, "must be a folder or end in"),
        (features, ("demo:0", "--out", "none/a.png"), ag.OptionError, "does not exist"),
        (features, ("missing.png",), ag.ImageError, "missing.png"),
        (filters, ("--layer", "relu1"), ag.CapabilityError, "not one convolution"),
        (filters, ("--out", "a.txt"), ag.OptionError, "must be a folder or end in"),
    ],
)
def test_a_mistake_is_said_before_any_picture_is_made(folder: Path, command, words, error, reason: str) -> None:
    done = call(command, *DEMO, *words)
    assert isinstance(done.exception, error)
    assert reason in str(done.exception)
    assert not list(folder.glob("*features*")) + list(folder.glob("*filters*"))
