"""Whatever lies in a folder of photos, the scan goes on: what cannot be read is counted and listed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import agnoscope as ag
from agnoscope import ImageError
from agnoscope.images import load
from agnoscope.scan import shard as shard_module
from agnoscope.scan.run import scan_all
from agnoscope.testing import deep_network

NOISE = np.random.default_rng(0).integers(0, 256, (12, 14, 3), dtype=np.uint8)


@pytest.fixture
def model() -> Any:
    return ag.wrap(deep_network(), input_size=(5, 7))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "directory.png").mkdir(parents=True)
    (folder / "unter ordner ü").mkdir()
    Image.fromarray(NOISE).save(folder / "good.png")
    Image.fromarray(NOISE).save(folder / "unter ordner ü" / "schön 'quoted'.JPG", "JPEG")
    Image.fromarray(NOISE).convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(NOISE[..., 0]).save(folder / "gray.png")
    Image.fromarray(NOISE[..., 0].astype(np.uint16) * 257).save(folder / "sixteen.png")
    Image.fromarray(NOISE).convert("P").save(folder / "palette.gif")
    Image.fromarray(NOISE).convert("RGBA").save(folder / "alpha.webp")
    Image.new("1", (8000, 8000)).save(folder / "huge.png")
    (folder / "text.jpg").write_text("this is no photo")
    (folder / "nothing.jpg").write_bytes(b"")
    whole = (folder / "unter ordner ü" / "schön 'quoted'.JPG").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "nowhere.png").symlink_to(folder / "not there.png")
    (folder / "circle.png").symlink_to(folder / "circle.png")
    (folder / "vector.jpg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    return folder


BAD = ["circle.png", "cut.jpg", "directory.png", "huge.png", "nothing.jpg", "nowhere.png", "text.jpg", "vector.jpg"]


@pytest.mark.parametrize(("shard", "batch_size"), [(256, 64), (3, 2), (1, 1)])
def test_odd_photos_are_read_and_bad_ones_listed(model: Any, photos: Path, tmp_path: Path, shard: int, batch_size: int):
    scan = scan_all(model, photos, tmp_path / "run", shard=shard, batch_size=batch_size, layers="relu2")
    assert [name for name, _ in scan.failures] == BAD
    assert all(Path(name).stem in reason for name, reason in scan.failures)
    assert "64,000,000 pixels" in dict(scan.failures)["huge.png"]
    assert list(scan.names) == [
        *("alpha.webp", "cmyk.jpg", "good.png", "gray.png", "palette.gif", "sixteen.png"),
        "unter ordner ü/schön 'quoted'.JPG",
    ]
    assert scan.finished
    seen = load([photos / name for name in scan.names], model.spec).images
    flat = activations(model, seen)
    np.testing.assert_allclose(scan.features(), flat.mean(axis=1), rtol=1e-4, atol=1e-5)
    assert [scan.picture(row).shape[2] for row in range(len(scan))] == [3] * 7


def activations(model: ag.Model, x: np.ndarray) -> np.ndarray:
    def program(model: ag.Model, static: Any, images: Any) -> dict[str, Any]:
        return model.run(images, ("relu2",))

    return model.compile(program, None)(x)["relu2"].reshape(len(x), 35, -1)


def test_a_scan_of_nothing_but_bad_photos_is_empty_and_says_why(model: Any, tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.jpg").write_text("none")
    scan = scan_all(model, tmp_path, tmp_path / "run", shard=2)
    assert (len(scan), len(scan.failures), scan.finished) == (0, 5, True)
    assert scan.features().shape == (0, 8)
    assert (scan.top(k=3).rows == -1).all()
    assert scan.answers == ()


def test_images_that_do_not_fit_are_left_out(model: Any, tmp_path: Path) -> None:
    fine = np.full((5, 7, 3), 0.5, dtype=np.float32)
    bright, holey = fine * 300, np.where(np.arange(7)[:, None] == 3, np.nan, fine)
    several = [fine, fine[:3], bright, holey, "nowhere.png", fine.astype(np.int64), [1, 2, 3], None, {"a": 1}, fine]
    scan = scan_all(model, several, tmp_path, batch_size=3)
    assert scan.ids.tolist() == [0, 9]
    assert len(scan.failures) == 8


def test_images_of_which_the_network_makes_no_numbers_are_left_out(tmp_path: Path) -> None:
    network = deep_network()
    network.layers["conv1"].kernel[:] = 1e38
    bright = np.stack([np.zeros((5, 7, 3), np.float32), np.ones((5, 7, 3), np.float32)])
    with np.errstate(all="ignore"):
        scan = scan_all(ag.wrap(network, input_size=(5, 7)), bright, tmp_path)
    assert scan.ids.tolist() == [0]
    assert "NaN or infinity" in scan.failures[0][1]


def test_a_data_set_that_refuses_an_image_does_not_stop_the_scan(model: Any, tmp_path: Path) -> None:
    class Refusing:
        def __len__(self) -> int:
            return 4

        def __getitem__(self, number: int) -> np.ndarray:
            if number == 2:
                raise OSError("disk error")
            return NOISE

    scan = scan_all(model, Refusing(), tmp_path)
    assert scan.failures == [("image 2", "The collection does not give image 2: OSError: disk error.")]


def test_memory_that_runs_out_halves_the_batches(model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, passes = [], shard_module._passes

    def small(model: Any, plan: Any, items: Any, size: int) -> Any:
        sizes.append(size)
        if size > 2:
            raise MemoryError
        return passes(model, plan, items, size)

    monkeypatch.setattr(shard_module, "_passes", small)
    assert len(scan_all(model, np.stack([NOISE] * 9), tmp_path, shard=5)) == 9
    assert sizes == [5, 2, 2]


def test_photos_are_read_by_threads_that_leave_the_filters_of_warnings_alone(photos: Path) -> None:
    import warnings
    from concurrent.futures import ThreadPoolExecutor

    def read(_: int) -> None:
        for name in ("good.png", "huge.png", "text.jpg"):
            try:
                load(photos / name, ag.images.InputSpec())
            except ImageError:
                continue

    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read, range(16)))
    assert list(warnings.filters) == before
