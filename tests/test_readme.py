"""What the README says can be done, done: its examples run as they stand."""

import re
import shlex
import sys
from pathlib import Path

import pytest
from PIL import Image

from agnoscope import cli
from agnoscope.demo import scene

README = Path(__file__).parents[1] / "README.md"
TEXT = README.read_text(encoding="utf-8")
PYTHON = [block for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL) if "import agnoscope" in block]
COMMANDS = [line[2:] for block in re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()]
NEEDS = ("torch", "jax", "tensorflow")


@pytest.mark.parametrize(
    ("block", "framework"),
    [pytest.param(block, name, marks=getattr(pytest.mark, name)) for block, name in zip(PYTHON, NEEDS, strict=False)],
    ids=NEEDS,
)
def test_an_example_runs(block: str, framework: str, tmp_path: Path, monkeypatch, capsys) -> None:
    pytest.importorskip(framework, reason=f"{framework} is not installed")
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {})
    assert (tmp_path / f"why-{framework}.png").exists()
    assert "crate" in capsys.readouterr().out
    assert len([line for line in block.splitlines() if line.strip()]) <= 10


@pytest.mark.parametrize("block", PYTHON[len(NEEDS) :])
def test_an_example_without_a_framework_runs(block: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {})
    assert capsys.readouterr().out


SCAN = next(c for c in COMMANDS if c.startswith("agnoscope scan") and ":honest" in c)
READING = tuple(f"agnoscope {name} " for name in ("patches", "neighbours", "map", "classes"))


@pytest.mark.parametrize(
    "command", [c for c in COMMANDS if c.startswith("agnoscope") and (":honest" in c or c.startswith("agnoscope map"))]
)
def test_a_command_runs(command: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for number in range(4):
        Image.fromarray(scene(number).image).save(tmp_path / "photos" / f"{number}.png")
    words = shlex.split(command)
    if command.startswith(READING):  # there must be a scan to read
        monkeypatch.setattr(sys, "argv", shlex.split(SCAN))
        cli.main()
    if "--resume" in words:  # there must be a run to go on with
        monkeypatch.setattr(sys, "argv", [word for word in words if word != "--resume"])
        cli.main()
    monkeypatch.setattr(sys, "argv", words)
    cli.main()
    out, err = capsys.readouterr()
    assert out
    # What a pipe gets in the place of a bar.
    progress = re.compile(r"[\w-]+: step \d+ of \d+, objective \S+|scan: \d+ %, \d+ of \d+ images.*")
    assert not [line for line in err.splitlines() if not progress.fullmatch(line)]


def test_every_command_of_the_readme_exists() -> None:
    for command in COMMANDS:
        if command.startswith("agnoscope"):
            assert shlex.split(command)[1] in cli.cli.commands
    makefile = (README.parent / "Makefile").read_text()
    for target in re.findall(r"make (\w+)", " ".join(COMMANDS)):
        assert f"\n{target}:" in makefile


def test_every_file_that_the_documents_name_is_there() -> None:
    for document in (README, README.parent / "CONTRIBUTING.md"):
        for name in re.findall(
            r"[(`]((?:docs|tests|src|benchmarks)/[\w./]+)[)`]", document.read_text(encoding="utf-8")
        ):
            assert (README.parent / name).exists() or name == "docs/_build", name  # which `make docs` makes
