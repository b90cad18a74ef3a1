"""Runs of the command line that are stopped, killed or go wrong: what they keep, and how they are gone on with."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from agnoscope.api import wrap
from agnoscope.archive import read_archive
from agnoscope.cli.imagine import making, zoom
from agnoscope.cli.imagine.film import Film
from agnoscope.explainers.synthesis.feature_visualization import FeatureVisualization
from agnoscope.optimisation.parameterisations.pixels import Pixels
from agnoscope.optimisation.run import Run
from agnoscope.synthesis import Synthesis
from agnoscope.testing import deep_network
from tests.cli.test_imagine import CLASS, FAST


@pytest.fixture
def pressed_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Ctrl-C is pressed while such a step is under way."""

    def press(number: int) -> None:
        @contextmanager
        def progress(title: str) -> Iterator[Callable[[int, int, float], None]]:
            yield lambda done, total, objective: signal.raise_signal(signal.SIGINT) if done == number else None

        for command in (making, zoom):
            monkeypatch.setattr(command, "progress_of_run", progress)

    return press


def test_a_stopped_run_keeps_its_best_picture_and_ends_as_if_undisturbed(folder: Path, run, pressed_at) -> None:
    words = (*CLASS, "-t", "0", "--steps", "9", "--animation", "x.gif", "-O", "views.count=2", *FAST)
    assert run(*words, "-o", "undisturbed.npz")[0] == 0
    pressed_at(5)
    before = signal.getsignal(signal.SIGINT)
    code, out, _ = run(*words, "-o", "x.npz")
    assert code == 130
    assert signal.getsignal(signal.SIGINT) is before
    assert "note: Stopped after 5 of 9 steps" in out
    assert "--resume; it reads x.stopped.npz" in out
    stopped = Synthesis.load(folder / "x.npz")
    assert (stopped.making.finished, stopped.making.steps) == (False, 5)
    with Image.open(folder / "x.gif") as animation:
        assert animation.n_frames == 6
    pressed_at(0)
    code, out, _ = run(*words, "-o", "x.npz", "--resume")
    assert code == 0
    made, undisturbed = (Synthesis.load(folder / name) for name in ("x.npz", "undisturbed.npz"))
    np.testing.assert_array_equal(made.images, undisturbed.images)
    np.testing.assert_array_equal(made.history, undisturbed.history)
    assert not (folder / "x.stopped.npz").exists()
    with Image.open(folder / "x.gif") as animation:
        assert animation.n_frames == 10


def test_a_run_that_begins_anew_tells_of_the_stopped_one_and_keeps_it(folder: Path, run, pressed_at) -> None:
    pressed_at(2)
    assert run(*CLASS, "--steps", "4", "-o", "x.png")[0] == 130
    pressed_at(0)
    code, out, _ = run(*CLASS, "--steps", "4", "-o", "x.png")
    assert code == 0
    assert "note: x.stopped.npz holds a stopped run" in out
    assert (folder / "x.stopped.npz").exists()


def test_another_run_is_not_gone_on_with(folder: Path, run, pressed_at) -> None:
    pressed_at(2)
    assert run(*CLASS, "--steps", "4", "-o", "x.png")[0] == 130
    content = (folder / "x.png").read_bytes()
    for words in (("--steps", "5"), ("--steps", "4", "--seed", "1"), ("--steps", "4", "-t", "1")):
        code, _, err = run(*CLASS, *words, "-o", "x.png", "--resume")
        assert code == 2
        assert "belongs to another run" in err
    (folder / "x.stopped.npz").write_bytes(b"no archive")
    code, _, err = run(*CLASS, "--steps", "4", "-o", "x.png", "--resume")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "damaged" in err
    assert (folder / "x.png").read_bytes() == content


def test_ctrl_c_at_the_last_step_stops_nothing(folder: Path, run, pressed_at) -> None:
    pressed_at(3)
    assert run(*CLASS, "--steps", "3", "-o", "x.png")[0] == 0
    assert not (folder / "x.stopped.npz").exists()


def test_ctrl_c_ends_a_flight_within_its_frame_and_keeps_those_before(folder: Path, run, pressed_at) -> None:
    words = ("dream", "demo:honest", "demo:0", "--backend", "reference", "--steps", "2", "-O", "octaves=1")
    pressed_at(5)
    code, out, _ = run(*words, "--zoom", "4", "-o", "x.gif")
    assert code == 130
    assert "2 of 4 frames → x.gif" in out
    assert "cannot be gone on with" in out
    with Image.open(folder / "x.gif") as animation:
        assert animation.n_frames == 2


