"""The documentation builds without a warning, asks for nothing from the network, and leaves nothing public out."""

import pkgutil
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

import agnoscope
from agnoscope.cli import cli

for needed in ("sphinx", "furo", "myst_nb", "sphinx_click", "latex2mathml"):
    pytest.importorskip(needed, reason="the tools for the documentation are not installed")

DOCS = Path(__file__).parents[2] / "docs"
FOREIGN = re.compile(r"(\w+:)?//")
INTERNAL = ("agnoscope.backends.", "agnoscope.cli.", "agnoscope.demo.show", "agnoscope.demo.train")
"""Modules that the reference leaves out, all but the NumPy backend; so does it the kit's single checks."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the built pages lie."""
    built = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-d", built / "state", DOCS, built / "html"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return built / "html"


class Loaded(HTMLParser):
    """What a browser loads by itself when it shows a page, and the links of the page."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        if tag == "a":
            self.links.append(given.get("href", ""))
        elif tag != "link" or given.get("rel") not in ("next", "prev", "index", "search"):
            self.loaded += [given[name] for name in ("src", "href", "srcset", "data", "poster") if name in given]


def read(page: Path) -> Loaded:
    parser = Loaded()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser


def test_no_page_asks_for_anything_from_the_network(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    foreign = {(page.name, url) for page in pages for url in read(page).loaded if FOREIGN.match(url)}
    sheets = {sheet.name: sheet.read_text(encoding="utf-8") for sheet in site.rglob("*.css")}
    styles = {name for name, text in sheets.items() if re.search(r"url\(['\"]?(https?:)?//|@import", text)}
    assert len(pages) > 30
    assert (foreign, styles) == (set(), set())


def test_links_within_the_site_lead_somewhere(site: Path) -> None:
    broken = set()
    for page in site.rglob("*.html"):
        for link in read(page).links:
            path = unquote(link.partition("#")[0])
            if path and "//" not in path and not (page.parent / path).exists():
                broken.add((page.name, link))
    assert broken == set()


def test_every_public_name_is_described_once_and_listed(site: Path) -> None:
    described = inventory(site)
    listed = read(site / "api" / "index.html").links
    for name in agnoscope.__all__:
        whole = f"{getattr(agnoscope, name).__module__}.{name}"
        assert described.count(whole) == 1, name
        assert sum(link.endswith(f"#{whole}") for link in listed if not link.startswith("#")) == 1, name


def test_every_module_is_described(site: Path) -> None:
    described = inventory(site)
    modules = {module.name for module in pkgutil.walk_packages(agnoscope.__path__, "agnoscope.")}
    left_out = {module for module in modules if f"{module}.".startswith(INTERNAL)} | {"agnoscope.testing.checks"}
    left_out -= {"agnoscope.backends.reference"}
    assert sorted(modules - left_out - set(described)) == []


def test_every_command_is_described(site: Path) -> None:
    text = (site / "guides" / "command-line.html").read_text(encoding="utf-8")
    for name in cli.commands:
        assert f'id="agnoscope-{name}"' in text, name


def inventory(site: Path) -> list[str]:
    """The names that the built reference describes."""
    from sphinx.util.inventory import InventoryFile

    with (site / "objects.inv").open("rb") as file:
        found = InventoryFile.load(file, "", lambda base, path: path)
    return [name for kind, names in found.items() if kind.startswith("py:") for name in names]
