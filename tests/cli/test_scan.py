"""`agnoscope scan`: a folder goes through a network from the command line, and what was left out is told."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from agnoscope import FileError, ImageError, Neuron, OptionError
from agnoscope.cli.collection import scan as module
from agnoscope.cli.collection.scan import in_words, progress_of_scan, scan
from agnoscope.scan.scan import Scan


@pytest.fixture
def photos(folder: Path) -> Path:
    """Photos of two kinds, in folders of their names, beside one that is damaged."""
    (folder / "photo.png").unlink()
    for number in range(8):
        noise = np.random.default_rng(number).integers(0, 256, (9, 8, 3), dtype=np.uint8)
        (folder / "photos" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise).save(folder / "photos" / "ab"[number % 2] / f"{number}.png")
    (folder / "photos" / "bad.jpg").write_text("no photo")
    return folder / "photos"


def called(*words: str) -> Result:
    """Run it: what it printed; what it refused is raised."""
    found = CliRunner().invoke(scan, words)
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found


def test_a_folder_is_scanned_and_the_end_tells_what_was_done(photos: Path) -> None:
    layers = ["-l", "relu1", "-l", "relu2", "--maps", "conv1", "--neuron", "relu2:3:1,4", "--neuron", "dense:1"]
    found = called("py:mine.py:wrapped", "photos", "--out", "run", *layers, "--labels-from", "folders", "--keep", "5")
    assert found.exit_code == 0
    assert "8 of 9 images done → run" in found.stdout
    assert "left out: bad.jpg: " in found.stdout
    assert "agnoscope patches MODEL run" in found.stdout
    assert "agnoscope classes MODEL run" in found.stdout
    left = Scan.open("run")
    assert left.layers == ("relu1", "relu2")
    assert left.labels == ["a"] * 4 + ["b"] * 4
    assert left.top_neurons(5).y.tolist() == [[1] * 5, [0] * 5]
    assert next(left.maps("conv1"))[1].shape == (8, 5, 7, 6)


def test_progress_in_a_pipe_is_a_line_at_every_tenth_with_the_time_left(photos: Path) -> None:
    found = called("py:mine.py:wrapped", "photos", "--out", "run", "--shard", "2")
    lines = found.stderr.splitlines()
    assert [line.split(",")[0] for line in lines] == [f"scan: {done * 100 // 9} %" for done in (2, 4, 6, 8, 9)]
    assert lines[1].endswith("s left")
    assert lines[-1] == "scan: 100 %, 9 of 9 images"


def test_a_scan_is_resumed_only_where_that_is_asked_for(photos: Path) -> None:
    words = ("py:mine.py:wrapped", "photos", "--out", "run", "--shard", "2")
    called(*words)
    (photos.parent / "run" / "shards" / "000001.npz").unlink()
    with pytest.raises(OptionError, match="resume it"):
        called(*words)
    assert "8 of 9 images done" in called(*words, "--resume").stdout
    with pytest.raises(OptionError, match=r"plan\.keep"):
        called(*words, "--resume", "--keep", "3")


def test_ctrl_c_says_how_to_go_on(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupts:
        def __call__(self, done: int, total: int) -> None:
            if done >= 4:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "_Lines", lambda _: Interrupts())
        found = CliRunner().invoke(scan, ("py:mine.py:wrapped", "photos", "--out", "run", "--shard", "2"))
    assert found.exit_code == 1
    assert "--resume goes on with run" in found.stderr
    assert "8 of 9" in called("py:mine.py:wrapped", "photos", "--out", "run", "--shard", "2", "--resume").stdout


def test_a_network_takes_its_options_and_workers_load_it_themselves(photos: Path) -> None:
    options = ("--input-size", "5x7", "--labels", "labels.txt", "--mean", "0.5")
    found = called("py:mine.py:network", "photos", "--out", "run", *options, "--workers", "2", "--shard", "4")
    assert "8 of 9 images done" in found.stdout
    opened = Scan.open("run")
    assert opened.size == (5, 7)
    assert opened.answers[0][0][0].split()[0] in ("cat", "dog", "bird", "fish")
    assert "8 of 9" in called("py:mine.py:network", "photos", "--out", "other", "--size", "6x6").stdout
    assert Scan.open("other").size == (6, 6)


def test_pixels_in_a_file_are_a_folder_too(photos: Path) -> None:
    np.save(photos.parent / "pixels.npy", np.zeros((3, 5, 7, 3), dtype=np.uint8))
    assert "3 of 3 images done" in called("py:mine.py:wrapped", "pixels.npy", "--out", "run").stdout


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("name,label\nb/1.png,beta\na/0.png,alpha\n", {"a/0.png": "alpha", "b/1.png": "beta", "b/3.png": ""}),
        ('a/0.png,"with, comma"\n', {"a/0.png": "with, comma", "a/2.png": ""}),
        ("\n".join("abcdefghi"), {"a/0.png": "a", "b/1.png": "e", "b/7.png": "h"}),
    ],
)
def test_labels_come_from_files(photos: Path, text: str, labels: dict[str, str]) -> None:
    Path("told.csv").write_text(text)
    called("py:mine.py:wrapped", "photos", "--out", "run", "--labels-from", "told.csv")
    opened = Scan.open("run")
    assert opened.labels is not None
    told = dict(zip(opened.names, opened.labels, strict=True))
    assert {name: told[name] for name in labels} == labels


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        (("--labels-from", "missing.csv"), FileError, "cannot be read"),
        (("--labels-from", "wrong.csv"), OptionError, "names no photo.*a/0.png"),
        (("--labels-from", "short.txt"), OptionError, "2 labels for 9 images"),
        (("--neuron", "relu2"), OptionError, "LAYER:CHANNEL"),
        (("--neuron", "relu2:x"), OptionError, "LAYER:CHANNEL"),
        (("--engine", "nowhere"), OptionError, "nowhere"),
    ],
)
def test_what_makes_no_sense_is_refused(
    photos: Path, words: tuple[str, ...], kind: type[Exception], message: str
) -> None:
    Path("wrong.csv").write_text("z.png,label\n")
    Path("short.txt").write_text("one\ntwo\n")
    with pytest.raises(kind, match=message):
        called("py:mine.py:wrapped", "photos", "--out", "run", *words)


def test_of_many_bad_photos_ten_are_listed_and_a_scan_of_nothing_else_fails(photos: Path) -> None:
    for number in range(14):
        (photos / f"worse{number:02d}.jpg").write_text("no photo")
    found = called("py:mine.py:wrapped", "photos", "--out", "run")
    assert found.stdout.count("left out: ") == 10
    assert "and 5 more" in found.stdout
    (photos.parent / "none").mkdir()
    (photos.parent / "none" / "bad.jpg").write_text("no photo")
    with pytest.raises(ImageError, match="Not one of 1 images"):
        called("py:mine.py:wrapped", "none", "--out", "other")


def test_neurons_are_named_by_layer_channel_and_place() -> None:
    assert module._neuron("block.1:3") == Neuron("block.1", 3)
    assert module._neuron("layer@1:3:2,5") == Neuron("layer@1", 3, (2, 5))
    assert module._neuron("tokens:3:7") == Neuron("tokens", 3, (7,))  # type: ignore[arg-type]
    assert module._neuron("scope:0:3:2,5") == Neuron("scope:0", 3, (2, 5))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (18_442, "5 h 7 min")],
)
def test_durations_are_told_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with progress_of_scan("scan") as report:
        for total in (0, 7):
            report(3, total)


def test_what_a_resumed_scan_has_done_takes_no_time(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock: Any = iter((0.0, 100.0, 110.0, 120.0))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    with progress_of_scan("scan") as report:
        for done in (500, 600, 1000):
            report(done, 1000)
    assert capsys.readouterr().err.splitlines() == [
        "scan: 60 %, 600 of 1000 images, 40 s left",
        "scan: 100 %, 1000 of 1000 images",
    ]
