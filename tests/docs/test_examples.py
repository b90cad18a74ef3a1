"""What the documentation says can be done, done: its examples run as they stand.

`docs/methods` and the page on their choice have a test of their own.
"""

import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from agnoscope import cli
from agnoscope.demo import scene

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [page for page in sorted(DOCS.rglob("*.md")) if not {"methods", "which-method.md", "_build"} & set(page.parts)]
FENCE = re.compile(r"(?:<!-- ([^\n]+) -->\n)?^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FRAMEWORKS = ("torch", "jax", "tensorflow")
PROGRESS = re.compile(r"[\w-]+: (step |\d+ %, )?\d+ of \d+.*")
"""What a pipe gets in the place of a bar."""


def blocks(kind: str) -> Iterator[tuple[str, str, str]]:
    """Blocks of a kind, each with its page and line and the comment before it."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for found in FENCE.finditer(text):
            if found[2] == kind:
                line = text.count("\n", 0, found.start(2)) + 1
                yield f"{page.relative_to(DOCS)}:{line}", found[1] or "", found[3]


def examples() -> Iterator[Any]:
    for place, comment, code in blocks("python"):
        if "import agnoscope" in code or "from agnoscope" in code:
            framework = comment.removeprefix("needs: ")
            marks = [getattr(pytest.mark, framework)] if framework in FRAMEWORKS else []
            yield pytest.param(code, framework, marks=marks, id=place)


def commands() -> Iterator[Any]:
    for place, comment, lines in blocks("console"):
        together = [line[2:] for line in lines.splitlines() if line.startswith("$ agnoscope ")]
        if together:
            yield pytest.param(together, comment.startswith("shown only"), id=place)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the examples find: a photo, a folder of photos and one of masks."""
    made = tmp_path_factory.mktemp("examples")
    for name in ("photos", "masks"):
        (made / name).mkdir()
    for number in range(3):
        one = scene(number)
        Image.fromarray(one.image).save(made / "photos" / f"{number}.png")
        Image.fromarray(one.mask.astype(np.uint8) * 255).save(made / "masks" / f"{number}.png")
    Image.fromarray(scene(0).image).save(made / "photo.jpg")
    return made


@pytest.fixture
def folder(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work where these are, and where nothing else is."""
    shutil.copytree(photos, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("code", "framework"), list(examples()))
def test_an_example_runs(code: str, framework: str, capsys: pytest.CaptureFixture[str]) -> None:
    if framework:
        pytest.importorskip(framework, reason=f"{framework} is not installed")
    before = set(Path().rglob("*"))
    # Dataclasses look their module up.
    exec(compile(code, "example.py", "exec"), {"__name__": __name__})
    assert capsys.readouterr().out or set(Path().rglob("*")) - before


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("lines", "shown_only"), list(commands()))
def test_commands_run(
    lines: list[str], shown_only: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in map(shlex.split, lines):
        command = cli.cli.commands[words[1]]
        # It has these options, whether its network is here or not.
        command.make_parser(command.make_context(words[1], words[2:], resilient_parsing=True)).parse_args(words[2:])
        if not shown_only:
            monkeypatch.setattr(sys, "argv", words)
            cli.main()
            out, err = capsys.readouterr()
            assert out
            assert not [line for line in err.splitlines() if not PROGRESS.fullmatch(line)]


def test_an_example_that_cannot_run_says_why() -> None:
    comments = {comment for kind in ("python", "console") for _, comment, _ in blocks(kind) if comment}
    known = {f"needs: {name}" for name in FRAMEWORKS}
    assert all(comment in known or comment.startswith("shown only: ") for comment in comments), comments
