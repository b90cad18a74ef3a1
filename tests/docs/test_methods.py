"""The pages of the methods: each is there, tells the truth, and its example runs as it stands."""

import ast
import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from agnoscope import cli
from agnoscope.builtin import IMAGINED, METHODS
from agnoscope.explainers.meanings import MEANINGS
from agnoscope.fast_style.style_network import METHOD

DOCS = Path(__file__).parents[2] / "docs"
PICTURES = DOCS / "_static" / "methods"
NAMES = sorted({*METHODS, *IMAGINED, METHOD})
OTHERS = (DOCS / "which-method.md", DOCS / "methods" / "index.md")
SECTIONS = ("In a formula", "Call it", "What it shows, and what it does not", "Cost", "Source", "Related")
PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)
CONSOLE = re.compile(r"^\$ agnoscope (.*)$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)#\s]+)\)")
YEAR = re.compile(r"\b(19|20)\d\d\b")


def page(name: str) -> str:
    return (DOCS / "methods" / f"{name}.md").read_text(encoding="utf-8")


def section(text: str, title: str) -> str:
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0].strip()


def in_one_line(text: str) -> str:
    return " ".join(text.split())


def captions() -> dict[str, str]:
    """Name to docstring of the functions that draw the pictures, read without running them."""
    found = {}
    for script in ("maps", "imagined"):
        tree = ast.parse((DOCS / "_pictures" / f"{script}.py").read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.decorator_list:
                name = node.decorator_list[0].args[1]  # type: ignore[attr-defined]
                found[name.value if isinstance(name, ast.Constant) else METHOD] = ast.get_docstring(node) or ""
    return found


def test_every_method_has_a_page_and_every_page_a_method() -> None:
    assert sorted(path.stem for path in (DOCS / "methods").glob("*.md")) == sorted([*NAMES, "index"])


@pytest.mark.parametrize("name", NAMES)
def test_a_page_has_all_its_parts(name: str) -> None:
    text = page(name)
    for title in SECTIONS:
        assert len(section(text, title)) > 10, title
    assert text.startswith("# ")
    assert f"({name}.md)" not in text
    assert YEAR.search(section(text, "Source")) or name in ("random", "constant")
    assert 35 <= text.count("\n") <= 75


@pytest.mark.parametrize("name", NAMES)
def test_every_formula_can_be_drawn(name: str) -> None:
    converter = pytest.importorskip("latex2mathml.converter", reason="latex2mathml, which draws formulas, is missing")
    formulas = re.findall(r"\$\$?([^$]+)\$\$?", section(page(name), "In a formula"))
    assert formulas
    for formula in formulas:
        assert "\\" not in converter.convert(formula), formula


@pytest.mark.parametrize("name", NAMES)
def test_a_page_says_what_the_report_says(name: str) -> None:
    told = in_one_line(section(page(name), "What it shows, and what it does not"))
    assert f"**Shows.** {MEANINGS[name].shows}" in told
    assert f"**Mind.** {MEANINGS[name].hides}" in told


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_is_small_and_its_caption_is_that_of_the_script(name: str) -> None:
    picture = PICTURES / f"{name}.webp"
    assert picture.stat().st_size <= 30_000
    with Image.open(picture) as opened:
        assert 636 <= opened.width <= 640
    caption = captions()[name]
    assert f"(../_static/methods/{name}.webp)\n\n*{caption}*\n" in page(name)


def test_all_pictures_together_stay_small_and_none_is_left_over() -> None:
    files = list(PICTURES.iterdir())
    assert sorted(file.stem for file in files) == NAMES
    assert sum(file.stat().st_size for file in files) < 1_500_000


@pytest.mark.parametrize("path", [*(DOCS / "methods" / f"{name}.md" for name in NAMES), *OTHERS], ids=lambda p: p.stem)
def test_links_lead_to_files(path: Path) -> None:
    links = [link for link in LINK.findall(path.read_text(encoding="utf-8")) if "://" not in link]
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_the_index_and_no_page_misses_a_method() -> None:
    listed = re.findall(r"^([a-z+-]+)$", (DOCS / "methods" / "index.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == NAMES


@pytest.mark.parametrize("name", [*NAMES, "which-method"])
def test_the_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = page(name) if name in NAMES else OTHERS[0].read_text(encoding="utf-8")
    blocks = PYTHON.findall(text)
    assert blocks
    for block in blocks:
        exec(compile(block, f"{name}.md", "exec"), {})
    saved = re.findall(r'save\(f?"([^"{]+)[^"]*"\)', "".join(blocks))
    assert saved
    assert all(any(tmp_path.glob(f"{stem}*")) for stem in saved)


@pytest.mark.parametrize("name", NAMES)
def test_the_commands_exist_with_these_options(name: str) -> None:
    commands = CONSOLE.findall(page(name))
    assert commands or name == METHOD
    for line in commands:
        verb, *words = shlex.split(line)
        context = cli.cli.commands[verb].make_context(verb, words)
        asked = context.params.get("method")
        assert asked in (None, name) or name in ("grad-cam", "multifaceted")
