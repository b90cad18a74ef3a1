"""The commands that begin from photos: each reaches its method with what the user asked for."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from agnoscope.optimisation.run import Run
from agnoscope.synthesis import Synthesis

NETWORK = "py:mine:wrapped"


def made(folder: Path, run, *words: str) -> Synthesis:
    code, _, err = run(*words, "-o", "x.npz")
    assert code == 0, err
    return Synthesis.load(folder / "x.npz")


def test_a_dream_of_a_photo(folder: Path, run) -> None:
    words = ("dream", NETWORK, "photo.png", "--steps", "2", "-O", "octaves=2")
    found = made(folder, run, *words, "--size", "14x20", "-l", "relu1", "-l", "relu2=0.5")
    assert (found.making.method, found.making.steps, found.images.shape) == ("deep-dream", 4, (1, 14, 20, 3))
    assert found.making.targets == ("activity of relu1 + 0.5 × activity of relu2",)
    assert made(folder, run, *words, "-l", "relu1", "--channel", "3").making.targets == ("mean of relu1[3]",)
    assert made(folder, run, *words, "-t", "1").making.targets == ("class 1",)
    assert made(folder, run, *words).making.targets[0].startswith("activity of ")


def test_a_guide_changes_the_dream(folder: Path, run) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (20, 28, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "guide.png")
    words = ("dream", NETWORK, "photo.png", "--steps", "2", "-O", "octaves=1", "-l", "relu1")
    plain, guided = made(folder, run, *words), made(folder, run, *words, "--guide", "guide.png")
    assert plain.making.targets != guided.making.targets


def test_a_photo_is_named_in_the_file(folder: Path, run) -> None:
    assert run("dream", NETWORK, "photo.png", "--steps", "1")[0] == 0
    assert (folder / "photo_deep-dream.png").exists()
    (folder / "out").mkdir()
    assert run("dream", "demo:honest", "demo:0", "--steps", "1", "--backend", "reference", "-o", "out")[0] == 0
    assert (folder / "out" / "demo-0_deep-dream.png").exists()


def test_octaves_of_several_sizes_make_one_animation(folder: Path, run) -> None:
    words = ("dream", NETWORK, "photo.png", "--steps", "2", "-O", "octaves=3", "-O", "factor=1.5", "-O", "rate=0.1")
    assert run(*words, "-o", "x.gif")[0] == 0
    with Image.open(folder / "x.gif") as animation:
        assert animation.n_frames == 7
        assert animation.size == (28 * 11, 20 * 11)


def test_a_flight_into_a_dream(folder: Path, run) -> None:
    code, out, _ = run(
        "dream", "demo:honest", "demo:0", "--zoom", "3", "--steps", "1", "-O", "octaves=1", "-o", "z.gif"
    )
    assert code == 0
    assert "3 of 3 frames" in out
    with Image.open(folder / "z.gif") as film:
        assert film.n_frames == 3


def test_a_photo_is_changed_until_the_network_answers_so(folder: Path, run) -> None:
    words = ("fool", "demo:honest", "demo:0", "--backend", "reference", "-O", "bound=none", "-o", "x.png")
    code, out, _ = run(*words, "-t", "cone")
    assert code == 0
    assert "answered cone [1]" in out
    assert "confidence 0.9" in out
    assert "largest change " in out


def test_fooling_may_begin_from_noise(folder: Path, run) -> None:
    words = ("fool", "demo:honest", "noise", "--backend", "reference", "-t", "ball", "--steps", "2")
    found = made(folder, run, *words)
    assert found.making.targets == ("ball [0]",)
    assert found.names == ("noise as ball [0]",)


def test_layers_stand_side_by_side_with_what_they_know(folder: Path, run) -> None:
    words = ("invert", NETWORK, "photo.png", "--steps", "2")
    assert len(made(folder, run, *words, "-l", "relu1", "-l", "relu2")) == 2
    found = made(folder, run, *words, "-l", "relu1")
    assert (found.making.method, found.making.steps, len(found)) == ("feature-inversion", 2, 1)
    assert found.making.options["layer"] == "relu1"


def test_a_texture_of_any_size(folder: Path, run) -> None:
    words = ("texture", "demo:honest", "demo:0", "--backend", "reference", "--steps", "2", "-O", "layers=relu1,relu2")
    found = made(folder, run, *words, "--size", "40x64")
    assert (found.making.method, found.images.shape) == ("texture", (1, 40, 64, 3))
    assert found.making.options["layers"] == ("relu1", "relu2")


def test_a_photo_in_the_style_of_others(folder: Path, run) -> None:
    words = ("style", "demo:honest", "demo:0", "demo:1", "demo:2", "--backend", "reference", "--steps", "1")
    options = ("-O", "style_layers=relu1", "-O", "content_layers=relu2", "-O", "blend=0.25,0.75", "-O", "scales=1")
    found = made(folder, run, *words, *options, "--size", "48")
    assert (found.making.method, found.making.steps, found.images.shape) == ("style-transfer", 1, (1, 48, 48, 3))
    assert found.making.options["style_layers"] == ("relu1",)
    assert found.making.options["blend"] == (0.25, 0.75)
    assert len(found.photos) == 3


def test_photos_of_a_class_give_a_picture_of_each_kind(folder: Path, run) -> None:
    (folder / "photos").mkdir()
    for number in range(4):
        noise = np.random.default_rng(number).integers(0, 256, (5, 7, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / "photos" / f"{number}.png")
    words = (
        "visualize",
        NETWORK,
        "-t",
        "1",
        "--photos",
        "photos",
        "-O",
        "facets=2",
        "--steps",
        "2",
    )
    found = made(folder, run, *words)
    assert (found.making.method, found.making.steps, len(found)) == ("multifaceted", 2, 2)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("dream", NETWORK, "absent.png"), "absent.png"),
        (("dream", NETWORK, "mine.py"), "mine.py"),
        (("dream", NETWORK, "photo.png", "-t", "1", "-l", "relu1"), "not both"),
        (("dream", NETWORK, "photo.png", "--channel", "1"), "--layer"),
        (("dream", NETWORK, "photo.png", "-l", "relu9"), "'relu2'"),
        (("dream", NETWORK, "photo.png", "-l", "relu1=much"), "LAYER=WEIGHT"),
        (("dream", NETWORK, "photo.png", "--guide", "absent.png"), "absent.png"),
        (("dream", NETWORK, "photo.png", "-O", "factor=1"), "factor"),
        (("dream", NETWORK, "demo:x"), "demo:0"),
        (("dream", NETWORK, "photo.png", "--resume"), "photo_deep-dream.stopped.npz"),
        (("dream", NETWORK, "photo.png", "--zoom", "3", "-o", "x.png"), ".gif"),
        (("dream", NETWORK, "photo.png", "--zoom", "3", "--resume"), "--resume"),
        (("dream", NETWORK, "photo.png", "--zoom", "3", "-m", "caricature"), "cannot fly"),
        (("style", NETWORK, "photo.png"), "STYLE"),
        (("style", NETWORK, "photo.png", "absent.png"), "absent.png"),
        (("texture", NETWORK, "absent.png"), "absent.png"),
        (("texture", NETWORK, "photo.png", "--size", "0"), "size"),
        (("invert", NETWORK, "photo.png", "-l", "relu9"), "'relu2'"),
        (("fool", NETWORK, "photo.png", "-t", "9"), "4 classes"),
        (("fool", NETWORK, "photo.png", "-O", "confidence=2"), "confidence"),
        (("fool", NETWORK, "photo.png", "-O", "bound=0"), "bound"),
        (("visualize", NETWORK, "-t", "1", "--photos", "absent"), "absent"),
        (("visualize", NETWORK, "-t", "1", "-O", "views=3"), "views.NAME"),
        (("visualize", NETWORK, "-t", "1", "-O", "optimiser.rate=fast"), "'fast'"),
    ],
)
def test_a_mistake_is_one_line(folder: Path, run, monkeypatch, words: tuple[str, ...], says: str) -> None:
    monkeypatch.setattr(Run, "_forward", lambda *_: pytest.fail("a step was made"))
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert says in err
