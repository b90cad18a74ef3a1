"""A scan that was stopped in whichever way goes on, and ends with the bytes of one that was not."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

import agnoscope as ag
from agnoscope import FileError, ImageError, OptionError
from agnoscope.scan import run as run_module
from agnoscope.scan.run import scan_all
from agnoscope.scan.scan import Scan
from agnoscope.testing import deep_network, images, rectified_network

PIXELS = np.random.default_rng(0).integers(0, 256, (60, 5, 7, 3), dtype=np.uint8)
OPTIONS: dict[str, Any] = {"layers": ("relu1", "relu2"), "maps": ("conv1",), "keep": 5, "shard": 4, "batch_size": 2}
SCRIPT = """
import sys
import agnoscope as ag
from agnoscope.scan.run import scan_all
from agnoscope.testing import deep_network
print("begun", flush=True)
scan_all(
    ag.wrap(deep_network(), input_size=(5, 7)), sys.argv[1], sys.argv[2],
    layers=("relu1", "relu2"), maps=("conv1",), keep=5, shard=4, batch_size=2, resume=True,
)
"""


class Stopped(BaseException):
    pass


@pytest.fixture
def model() -> Any:
    return ag.wrap(deep_network(), input_size=(5, 7))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a scan but the lock."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def stop_after(images_done: int) -> Any:
    def progress(done: int, total: int) -> None:
        if done >= images_done:
            raise Stopped

    return progress


def test_a_process_that_is_killed_twenty_times_leaves_the_same_bytes(model: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "pixels.npy", np.tile(PIXELS, (20, 1, 1, 1)))
    start = time.perf_counter()
    scan_all(model, tmp_path / "pixels.npy", tmp_path / "whole", **OPTIONS)
    lasts = time.perf_counter() - start
    rng, kills = np.random.default_rng(), 0
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "pixels.npy"), str(tmp_path / "killed")]
    while kills < 20:
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        time.sleep(rng.uniform(0, lasts / 8))
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        if (tmp_path / "killed" / "finished.json").exists():  # too late to be killed: take some of it away
            for path in sorted((tmp_path / "killed" / "shards").glob("*.npz"))[::2]:
                path.unlink()
            (tmp_path / "killed" / "finished.json").unlink()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


@pytest.mark.parametrize("after", [0, 4, 20, 56])
def test_a_scan_goes_on_where_it_was_stopped(model: Any, tmp_path: Path, after: int) -> None:
    whole = scan_all(model, PIXELS, tmp_path / "whole", **OPTIONS)
    with pytest.raises(Stopped):
        scan_all(model, PIXELS, tmp_path / "run", **OPTIONS, progress=stop_after(after))
    if after:
        part = Scan.open(tmp_path / "run")
        assert len(part) == after
        assert not part.finished
        assert "so far" in part._repr_html_()
        np.testing.assert_array_equal(part.features(), whole.features()[:after])
    calls: list[tuple[int, int]] = []
    scan = scan_all(model, PIXELS, tmp_path / "run", **OPTIONS, resume=True, progress=lambda *c: calls.append(c))
    assert calls == [(done, 60) for done in range(after, 61, 4)]
    assert scan.finished
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


def test_an_iterable_is_resumed_too_and_knows_when_it_is_finished(model: Any, tmp_path: Path) -> None:
    scan_all(model, iter(PIXELS), tmp_path / "whole", **OPTIONS)
    with pytest.raises(Stopped):
        scan_all(model, iter(PIXELS), tmp_path / "run", **OPTIONS, progress=stop_after(24))
    assert not Scan.open(tmp_path / "run").finished
    assert scan_all(model, iter(PIXELS), tmp_path / "run", **OPTIONS, resume=True).finished
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


def test_ctrl_c_leaves_a_scan_that_can_be_resumed(model: Any, tmp_path: Path) -> None:
    def interrupted(done: int, total: int) -> None:
        if done >= 8:
            os.kill(os.getpid(), signal.SIGINT)

    scan_all(model, PIXELS, tmp_path / "whole", **OPTIONS)
    with pytest.raises(KeyboardInterrupt):
        scan_all(model, PIXELS, tmp_path / "run", **OPTIONS, progress=interrupted)
    scan_all(model, PIXELS, tmp_path / "run", **OPTIONS, resume=True)
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


def test_damaged_shards_are_found_out_and_made_again(model: Any, tmp_path: Path) -> None:
    scan_all(model, PIXELS, tmp_path, **OPTIONS)
    whole = contents(tmp_path)
    shards = sorted((tmp_path / "shards").glob("*.npz"))
    shards[2].write_bytes(shards[2].read_bytes()[:-7])
    shards[3].write_bytes(b"")
    flipped = bytearray(shards[4].read_bytes())
    flipped[len(flipped) // 3] ^= 255  # in the maps
    shards[4].write_bytes(flipped)
    (tmp_path / "shards" / ".000009.npz.abc").write_bytes(b"half")
    with pytest.raises(FileError, match=r"000002\.npz.*[Rr]esume"):
        Scan.open(tmp_path)
    scan_all(model, PIXELS, tmp_path, **OPTIONS, resume=True)
    assert contents(tmp_path) == whole


def test_a_finished_scan_is_not_done_again(model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan_all(model, PIXELS, tmp_path, **OPTIONS)
    monkeypatch.setattr(run_module, "scan_shard", lambda *_: pytest.fail("a shard was computed"))
    assert len(scan_all(model, PIXELS, tmp_path, **OPTIONS, resume=True)) == 60
    with pytest.raises(OptionError, match="holds this scan already"):
        scan_all(model, PIXELS, tmp_path, **OPTIONS)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"keep": 6}, r"plan\.keep was 5 and is 6"),
        ({"layers": "relu2"}, "plan.layers was relu1, relu2 and is relu2"),
        ({"batch_size": 4}, r"plan\.batch_size"),
        ({"labels": ["x"] * 60}, r"images\.labels"),
    ],
)
def test_a_scan_is_resumed_only_with_its_own_options(
    model: Any, tmp_path: Path, changed: dict[str, Any], words: str
) -> None:
    scan_all(model, PIXELS, tmp_path, **OPTIONS)
    before = contents(tmp_path)
    with pytest.raises(OptionError, match=words):
        scan_all(model, PIXELS, tmp_path, **{**OPTIONS, **changed}, resume=True)
    assert contents(tmp_path) == before


def test_a_scan_is_resumed_only_with_its_own_network_images_and_versions(model: Any, tmp_path: Path) -> None:
    scan_all(model, PIXELS, tmp_path, **{**OPTIONS, "layers": "relu", "maps": ()} | {"layers": ()})
    options = {**OPTIONS, "layers": (), "maps": (), "resume": True}
    with pytest.raises(OptionError, match="network was"):
        scan_all(ag.wrap(rectified_network(), input_size=(5, 7)), PIXELS, tmp_path, **options)
    with pytest.raises(OptionError, match=r"images\.digest"):
        scan_all(model, 255 - PIXELS, tmp_path, **options)
    manifest = json.loads((tmp_path / "scan.json").read_text())
    manifest["versions"] = dict.fromkeys(manifest["versions"], "0.1")
    (tmp_path / "scan.json").write_text(json.dumps(manifest))
    with pytest.raises(OptionError, match=r'versions\.\w+ was "0\.1"'):
        scan_all(model, PIXELS, tmp_path, **options)


def test_shards_without_what_they_are_of_are_no_scan(model: Any, tmp_path: Path) -> None:
    scan_all(model, PIXELS, tmp_path, **OPTIONS)
    for text in ("{", "[]", "{}"):
        (tmp_path / "scan.json").write_text(text)
        for attempt in (lambda: Scan.open(tmp_path), lambda: scan_all(model, PIXELS, tmp_path, **OPTIONS, resume=True)):
            with pytest.raises(FileError, match="damaged"):
                attempt()
    (tmp_path / "scan.json").unlink()
    with pytest.raises(FileError, match="no scan in"):
        scan_all(model, PIXELS, tmp_path, **OPTIONS, resume=True)


def test_two_scans_do_not_write_to_one_folder(model: Any, tmp_path: Path) -> None:
    with FileLock(tmp_path / ".lock"), pytest.raises(OptionError, match="Another scan writes"):
        scan_all(model, PIXELS, tmp_path, **OPTIONS)

    def again(done: int, total: int) -> None:
        with pytest.raises(OptionError, match="Another scan writes"):
            scan_all(model, PIXELS, tmp_path, **OPTIONS, resume=True)

    scan_all(model, PIXELS[:4], tmp_path, **OPTIONS, progress=again)


def test_nothing_is_lost_when_the_disk_is_full(model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan_all(model, PIXELS, tmp_path / "whole", **OPTIONS)
    written, fdopen = [], os.fdopen

    def full(*args: Any, **options: Any) -> Any:
        file = fdopen(*args, **options)
        written.append(file)
        if len(written) == 9:

            def refuse(content: bytes) -> int:
                file.raw.write(content[: len(content) // 2])
                raise OSError(28, "No space left on device")

            file_like = type("Full", (), {"write": staticmethod(refuse), "__enter__": lambda s: s})
            file_like.__exit__ = lambda s, *_: file.close()
            return file_like()
        return file

    monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(FileError, match=r"000007\.npz.*No space left"):
        scan_all(model, PIXELS, tmp_path / "run", **OPTIONS)
    monkeypatch.undo()
    assert len(Scan.open(tmp_path / "run")) == 28
    assert not list((tmp_path / "run" / "shards").glob(".*"))
    scan_all(model, PIXELS, tmp_path / "run", **OPTIONS, resume=True)
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


def test_a_folder_that_cannot_be_made_is_refused(model: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/none")):
        with pytest.raises(FileError, match="cannot be made or written to"):
            scan_all(model, PIXELS, folder, **OPTIONS)


def test_a_scan_that_has_done_nothing_cannot_be_read(model: Any, tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no scan in"):
        Scan.open(tmp_path)
    with pytest.raises(ImageError, match="empty"):
        scan_all(model, iter(()), tmp_path, **OPTIONS)
    with pytest.raises(FileError, match="not done any image"):
        Scan.open(tmp_path)
    scan_all(model, PIXELS, tmp_path, **OPTIONS)  # and is none that could be in the way


# -- images and labels, later ----------------------------------------------------------------------------------------


def test_images_are_found_again_where_they_were_or_have_moved_to(model: Any, tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "photos").mkdir()
    for number in range(5):
        Image.fromarray(PIXELS[number]).save(tmp_path / "photos" / f"{number}.png")
    scan_all(model, tmp_path / "photos", tmp_path / "run", shard=2)
    scan = Scan.open(tmp_path / "run")
    np.testing.assert_array_equal(scan.picture(3), PIXELS[3])
    (tmp_path / "photos" / "1.png").unlink()
    Image.fromarray(PIXELS[7]).save(tmp_path / "photos" / "0a.png")
    np.testing.assert_array_equal(Scan.open(tmp_path / "run").picture(3), PIXELS[3])
    with pytest.raises(ImageError, match=r"1\.png"):
        scan.picture(1)
    (tmp_path / "photos").rename(tmp_path / "moved")
    with pytest.raises(FileError, match="moved"):
        Scan.open(tmp_path / "run").picture(3)
    np.testing.assert_array_equal(Scan.open(tmp_path / "run", images=tmp_path / "moved").picture(3), PIXELS[3])


def test_arrays_are_given_again_and_must_be_the_same(model: Any, tmp_path: Path) -> None:
    assert scan_all(model, PIXELS, tmp_path, **OPTIONS).picture(9, side=5).shape == (4, 5, 3)
    with pytest.raises(FileError, match=r"images=\.\.\."):
        Scan.open(tmp_path).picture(0)
    np.testing.assert_array_equal(Scan.open(tmp_path, images=PIXELS).picture(8), PIXELS[8])
    for others in (PIXELS[:50], PIXELS[::-1]):
        with pytest.raises(FileError, match="not the 60 images"):
            Scan.open(tmp_path, images=others).picture(0)


def test_labels_can_be_told_later(model: Any, tmp_path: Path) -> None:
    assert scan_all(model, images(6), tmp_path, shard=4).labels is None
    assert Scan.open(tmp_path, labels=[1, 2, 1, 2, 1, 2]).labels == ["1", "2", "1", "2", "1", "2"]
    for count in (3, 7):
        with pytest.raises(OptionError, match=f"{count} labels for 6 images"):
            Scan.open(tmp_path, labels=["x"] * count)
