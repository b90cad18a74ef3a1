"""The page of the map in a real browser: search, click and keys, nothing asked of a network, nothing foreign run."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from agnoscope.demo import make_scenes
from agnoscope.errors import OptionError
from agnoscope.feature_space.embedding import Embedding
from agnoscope.feature_space.neighbours import Neighbours, nearest
from agnoscope.feature_space.page import map_page
from tests.report.browser import Tab, Visit, chromium, visit  # noqa: F401

# A cross: the middle, and one image at each of its ends.
POINTS = np.array([[0, 0], [-3, 0], [3, 0], [0, 2], [0, -2]], np.float32)
NAMES = ("middle.jpg", "left.jpg", "right.jpg", "upper.jpg", "lower.jpg")
LABELS = ("dog", "cat", "cat", "bird", "")
COLOURS = ((200, 30, 30), (30, 160, 60), (40, 60, 210), (180, 170, 20), (150, 40, 170))
HOSTILE = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    "<!--<script>",
    "\u202egpj.evil",
    "'\"&",
)


def map_of(points: Any = POINTS, method: str = "pca") -> Embedding:
    points = np.asarray(points, np.float32)
    return Embedding(points, method, {}, 0, 0.875, 1, len(points), (0.5, 0.25), {})


def found(points: Any = POINTS, k: int = 2) -> Neighbours:
    rows = np.arange(len(points))
    return nearest(points, [(rows, np.asarray(points))], k, itself=rows)


def picture(i: int) -> np.ndarray:
    return np.full((40, 60, 3), COLOURS[i % 5], np.uint8)


@cache
def cross_page() -> str:
    return map_page([map_of(), map_of(POINTS[::-1], "tsne")], NAMES, picture, LABELS, found(), title="A cross")


@pytest.fixture
def cross(visit: Visit) -> Tab:  # noqa: F811
    tab = visit(cross_page())
    tab.page.wait_for_function("document.querySelector('#map').width > 300")
    yield tab
    assert (tab.troubles, tab.requests) == ([], [])


def place(tab: Tab, i: int) -> tuple[float, float] | None:
    """The middle of what the map shows in the colour of an image, in pixels of the canvas; None where it is not."""
    seen = """(colour) => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => {
        const {width, height} = document.querySelector('#map');
        const copy = new OffscreenCanvas(width, height).getContext('2d', {willReadFrequently: true});
        copy.drawImage(document.querySelector('#map'), 0, 0);
        const {data} = copy.getImageData(0, 0, width, height);
        let x = 0, y = 0, n = 0;
        for (let i = 0; i < data.length; i += 4)
            if ([0, 1, 2].every(c => Math.abs(data[i + c] - colour[c]) < 20) && data[i + 3] === 255) {
                x += i / 4 % width; y += Math.floor(i / 4 / width); n += 1;
            }
        done(n > 50 ? [x / n, y / n] : null);
    })))"""
    return tab.page.evaluate(seen, COLOURS[i])


def chosen(tab: Tab) -> str:
    return tab.page.text_content("#chosen-name") if tab.page.is_visible("#chosen") else ""


def texts(tab: Tab, where: str) -> list[str]:
    return tab.page.locator(where).all_text_contents()


def test_every_image_lies_where_the_map_has_it(cross):
    middle, left, right, upper, lower = (place(cross, i) for i in range(5))
    assert left[0] < upper[0] < right[0]
    assert upper[1] < left[1] < lower[1]
    assert middle == pytest.approx([(left[0] + right[0]) / 2, (upper[1] + lower[1]) / 2], abs=2)
    assert (right[0] - left[0]) / (lower[1] - upper[1]) == pytest.approx(1.5, rel=0.02)


def test_a_click_shows_the_neighbours_and_they_lead_on(cross):
    x, y = place(cross, 1)
    cross.page.click("#map", position={"x": x, "y": y})
    assert chosen(cross) == "left.jpg"
    assert texts(cross, "#chosen-label") == ["cat"]
    assert texts(cross, "#neighbours .name") == ["middle.jpg", "upper.jpg"]
    assert texts(cross, "#neighbours .number") == ["3 · dog", "3.61 · bird"]
    cross.page.click("#neighbours >> text=upper.jpg")
    assert chosen(cross) == "upper.jpg"
    assert texts(cross, "#neighbours .name") == ["middle.jpg", "left.jpg"]
    assert cross.page.evaluate("document.activeElement.textContent") == "middle.jpg2 · dog"


def test_a_drag_moves_the_map_and_chooses_nothing(cross):
    x, y = place(cross, 0)
    box = cross.page.locator("#map").bounding_box()
    cross.page.mouse.move(box["x"] + x, box["y"] + y)
    cross.page.mouse.down()
    cross.page.mouse.move(box["x"] + x + 30, box["y"] + y + 20, steps=4)
    cross.page.mouse.up()
    assert place(cross, 0) == pytest.approx([x + 30, y + 20], abs=2)
    assert chosen(cross) == ""


def test_the_wheel_zooms_about_the_pointer(cross):
    box, (x, y) = cross.page.locator("#map").bounding_box(), place(cross, 0)
    (left, _), (right, _) = place(cross, 1), place(cross, 2)
    cross.page.mouse.move(box["x"] + left, box["y"] + y)
    cross.page.mouse.wheel(0, -250)
    cross.page.mouse.move(box["x"] + left, box["y"] + 5)  # what lies under the pointer is framed
    assert place(cross, 1) == pytest.approx([left, y], abs=2)
    assert place(cross, 0)[0] - left == pytest.approx((x - left) * np.exp(0.375), rel=0.02)
    cross.page.click("#whole")
    cross.page.wait_for_timeout(600)
    assert place(cross, 2) == pytest.approx([right, y], abs=2)


@pytest.mark.parametrize(
    ("asked", "names"),
    [("RIGHT", ["right.jpg"]), ("cat", ["left.jpg", "right.jpg"]), ("zebra", []), ("er.j", NAMES[3:])],
)
def test_search_finds_names_and_labels(cross, asked, names):
    cross.page.fill("#search", asked)
    assert texts(cross, "#results .name") == list(names)
    assert texts(cross, "#found") == [f"{len(names)} of 5 images found."]
    shown = [i for i in range(5) if place(cross, i)]
    assert [NAMES[i] for i in shown] == list(names)  # the others are pale dots
    cross.page.press("#search", "Enter")
    assert chosen(cross) == (names[0] if names else "")


def test_all_goes_by_keyboard(cross):
    keys = cross.page.keyboard
    for _ in range(6):  # past the link to the content, the choice of map and three buttons
        keys.press("Tab")
    assert cross.page.evaluate("document.activeElement.id") == "map"
    reached = []
    for key in ("ArrowUp", "ArrowUp", "ArrowDown", "ArrowRight", "ArrowLeft", "ArrowLeft"):
        keys.press(key)
        reached.append(chosen(cross))
    assert reached == ["middle.jpg", "upper.jpg", "middle.jpg", "right.jpg", "middle.jpg", "left.jpg"]
    assert texts(cross, "#live") == ["left.jpg, cat. Nearest: middle.jpg, dog; upper.jpg, bird."]
    keys.press("Enter")
    keys.press("Enter")
    assert chosen(cross) == "middle.jpg"
    cross.page.focus("#map")
    before = place(cross, 2)
    keys.press("-")
    assert place(cross, 2)[0] < before[0] - 20
    keys.press("+")
    assert place(cross, 2) == pytest.approx(before, abs=2)
    keys.press("-")
    keys.press("0")
    cross.page.wait_for_timeout(600)
    assert place(cross, 2) == pytest.approx(before, abs=2)
    keys.press("Shift+ArrowRight")
    cross.page.wait_for_timeout(600)
    assert place(cross, 2)[0] == pytest.approx(before[0] - 120, abs=2)
    keys.press("Escape")
    assert chosen(cross) == ""
    assert texts(cross, "#live") == ["Nothing is chosen."]


def test_maps_are_changed(cross):
    upper = place(cross, 3)
    assert texts(cross, "fieldset span") == ["PCA", "t-SNE", "Grid"]
    cross.page.check("input[value='1']")
    cross.page.wait_for_timeout(700)
    assert place(cross, 1) == pytest.approx(upper, abs=2)  # the second map is the first one in another order
    assert cross.page.text_content("#said").startswith("t-SNE of 5 images")
    cross.page.check("input[value='2']")
    cross.page.wait_for_timeout(700)
    assert cross.page.text_content("#said").startswith("PCA on a grid")
    assert all(place(cross, i) for i in range(5))


def test_labels_are_put_out(cross):
    assert texts(cross, "#legend .name") == ["bird (1)", "cat (2)", "dog (1)", "no label (1)"]
    cross.page.click("#legend >> text=cat")
    assert [i for i in range(5) if place(cross, i)] == [0, 3, 4]
    assert cross.page.get_attribute("#legend li:nth-child(2) button", "aria-pressed") == "false"
    cross.page.click("#legend >> text=cat")
    assert all(place(cross, i) for i in range(5))


def test_hostile_names_are_only_shown(visit):  # noqa: F811
    tab = visit(map_page([map_of()], HOSTILE, picture, HOSTILE, found(), title=HOSTILE[0], subtitle=HOSTILE[1]))
    assert texts(tab, "h1") == [HOSTILE[0]]
    tab.page.fill("#search", "<")
    assert texts(tab, "#results .name") == list(HOSTILE[:3])
    for i, name in enumerate(HOSTILE):
        tab.page.fill("#search", name)
        tab.page.press("#search", "Enter")
        assert chosen(tab) == HOSTILE[i]
    assert (tab.troubles, tab.requests) == ([], [])


def test_without_scripts_there_is_a_picture(visit):  # noqa: F811
    tab = visit(map_page([map_of()], NAMES, picture, LABELS, found()), java_script_enabled=False)
    image = tab.page.locator("noscript img")
    assert image.is_visible()
    assert "PCA of 5 images" in image.get_attribute("alt")
    assert not tab.page.is_visible("#map")
    assert (tab.troubles, tab.requests) == ([], [])


def test_it_opens_in_the_dark_on_a_phone_without_labels_or_neighbours(visit):  # noqa: F811
    page = map_page([map_of(np.zeros((3, 2)))], NAMES[:3], picture)
    tab = visit(
        page, color_scheme="dark", viewport={"width": 360, "height": 640}, has_touch=True, device_scale_factor=2
    )
    tab.page.fill("#search", "left")
    tab.page.press("#search", "Enter")
    assert chosen(tab) == "left.jpg"
    assert not tab.page.is_visible("#near")
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 360
    assert (tab.troubles, tab.requests) == ([], [])


def test_thousands_of_images_stay_small():
    """Scenes of noisy ground, which pack badly: 5000 of them are to stay below 15 MB."""
    scenes = make_scenes(60, 0)
    points = np.random.default_rng(0).normal(size=(60, 2))
    done: list[tuple[int, int]] = []
    html = map_page(
        [map_of(points)] * 2,
        [f"scenes/image_{i:05}.jpg" for i in range(60)],
        lambda i: scenes[i].image,
        ["ball"] * 60,
        found(points, 9),
        progress=lambda now, total: done.append((now, total)),
    )
    bare = map_page([map_of(points[:3])], NAMES[:3], lambda i: scenes[i].image)
    assert (len(html) - len(bare)) * 5000 / 57 < 15e6
    assert done == [(i, 60) for i in range(1, 61)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"embeddings": []}, "no map to show"),
        ({"embeddings": [map_of(), map_of(POINTS[:3])]}, "5 images, and the PCA map were given for 3"),
        ({"names": NAMES[:2]}, "names were given for 2"),
        ({"labels": ["a"]}, "1 labels were given for 5"),
        ({"neighbours": found(POINTS[:3])}, "neighbours were given for 3"),
        ({"neighbours": replace(found(), rows=found().rows + 1)}, "below 5: search within its images"),
    ],
)
def test_parts_that_do_not_fit_are_refused(change, words):
    parts = {"embeddings": [map_of()], "names": NAMES, "pictures": picture, "labels": LABELS, "neighbours": found()}
    with pytest.raises(OptionError, match=words):
        map_page(**(parts | change))
