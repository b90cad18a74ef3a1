"""Many images, one file each: what is done stays done, and a run is resumed only as what it was."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from agnoscope import (
    Explanation,
    FileError,
    GradCAM,
    ImageError,
    Occlusion,
    OptionError,
    Saliency,
    Similarity,
    TargetError,
    wrap,
)
from agnoscope import runs as runs_module
from agnoscope.runs import Run, explain_all, fingerprint, photos_in
from agnoscope.testing import deep_network, images, rectified_network

X = images(20)


@pytest.fixture
def model() -> Any:
    return wrap(deep_network(), input_size=(5, 7))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of photos, one of them damaged, one below, and things that are none."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for number in range(11):
        noise = np.random.default_rng(number).integers(0, 256, (9, 8, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / ("more" if number == 7 else "") / f"photo{number}.png")
    (folder / "photo3.png").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("none")
    (folder / ".hidden.png").write_bytes(b"none")
    return folder


def test_each_image_gets_its_file_and_the_same_values_as_alone(model: Any, tmp_path: Path) -> None:
    run = explain_all(model, X, Saliency(), tmp_path / "run", 2)
    assert (len(run), run.total, run.failures) == (20, 20, {})
    for image, found in zip(X, run, strict=True):
        alone = Saliency()(model, image, 2)
        np.testing.assert_allclose(found.values, alone.values, rtol=1e-5, atol=1e-7)
        assert found.provenance.targets == ("class 2",)
    assert run["image 3"].names == ("image 3",)


def test_a_folder_is_explained_and_what_cannot_be_read_is_told(model: Any, photos: Path, tmp_path: Path) -> None:
    assert len(photos_in(photos)) == 11
    run = explain_all(model, photos, GradCAM(), tmp_path / "run")
    assert (len(run), run.total) == (10, 11)
    assert list(run.failures) == ["photo3.png"]
    assert "photo3.png" in run.failures["photo3.png"]
    assert "more/photo7.png" in run.files


class Stopped(BaseException):
    """As Ctrl-C is, no Exception."""


def test_a_stop_keeps_what_is_done_and_resuming_goes_on(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(done: int, total: int) -> None:
        if done >= 8:
            raise Stopped

    with pytest.raises(Stopped):
        explain_all(model, X, Saliency(), tmp_path, progress=stop)
    done = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.npz")}
    assert len(done) == 8
    victim = next(tmp_path.glob("00005*.npz"))
    victim.write_bytes(victim.read_bytes()[:100])  # a disk that lost its power
    seen: list[int] = []
    run = explain_all(model, X, Saliency(), tmp_path, resume=True, progress=lambda done, total: seen.append(done))
    assert len(run) == 20
    assert seen[0] == 7
    for name, time in done.items():
        assert ((tmp_path / name).stat().st_mtime_ns == time) == (name != victim.name)
    whole = explain_all(model, X, Saliency(), tmp_path / "whole")
    for one, other in zip(run, whole, strict=True):
        np.testing.assert_allclose(one.values, other.values, rtol=1e-5, atol=1e-7)
    calls: list[Any] = []
    monkeypatch.setattr(runs_module, "_explained", lambda *args: calls.append(args))
    explain_all(model, X, Saliency(), tmp_path, resume=True)
    assert calls == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"explainer": Occlusion()}, "differs in method"),
        ({"explainer": GradCAM("relu1")}, "differs in method"),
        ({"target": 1}, "differs in target"),
        ({"images": X[:4]}, "differs in images"),
        ({"model": wrap(rectified_network(), input_size=(5, 7))}, "differs in network"),
        ({"resume": False}, "resume it, or give another folder"),
    ],
)
def test_a_folder_of_another_run_is_refused(model: Any, tmp_path: Path, change: dict[str, Any], says: str) -> None:
    given = {"model": model, "images": X[:3], "explainer": GradCAM(), "folder": tmp_path, "target": 0}
    explain_all(**given)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(OptionError, match=says):
        explain_all(**{**given, "resume": True, **change})
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_bad_folders_are_refused(model: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileError, match="holds no photo"):
        explain_all(model, tmp_path / "empty", GradCAM(), tmp_path / "run")
    with pytest.raises(FileError, match="no folder"):
        photos_in(tmp_path / "absent")
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot be made"):
        explain_all(model, X, GradCAM(), tmp_path / "file" / "run")
    (tmp_path / "run").mkdir(exist_ok=True)
    (tmp_path / "run" / "run.json").write_text("{")
    with pytest.raises(FileError, match=r"run\.json.*cannot be read"):
        explain_all(model, X, GradCAM(), tmp_path / "run")


def test_names_stay_in_the_folder(model: Any, tmp_path: Path) -> None:
    evil = tmp_path / "photos" / "a..b%2F c.png"
    evil.parent.mkdir()
    Image.fromarray(np.zeros((5, 7, 3), np.uint8)).save(evil)
    run = explain_all(model, evil.parent, GradCAM(), tmp_path / "run")
    (path,) = run.files.values()
    assert path.parent == tmp_path / "run"
    assert path.name == "00000_a__b_2F_c.npz"
    assert json.loads((tmp_path / "run" / "run.json").read_text())["method"]["method"] == "grad-cam"
    assert isinstance(run, Run)
    assert isinstance(next(iter(run)), Explanation)


def test_a_fingerprint_tells_networks_apart(model: Any) -> None:
    assert fingerprint(model) == fingerprint(wrap(deep_network(), input_size=(5, 7)))
    assert fingerprint(model) != fingerprint(wrap(deep_network(), input_size=(5, 7), mean=0.1))
    assert fingerprint(model) != fingerprint(wrap(rectified_network(), input_size=(5, 7)))


def test_one_image_is_one_image(model: Any, tmp_path: Path) -> None:
    photo = Image.fromarray((X[0] * 255).astype(np.uint8))
    for number, image in enumerate((X[0], photo, np.asarray(photo))):
        assert explain_all(model, image, "saliency", tmp_path / str(number)).total == 1


def test_a_photo_named_twice_is_explained_twice(model: Any, tmp_path: Path) -> None:
    Image.fromarray((X[0] * 255).astype(np.uint8)).save(tmp_path / "p.png")
    path = str(tmp_path / "p.png")
    assert list(explain_all(model, [path, path], Saliency(), tmp_path / "run").files) == [path, f"{path}@1"]


def test_batches_in_a_list_and_one_target_for_each_are_refused(model: Any, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="Image 1 has shape"):
        explain_all(model, [X, X], Saliency(), tmp_path / "run")
    with pytest.raises(TargetError, match="alike"):
        explain_all(model, X, Saliency(), tmp_path / "run", [0] * len(X))


def test_a_folder_without_a_result_is_free(model: Any, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="99"):
        explain_all(model, X, Saliency(), tmp_path / "run", 99)
    assert len(explain_all(model, X, Saliency(), tmp_path / "run", 1)) == len(X)


def test_a_run_is_not_resumed_with_other_numbers(model: Any, tmp_path: Path) -> None:
    layer = next(iter(model.layers()))
    first, other = (Similarity.to(model, X[i], layer) for i in range(2))
    explain_all(model, X, Saliency(), tmp_path / "run", first)
    with pytest.raises(OptionError, match="differs in target"):
        explain_all(model, X, Saliency(), tmp_path / "run", other, resume=True)
    with pytest.raises(OptionError, match="differs in images"):
        explain_all(model, 1 - X, Saliency(), tmp_path / "run", first, resume=True)
    assert len(explain_all(model, X, Saliency(), tmp_path / "run", first, resume=True)) == len(X)
