"""The command line as a user meets it: what it prints, what it writes, and how it refuses."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import agnoscope as ag
from agnoscope.cli import output
from agnoscope.cli.options import named_value


def test_explain_prints_the_answers_and_writes_the_picture(folder: Path, run) -> None:
    code, out, err = run("explain", "py:mine.py:network", "photo.png", "--size", "5x7", "--labels", "labels.txt")
    assert (code, err) == (0, "")
    answers, done = out.splitlines()[:2]
    assert answers.startswith("photo.png: ")
    assert answers.count(" · ") == 2
    assert answers.count("%") == 3
    assert "grad-cam of " in done
    assert "at relu2" in done
    with Image.open(folder / "photo_grad-cam.png") as picture:
        assert picture.width > 100


def test_values_are_written_with_their_provenance(folder: Path, run) -> None:
    words = ("explain", "py:mine.py:network", "photo.png", "--size", "5x7", "--labels", "labels.txt")
    options = (
        "-m",
        "occlusion",
        "--window",
        "3x2",
        "--stride",
        "2",
        "--fill",
        "0.1,0.2,0.3",
        "-t",
        "Dog",
        "-o",
        "x.npz",
    )
    code, out, _ = run(*words, *options)
    assert code == 0
    assert "x.npz" in out
    found = ag.Explanation.load(folder / "x.npz")
    assert found.provenance.targets == ("dog [1]",)
    assert found.provenance.options == {"window": (3, 2), "stride": (2, 2), "fill": (0.1, 0.2, 0.3)}
    assert found.provenance.input["size"] == (5, 7)


def test_options_reach_network_method_and_target(folder: Path, run) -> None:
    words = ("explain", "py:mine.py:network", "photo.png", "--size", "5x7", "-o", "x.npz", "--probability", "-t", "2")
    code, _, err = run(*words, "--range", "0,255", "--mean", "1,2,3", "--std", "50", "--channels", "BGR", "-l", "relu1")
    assert (code, err) == (0, "")
    p = ag.Explanation.load(folder / "x.npz").provenance
    assert (p.space, p.layer, p.targets) == ("probability", "relu1", ("class 2",))
    assert p.input == {
        "size": (5, 7),
        "bounds": (0.0, 1.0),
        "range": (0.0, 255.0),
        "mean": (1.0, 2.0, 3.0),
        "std": 50.0,
        "channels": "BGR",
    }


def test_several_images_go_into_a_folder(folder: Path, run) -> None:
    (folder / "copy.png").write_bytes((folder / "photo.png").read_bytes())
    (folder / "out").mkdir()
    code, _, _ = run("explain", "py:mine:wrapped", "photo.png", "copy.png", "-o", "out", "-O", "upsample=false")
    assert code == 0
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["copy_grad-cam.png", "photo_grad-cam.png"]


def test_what_was_done_is_kept_when_a_later_image_fails(folder: Path, run) -> None:
    (folder / "bad.png").write_bytes(b"no picture")
    code, _, err = run("explain", "py:mine:wrapped", "photo.png", "bad.png")
    assert code == 2
    assert "bad.png" in err
    assert (folder / "photo_grad-cam.png").exists()
    assert not (folder / "bad_grad-cam.png").exists()


def test_layers_are_listed_in_order(folder: Path, run) -> None:
    code, out, _ = run("layers", "py:mine:wrapped")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == [
        "name",
        "conv1",
        "relu1",
        "conv2",
        "relu2",
        "gap",
        "dense",
        "644",
    ]
    assert "5 × 7 × 6" in out


def test_methods_and_plugins_are_listed(run) -> None:
    _, methods, _ = run("methods")
    attributions, makers = methods.split("\n\n")
    names = {line.split()[0] for line in attributions.splitlines()[1:]}
    assert {"saliency", "integrated-gradients", "grad-cam++", "score-cam", "rise", "kernel-shap", "lrp"} <= names
    assert "captum:saliency" in names
    assert "window, stride, fill" in methods
    assert {"feature-visualization", "deep-dream"} <= {line.split()[0] for line in makers.splitlines()[1:]}
    assert "grad-cam" not in makers
    _, plugins, _ = run("plugins")
    assert "agnoscope.backends.torch:wrap" in plugins
    assert "synthesizer" in {line.split()[0] for line in plugins.splitlines()}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("explain", "nothing", "photo.png"), "SCHEME:NAME"),
        (("explain", "zoo:x", "photo.png"), "no source 'zoo'"),
        (("explain", "demo:crook", "photo.png"), "demo:honest"),
        (("explain", "py:mine.py:absent", "photo.png"), "no 'absent'"),
        (("explain", "py:absent.py:f", "photo.png"), "absent.py"),
        (("explain", "py:absent_module:f", "photo.png"), "absent_module"),
        (("explain", "py:mine:number", "photo.png"), "int"),
        (("explain", "absent.keras", "photo.png"), "absent.keras"),
        (("explain", "py:mine:wrapped", "absent.png"), "absent.png"),
        (("explain", "py:mine:wrapped"), "IMAGE"),
        (("explain", "py:mine:wrapped", "photo.png", "--size", "9"), "input_size"),
        (("explain", "py:mine:network", "photo.png", "--size", "big"), "'big'"),
        (("explain", "py:mine:wrapped", "photo.png", "-m", "grad-cm"), "'grad-cam'"),
        (("explain", "py:mine:wrapped", "photo.png", "-t", "9"), "4 classes"),
        (("explain", "py:mine:wrapped", "photo.png", "-t", "cat"), "no labels"),
        (("explain", "py:mine:wrapped", "photo.png", "-l", "relu9"), "relu2"),
        (("explain", "py:mine:wrapped", "photo.png", "-O", "layer"), "NAME=VALUE"),
        (("explain", "py:mine:wrapped", "photo.png", "-O", "depth=3"), "no option 'depth'"),
        (("explain", "py:mine:wrapped", "photo.png", "--window", "3"), "no option 'window'"),
        (("explain", "py:mine:wrapped", "photo.png", "-m", "occlusion", "--window", "99"), "larger than the image"),
        (("explain", "py:mine:wrapped", "photo.png", "-o", "x.txt"), ".npz"),
        (("explain", "py:mine:wrapped", "photo.png", "-o", "absent/x.png"), "does not exist"),
        (("explain", "py:mine:wrapped", "photo.png", "photo.png"), "photo_grad-cam.png"),
        (("explain", "py:mine:wrapped", "photo.png", "mine.py", "-o", "x.png"), "give a folder"),
        (("explain", "py:mine:wrapped", "photo.png", "--renderer", "cubist"), "cubist"),
        (("explain", "py:mine:network", "photo.png", "--labels", "absent.txt", "--size", "5x7"), "absent.txt"),
        (("explain", "py:mine:broken", "photo.png", "--size", "5x7"), "conv2"),
        (("explain", "py:mine:wrapped", "demo:x"), "demo:0"),
        (("layers", "py:mine:network"), "input size"),
        (("explain", "py:mine:network", "photo.png", "--size", "5.5"), "input_size"),
        (("explain", "py:mine:network", "photo.png", "--range", "255"), "range"),
        (("explain", "py:mine:wrapped", "photo.png", "-m", "random", "--seed", "-1"), "--seed"),
        (("explain", "py:mine:wrapped", "photo.png", "--batch-size", "0"), "--batch-size"),
        (("explain", "py:mine:wrapped", "photo.png", "-m", "occlusion", "--fill", "none"), "fill"),
        (("demo", "--scene", "-100"), "scene"),
        (("demo", "--out", "x.txt"), ".png"),
        (("paint",), "paint"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_two(folder: Path, run, words: tuple[str, ...], says: str) -> None:
    before = sorted(folder.rglob("*.png")) + sorted(folder.rglob("*.npz"))
    code, _, err = run(*words)
    assert code == 2
    assert err.startswith("agnoscope: ")
    assert len(err.splitlines()) == 1
    assert says in err
    assert sorted(folder.rglob("*.png")) + sorted(folder.rglob("*.npz")) == before


def test_no_bar_in_a_pipe_and_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    with output.progress("work") as progress:
        progress(1, 2)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with output.progress("work") as progress:
        progress(1, 2)
    assert "work" in capsys.readouterr().err


def test_help_needs_no_framework() -> None:
    code = (
        "import sys; sys.argv = ['agnoscope', '--help']\n"
        "from agnoscope.cli import main\n"
        "main()\n"
        "print([m for m in ('numpy', 'torch', 'jax', 'tensorflow', 'keras', 'skimage') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "explain" in done.stdout


def test_names_and_endings_are_taken_as_they_are(folder: Path, run) -> None:
    (folder / "photo.png").rename(folder / "plain")
    (folder / "out").mkdir()
    words = ("explain", "py:mine:wrapped", str(folder / "plain"), "-m", "captum:saliency")
    assert run(*words, "-o", "out")[0] == 0
    assert [path.name for path in (folder / "out").iterdir()] == ["plain_captum-saliency.png"]
    assert run(*words, "-o", "values.NPZ")[0] == 0


def test_a_layer_may_be_called_by_a_number_and_labels_begin_with_a_mark() -> None:
    assert named_value("layer=0") == ("layer", "0")
    assert named_value("layers=1.10,2") == ("layers", ("1.10", "2"))
    assert named_value("layer=none") == ("layer", None)
