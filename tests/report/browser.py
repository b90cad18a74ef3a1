"""A real browser for pages: headless Chromium, which tells of every request, error and breach of the policy.

A test asks for the fixture `visit` (import it into the test's module) and calls it with a page:

    def test_a_page(visit) -> None:
        tab = visit(html)
        tab.page.keyboard.press("Tab")
        assert tab.troubles == []

Chromium is the machine's own; a test is skipped where it, or Playwright, cannot be had.
"""

import atexit
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import pytest

SWITCHES = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)


@dataclass
class Tab:
    """An open page, and what happened in it.

    Attributes:
        page: Playwright's.
        troubles: errors and warnings of the console (breaches of the policy among them), and uncaught errors.
        requests: every address asked for beside the page itself and its `data:` URIs.
    """

    page: Any
    troubles: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


Visit: TypeAlias = Callable[..., Tab]


@cache
def chromium() -> Any:
    """The browser, started once for all modules of tests that ask for it."""
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("there is no Chromium on this machine")
    playwright = api.sync_playwright().start()
    browser = playwright.chromium.launch(executable_path=path, args=list(SWITCHES))
    atexit.register(lambda: (browser.close(), playwright.stop()))
    return browser


@pytest.fixture
def visit(tmp_path: Path) -> Iterator[Visit]:
    """Open a page, given as HTML, from a file; options are those of a browser's context, such as `color_scheme`."""
    contexts = []

    def opened(html: str, **options: Any) -> Tab:
        file = tmp_path / f"page{len(contexts)}.html"
        file.write_text(html, encoding="utf-8")
        context = chromium().new_context(**options)
        contexts.append(context)
        tab = Tab(context.new_page())

        def asked(request: Any) -> None:
            if request.url.partition("#")[0] != file.as_uri() and not request.url.startswith("data:"):
                tab.requests.append(request.url)

        tab.page.on("console", lambda m: tab.troubles.append(m.text) if m.type in ("error", "warning") else None)
        tab.page.on("pageerror", lambda error: tab.troubles.append(str(error)))
        tab.page.on("request", asked)
        tab.page.on("dialog", lambda dialog: (tab.troubles.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        tab.page.goto(file.as_uri())
        return tab

    yield opened
    for context in contexts:
        context.close()
