"""The report in a real browser: what a person does with it, and what it must never do."""

import re
from itertools import pairwise

import numpy as np
import pytest

import agnoscope as ag
from agnoscope.report.making import make_report
from agnoscope.testing import deep_network
from tests.report.browser import Tab, Visit, visit  # noqa: F401
from tests.report.examples import LABELS, METHODS, Broken, Gradient, Grain, hostile_model, pictures


@pytest.fixture(scope="module")
def html() -> str:
    return make_report(hostile_model(), pictures(2), (*METHODS, Broken()), title=LABELS[0]).html()


@pytest.fixture
def tab(visit: Visit, html: str) -> Tab:  # noqa: F811
    return visit(html)


def opacity(tab: Tab, number: int, part: str = ".map") -> float:
    script = "([n, part]) => getComputedStyle(document.querySelectorAll('[data-map]')[n].querySelector(part)).opacity"
    return float(tab.page.evaluate(script, [number, part]))


def clean(tab: Tab) -> bool:
    assert (tab.troubles, tab.requests) == ([], [])
    return True


def test_it_opens_in_silence(tab: Tab) -> None:
    assert tab.page.locator("[data-map]").count() == 6
    assert tab.page.locator(".failure").count() == 2
    assert tab.page.evaluate("[...document.images].every((one) => one.complete && one.naturalWidth > 0)")
    assert clean(tab)


def test_hostile_names_are_shown_and_do_not_run(tab: Tab) -> None:
    assert tab.page.evaluate("window.taken") is None
    assert tab.page.locator("h1").text_content() == LABELS[0]
    assert "<b>method</b>" in tab.page.locator(".failure").first.text_content()
    shown = tab.page.locator(".answers").first.evaluate("(table) => table.textContent")
    assert all(label in shown for label in LABELS)
    for label in LABELS:  # nor when a mouse goes over them
        tab.page.locator(".answers th").filter(has_text=label).first.hover()
    assert tab.page.evaluate("window.taken") is None
    assert clean(tab)


def test_a_slider_fades_its_map_and_no_other(tab: Tab) -> None:
    assert opacity(tab, 0) == pytest.approx(0.8)
    slider = tab.page.locator("[data-map] input").first
    slider.fill("30")
    assert opacity(tab, 0) == pytest.approx(0.4)
    assert opacity(tab, 1) == pytest.approx(0.8)
    slider.fill("0")
    assert (opacity(tab, 0), opacity(tab, 0, ".strip")) == (0, 0)
    slider.fill("100")
    # the map alone: its ground covers the photo, and the bar shows the same
    assert [opacity(tab, 0, part) for part in (".map", ".stage .ground", ".strip", ".bar .ground")] == [1, 1, 1, 1]
    assert slider.get_attribute("aria-valuetext") == "100 %"
    assert clean(tab)


def test_one_slider_fades_all_maps(tab: Tab) -> None:
    tab.page.locator("#all").fill("15")
    assert [opacity(tab, number) for number in range(6)] == pytest.approx([0.2] * 6)
    assert tab.page.locator("[data-map] input").nth(3).input_value() == "15"
    assert clean(tab)


def test_flip_shows_the_photo_and_the_map_again(tab: Tab) -> None:
    button = tab.page.locator("[data-map] .flip").first
    button.click()
    assert (opacity(tab, 0), opacity(tab, 1)) == (0, pytest.approx(0.8))
    assert button.get_attribute("aria-pressed") == "true"
    button.click()
    assert opacity(tab, 0) == pytest.approx(0.8)
    tab.page.locator("#flip").click()
    assert [opacity(tab, number) for number in range(6)] == [0] * 6
    tab.page.locator("#flip").click()
    assert all(opacity(tab, number) == pytest.approx(0.8) for number in range(6))
    assert clean(tab)