def test_ctrl_c_twice_stops_at_once(folder: Path, run, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def progress(title: str) -> Iterator[Callable[[int, int, float], None]]:
        def press(*_: object) -> None:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

        yield press

    monkeypatch.setattr(making, "progress_of_run", progress)
    assert run(*CLASS, "--steps", "3", "-o", "x.png")[0] == 130
    assert not list(folder.glob("x*"))


def test_being_asked_to_end_twice_is_being_asked_once(folder: Path, run, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def progress(title: str) -> Iterator[Callable[[int, int, float], None]]:
        def end(*_: object) -> None:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)

        yield end

    monkeypatch.setattr(making, "progress_of_run", progress)
    assert run(*CLASS, "--steps", "3", "-o", "x.png")[0] == 143
    assert {path.name for path in folder.glob("x*")} == {"x.png", "x.stopped.npz"}


def test_a_thread_that_hears_no_signals_makes_images_too(folder: Path, run) -> None:
    with ThreadPoolExecutor() as threads:
        assert threads.submit(run, *CLASS, "--steps", "2", "-o", "x.png").result()[0] == 0
    assert (folder / "x.png").exists()


@pytest.mark.parametrize("ending", ["gif", "webp"])
def test_an_animation_whose_frames_are_equal_is_gone_on_with_where_it_was(folder: Path, ending: str) -> None:
    method = FeatureVisualization(6, 8, Pixels(), None)
    model, path, bounds = wrap(deep_network()), folder / f"x.{ending}", (0.0, 1.0)
    pictures = [np.full((1, 8, 8, 3), shade) for shade in (0.1, 0.5, 0.5, 0.5, 0.9)]
    film = Film(path, method.begin(model, 0), resumed=False)
    for step, picture in enumerate(pictures[:4], start=1):
        film.take(step, picture, bounds)
    film.write(pictures[4], bounds)
    run = method.begin(model, 0)
    for _ in zip(range(4), run, strict=False):
        pass
    shades = [frame.mean() / 255 for frame in Film(path, run, resumed=True).frames]
    np.testing.assert_allclose(shades, [0.1, 0.5, 0.5, 0.5], atol=0.02)


def test_a_run_that_meets_nan_keeps_its_picture(folder: Path, run, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Run._evaluated

    def evaluated(self, *words, **options):
        found = plain(self, *words, **options)
        return {**found, "objective": found["objective"] * np.nan} if self.steps_done == 3 else found

    monkeypatch.setattr(Run, "_evaluated", evaluated)
    code, out, err = run(*CLASS, "--steps", "6", "-o", "x.npz")
    assert code == 2
    assert err.splitlines()[-1].startswith("agnoscope: Step 4 gave NaN or infinity")
    assert "→ x.npz" in out
    made = Synthesis.load(folder / "x.npz")
    assert (made.making.steps, made.making.finished) == (3, False)
    assert np.isfinite(made.images).all()
    assert not (folder / "x.stopped.npz").exists()


def process(*words: str, interval: float) -> subprocess.Popen[str]:
    """The command line in a process of its own, where a run is written down this often."""
    often = f"from agnoscope.cli.imagine import making; making.INTERVAL = {interval}"
    program = f"{often}; from agnoscope.cli import main; main()"
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", program, *words], stdout=pipe, stderr=pipe, text=True)


def wait_for(path: Path, running: subprocess.Popen[str]) -> None:
    while running.poll() is None and not path.exists():
        time.sleep(0.02)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_process_that_is_asked_to_end_ends_well(folder: Path, number: signal.Signals, code: int) -> None:
    words = ("visualize", "py:mine:wrapped", "-t", "1", "--steps", "1000000", "--save-every", "1", "-o", "x.png")
    with process(*words, interval=60) as running:
        try:
            wait_for(folder / "x_steps" / "00003.png", running)
            running.send_signal(number)
            out, err = running.communicate(timeout=60)
        finally:
            running.kill()
    assert running.returncode == code, err
    assert "Traceback" not in err
    assert "Stopping after this step" in err
    assert "it reads x.stopped.npz" in out
    assert (folder / "x.stopped.npz").exists()
    with Image.open(folder / "x.png") as picture:
        assert picture.size == (7, 5)


def test_a_process_that_is_killed_is_gone_on_with_from_where_it_was_written_down_last(
    folder: Path, run, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*CLASS, "--steps", "120", "--animation", "x.gif", *FAST)
    assert run(*words, "-o", "undisturbed.npz")[0] == 0
    with Image.open(folder / "x.gif") as animation:
        frames = animation.n_frames
    with process(*words, "-o", "x.npz", interval=0) as running:
        try:
            wait_for(folder / "x.stopped.npz", running)
        finally:
            running.kill()
    assert running.returncode == -signal.SIGKILL
    assert not (folder / "x.npz").exists()
    steps: list[int] = []

    @contextmanager
    def progress(title: str) -> Iterator[Callable[[int, int, float], None]]:
        yield lambda done, total, objective: steps.append(done)

    monkeypatch.setattr(making, "progress_of_run", progress)
    done = read_archive(folder / "x.stopped.npz", "stopped run", 1)[0]["step"]
    assert run(*words, "-o", "x.npz", "--resume")[0] == 0
    assert steps == list(range(done + 1, 121))
    assert done > 0
    made, undisturbed = (Synthesis.load(folder / name) for name in ("x.npz", "undisturbed.npz"))
    np.testing.assert_array_equal(made.images, undisturbed.images)
    np.testing.assert_array_equal(made.history, undisturbed.history)
    assert not (folder / "x.stopped.npz").exists()
    with Image.open(folder / "x.gif") as animation:
        assert animation.n_frames == frames


def test_a_job_in_the_background_goes_on_ignoring_ctrl_c(folder: Path, run, pressed_at) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        pressed_at(2)
        assert run(*CLASS, "--steps", "4", "-o", "x.png")[0] == 0
    finally:
        signal.signal(signal.SIGINT, before)
