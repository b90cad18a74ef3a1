"""Pages are safe whatever stands in them, and their policy is one that a browser keeps."""

import base64
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from jinja2 import ChoiceLoader, DictLoader
from PIL import Image

from agnoscope.errors import OptionError
from agnoscope.report.html import data_uri, environment, page
from tests.report.browser import Visit, visit  # noqa: F401

HOSTILE = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    "\"'><svg onload=alert(3)>",
    "<!--<script>",
    "two\nlines & an \u202eedis gnorw eht\u202c 🐈 \u2028",
)
FILES = {
    "plain.html": "{% extends 'report/base.html' %}{% block body %}<main id='main'><p title='{{ word }}'>{{ word }}</p>"
    "<i>red</i></main>{% endblock %}",
    "raw.html": "{% extends 'report/base.html' %}{% block body %}{{ word | safe }}{% endblock %}",
    "plain.css": "i {\r\n color: rgb(1, 2, 3) }",
    "plain.js": "document.title = JSON.parse(document.getElementById('data').textContent).word;",
}


@pytest.fixture(autouse=True)
def files(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    made = environment()
    monkeypatch.setattr(made, "loader", ChoiceLoader([DictLoader(FILES), made.loader]))
    yield
    made.cache.clear()


def plain(word: str, template: str = "plain.html") -> str:
    return page(template, css=("plain.css",), js=("plain.js",), data={"word": word}, title=word, word=word)


@pytest.mark.parametrize("word", HOSTILE)
def test_text_stays_text_and_data_stay_data(word: str) -> None:
    html = plain(word)
    assert html.count("<script") == 2
    assert html.count("</script>") == 2
    assert "<img" not in html
    assert "<svg" not in html
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert json.loads(data[1]) == {"word": word}


@pytest.mark.parametrize("word", HOSTILE)
def test_a_browser_shows_it_and_runs_nothing_else(visit: Visit, word: str) -> None:  # noqa: F811
    tab = visit(plain(word))
    assert tab.page.evaluate("document.querySelector('p').textContent") == word
    assert tab.page.evaluate("document.querySelector('p').title") == word
    assert tab.page.evaluate("JSON.parse(document.getElementById('data').textContent).word") == word
    # the page's own style and script did run
    assert tab.page.evaluate("getComputedStyle(document.querySelector('i')).color") == "rgb(1, 2, 3)"
    assert tab.page.title().split() == word.split()
    assert (tab.troubles, tab.requests) == ([], [])


def test_the_policy_stops_what_escaping_would_let_through(visit: Visit) -> None:  # noqa: F811
    tab = visit(plain("<script>window.taken = true</script><b style='color:red'>b</b>", "raw.html"))
    assert tab.page.evaluate("window.taken") is None
    assert tab.page.evaluate("getComputedStyle(document.querySelector('b')).color") != "rgb(255, 0, 0)"
    assert len(tab.troubles) == 2
    tab = visit(plain("<img src='https://agnoscope.invalid/a.png'>", "raw.html"))
    assert any("img-src" in trouble for trouble in tab.troubles)
    # even what the policy stops is noticed
    assert tab.requests == ["https://agnoscope.invalid/a.png"]


def test_a_page_without_script_and_data_has_neither() -> None:
    assert "<script" not in page("plain.html", title="a", word="b")


def test_numbers_that_json_lacks_are_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        page("plain.html", title="", word="", data=[float("nan")])


def test_pictures_come_back_from_their_uris(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 4), dtype=np.uint8)
    for form, options in (("png", {}), ("webp", {"lossless": True, "exact": True})):
        head, _, body = data_uri(pixels, form, **options).partition(",")
        assert head == f"data:image/{form};base64"
        with Image.open(io.BytesIO(base64.b64decode(body))) as opened:
            np.testing.assert_array_equal(np.asarray(opened), pixels)
    assert data_uri(Image.new("RGB", (4, 4)), "jpeg", quality=50).startswith("data:image/jpeg;base64,")
    with pytest.raises(OptionError, match="form='gif' is unknown"):
        data_uri(pixels, "gif")
