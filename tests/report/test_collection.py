"""An image among those of a scan: neighbours are the nearest, patches are those of the channels that stand out."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import agnoscope as ag
from agnoscope.backends.reference import Conv, Dense, GlobalAverage, Network, Relu
from agnoscope.errors import OptionError
from agnoscope.report.collection import NEIGHBOURS, SIDE, Beside, Surroundings
from agnoscope.report.making import make_report
from agnoscope.scan.run import scan_all
from agnoscope.scan.scan import Scan
from agnoscope.testing import deep_network
from tests.report.browser import Visit, visit  # noqa: F401
from tests.report.examples import hostile_model, pictures

COUNT = 12
NAMES = {0: "<img src=x onerror='window.taken = 4'>.png", 1: '" onload="window.taken = 5".png'}


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Scan:
    folder = tmp_path_factory.mktemp("scan")
    (folder / "photos").mkdir()
    for number, pixels in enumerate(pictures(COUNT)):
        Image.fromarray(pixels).save(folder / "photos" / NAMES.get(number, f"{number:02}.png"))
    return scan_all(hostile_model(), folder / "photos", folder / "run", keep=8)


@pytest.fixture(scope="module")
def told(scan: Scan) -> Surroundings:
    return Beside.of(hostile_model(), scan).surroundings(scan.image(5))


def test_neighbours_by_features_are_those_of_brute_force_without_the_image_itself(
    scan: Scan, told: Surroundings
) -> None:
    features = scan.features().astype(np.float64)
    distances = np.linalg.norm(features - features[5], axis=1)
    nearest = np.argsort(distances, kind="stable")[1 : NEIGHBOURS + 1]
    assert [one.name for one in told.by_features] == [scan.names[row] for row in nearest]
    np.testing.assert_allclose([one.value for one in told.by_features], distances[nearest], rtol=1e-6)
    assert (told.layer, told.images) == (scan.layers[0], COUNT)


def test_neighbours_by_pixels_are_those_whose_pixels_are_alike(scan: Scan) -> None:
    near = scan.picture(3).astype(np.int64) + 3
    told = Beside.of(hostile_model(), scan).surroundings(np.clip(near, 0, 255).astype(np.uint8))
    first, second = told.by_pixels[:2]
    assert first.name == scan.names[3]
    assert second.value > 5 * first.value
    np.testing.assert_array_equal(first.picture.shape, (round(SIDE * 20 / 28), SIDE, 3))


def test_channels_that_stand_out_come_with_the_patches_that_excite_them_most(scan: Scan, told: Surroundings) -> None:
    features = scan.features().astype(np.float64)
    spread = features.std(axis=0, ddof=1)
    above = (features[5] - features.mean(axis=0)) / np.where(spread > 0, spread, np.inf)
    assert [one.channel for one in told.channels] == [int(c) for c in np.argsort(-above)[:4] if above[c] > 0]
    top = scan.top(k=7)
    for one in told.channels:
        assert one.above == pytest.approx(above[one.channel], rel=1e-4)
        rows, values = top.rows[one.channel], top.values[one.channel]
        others = [(scan.names[row], value) for row, value in zip(rows, values, strict=True) if row != 5][:6]
        assert [(other.name, other.value) for other in one.others] == others
        if 5 in rows:
            assert one.value == pytest.approx(float(values[rows == 5][0]), rel=1e-5)


def test_another_network_is_refused_before_any_work(scan: Scan) -> None:
    other = ag.wrap(deep_network(), input_size=(5, 7), mean=0.5)
    with pytest.raises(OptionError, match="of another network"):
        make_report(other, pictures(), ("saliency",), scan=scan.folder)


def test_a_page_with_a_scan_shows_it_and_hostile_names_do_not_run(visit: Visit, scan: Scan) -> None:  # noqa: F811
    report = make_report(hostile_model(), scan.picture(5), ("saliency",), scan=scan.folder)
    assert report.subjects[0].failures == ()
    tab = visit(report.html())
    page = tab.page
    assert page.get_by_text(f"Among the {COUNT} images of the scan").is_visible()
    shown = page.locator(".near img").evaluate_all("(images) => images.map((one) => one.alt)")
    near = report.subjects[0].surroundings
    assert len(shown) == 2 * NEIGHBOURS
    for alt, one in zip(shown, (*near.by_features, *near.by_pixels), strict=True):
        assert alt.startswith(one.name)
    names = [scan.names[0], scan.names[1]]
    assert any(name in alt for name in names for alt in shown)
    assert page.evaluate("window.taken") is None
    assert (tab.troubles, tab.requests) == ([], [])


def test_photos_that_have_gone_leave_their_names(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for number, pixels in enumerate(pictures(4)):
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    scan = scan_all(hostile_model(), tmp_path / "photos", tmp_path / "run", keep=3)
    (tmp_path / "photos" / "2.png").write_bytes(b"no picture")
    report = make_report(hostile_model(), pictures(), ("saliency",), scan=scan)
    near = report.subjects[0].surroundings
    assert {one.name: one.picture is None for one in near.by_features} == {
        "1.png": False,
        "2.png": True,
        "3.png": False,
    }
    assert {one.name for one in near.by_pixels} == {"1.png", "3.png"}  # what is unknown is near to nothing
    assert "cannot be read any more" in report.html()


def test_what_does_not_excite_a_channel_is_no_example_of_it(tmp_path: Path) -> None:
    redness = Conv(np.array([1, -1, -1], np.float32).reshape(1, 1, 3, 1), np.zeros(1, np.float32))
    layers = {"conv": redness, "relu": Relu(), "pool": GlobalAverage(), "dense": Dense(np.ones((1, 2)), np.zeros(2))}
    model = ag.wrap(Network(layers), input_size=8)
    shades = [np.full((8, 8, 3), colour, np.uint8) for colour in ((255, 0, 0), (200, 0, 0), (0, 255, 0), (0, 0, 255))]
    found = Beside.of(model, ag.scan_all(model, shades, tmp_path / "run", layers="relu")).surroundings(shades[0])
    assert [[other.name for other in channel.others] for channel in found.channels] == [["image 1"]]