def test_the_keyboard_does_all_of_it(tab: Tab) -> None:
    keys, focused = tab.page.keyboard, "document.activeElement"
    keys.press("Tab")
    assert tab.page.evaluate(f"{focused}.textContent") == "Skip to the content"
    assert tab.page.evaluate(f"{focused}.getBoundingClientRect().left") >= 0
    reached = []
    for _ in range(60):
        keys.press("Tab")
        reached.append(tab.page.evaluate(f"{focused}.id || {focused}.className || {focused}.tagName"))
        if tab.page.evaluate(f"{focused}.closest('[data-map]') !== null"):
            break
    assert [name for name in reached if name in ("all", "flip")] == ["all", "flip"]
    outline = tab.page.evaluate(f"getComputedStyle({focused}).outlineStyle")
    assert outline == "solid"
    before = opacity(tab, 0)
    keys.press("ArrowLeft")
    keys.press("ArrowLeft")
    assert opacity(tab, 0) == pytest.approx(before - 0.1 / 0.75)
    keys.press("f")
    assert (opacity(tab, 0), opacity(tab, 1)) == (0, pytest.approx(0.8))
    keys.press("F")
    tab.page.evaluate(f"{focused}.blur()")
    keys.press("f")
    assert [opacity(tab, number) for number in range(6)] == [0] * 6
    keys.press("Control+f")
    assert opacity(tab, 0) == 0
    assert clean(tab)


def test_readers_of_the_screen_are_told_what_is_there(tab: Tab) -> None:
    page = tab.page
    for landmark in ("banner", "main", "navigation", "contentinfo"):
        assert page.get_by_role(landmark).count() == 1
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map((one) => +one.tagName[1])")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))
    alts = page.evaluate("[...document.images].map((one) => one.alt)")
    assert all(len(alt) > 20 for alt in alts)
    named = (
        "[...document.querySelectorAll('input,button')].every((one) => one.ariaLabel || one.labels[0] || one.innerText)"
    )
    assert page.evaluate(named)
    assert page.evaluate("document.documentElement.lang") == "en"


def test_the_map_in_words_is_the_map() -> None:
    panel = make_report(hostile_model(), pictures(), (Gradient(0.5),), checks=(), layers=())
    assert "strongest at the left, where it speaks against the target" in panel.html().replace("upper left", "left")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_letters_stand_out_from_the_paper(visit: Visit, html: str, scheme: str) -> None:  # noqa: F811
    tab = visit(html, color_scheme=scheme)

    def luminance(name: str) -> float:
        colour = tab.page.evaluate(f"getComputedStyle(document.querySelector('{name[0]}')).{name[1]}", None)
        parts = np.array([float(part) for part in re.findall(r"[\d.]+", colour)[:3]]) / 255
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ (0.2126, 0.7152, 0.0722))

    paper, card = luminance(("body", "backgroundColor")), luminance((".panel", "backgroundColor"))
    assert (paper > 0.5) == (scheme == "light")
    for ink, ground in (
        (("body", "color"), paper),
        ((".faint", "color"), paper),
        ((".panel .faint", "color"), card),
        ((".panel a", "color"), card),
    ):
        light, dark = sorted((luminance(ink), ground))[::-1]
        assert (light + 0.05) / (dark + 0.05) > 4.5
    assert clean(tab)


@pytest.mark.parametrize("width", [320, 390, 800, 1600])
def test_nothing_sticks_out_at_the_side(visit: Visit, html: str, width: int) -> None:  # noqa: F811
    tab = visit(html, viewport={"width": width, "height": 800})
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= width


def test_in_print_there_are_maps_and_no_controls(tab: Tab) -> None:
    tab.page.emulate_media(media="print")
    assert not any(one.is_visible() for one in tab.page.locator("input, button, nav").all())
    assert tab.page.locator(".map").first.is_visible()
    assert tab.page.pdf().startswith(b"%PDF")
    assert clean(tab)


def test_four_methods_stand_in_one_row_of_a_printed_page(visit: Visit) -> None:  # noqa: F811
    html = make_report(hostile_model(), pictures(1), ("saliency",) * 4, checks=(), layers=()).html()
    page = visit(html, viewport={"width": 740, "height": 1000}).page
    page.emulate_media(media="print")
    boxes = page.locator(".panel").evaluate_all("(all) => all.map((one) => one.getBoundingClientRect())")
    assert len({box["top"] for box in boxes}) == 1
    assert max(box["right"] for box in boxes) <= 740


def test_it_stands_without_scripts_too(visit: Visit, html: str) -> None:  # noqa: F811
    tab = visit(html, java_script_enabled=False)
    assert tab.page.locator(".map").first.is_visible()
    assert not tab.page.locator("input").first.is_visible()


def test_a_hundred_panels_of_grain_stay_below_five_megabytes() -> None:
    model = ag.wrap(deep_network(), input_size=224)
    photo = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    five = make_report(model, photo, (Grain(),) * 5, checks=()).html()
    assert five.count("data-map>") == 5
    assert 20 * len(five.encode()) < 5e6
