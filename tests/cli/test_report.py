"""The command `report`: one page, and clear words where there can be none."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from agnoscope.cli.report import report
from agnoscope.errors import AgnoscopeError


def run(*words: str) -> Result:
    return CliRunner().invoke(report, words)


def test_it_writes_one_page_and_says_what_it_left_out(folder: Path) -> None:
    words = ("py:mine.py:network", "photo.png", "gone.png", "--size", "5x7", "--labels", "labels.txt")
    done = run(*words, "-m", "saliency", "-m", "full-grad", "--check", "edges", "-l", "conv2", "--out", "page.html")
    assert done.exit_code == 0, done.output
    told = done.output.splitlines()
    assert told[0].startswith("photo.png: ")
    assert any(line.startswith("  left out: gone.png: There is no image file") for line in told)
    assert told[-1].startswith("The report: page.html (")
    html = (folder / "page.html").read_text()
    assert "<title>What py:mine.py:network sees</title>" in html
    assert 'id="check-edges"' in html
    assert 'id="check-deletion"' not in html
    assert "Maps of channels of layer conv2" in html
    assert "sees, in pixels" not in html


def test_scenes_are_called_as_they_were_asked_for(folder: Path) -> None:
    done = run("demo:honest", "demo:3", "demo:0", "-m", "saliency", "--no-checks")
    assert [line.partition(": ")[0] for line in done.output.splitlines()[:2]] == ["demo:3", "demo:0"]
    assert "image 1" not in (folder / "report.html").read_text()


def test_checks_can_be_left_out_and_receptive_fields_measured(folder: Path) -> None:
    words = ("py:mine.py:wrapped", "photo.png", "-m", "saliency", "-t", "2", "--title", "A <b>title</b>")
    done = run(*words, "--no-checks", "--receptive-fields")
    assert done.exit_code == 0, done.output
    html = (folder / "report.html").read_text()
    assert "A &lt;b&gt;title&lt;/b&gt;" in html
    assert "check-" not in html
    assert "sees, in pixels" in html
    assert 'for <span class="name" dir="auto">class 2</span>' in html


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("photo.png", "--out", "page.pdf"), r"must end in \.html"),
        (("photo.png", "--out", "none/page.html"), "folder that does not exist"),
        (("photo.png", "-m", "grad-can"), "no explainer 'grad-can'"),
        (("photo.png", "-t", "99"), "class"),
        (("photo.png", "--scan", "none"), "scan"),
        (("photo.png", "--check", "edge"), "no check 'edge'"),
        (("photo.png", "-l", "conv9"), "no layer 'conv9'"),
        (("gone.png",), "no image file"),
    ],
)
def test_mistakes_are_told_and_nothing_is_written(folder: Path, words: tuple[str, ...], complaint: str) -> None:
    before = sorted(folder.iterdir())
    done = run("py:mine.py:wrapped", *words)
    assert isinstance(done.exception, AgnoscopeError)
    with pytest.raises(AgnoscopeError, match=complaint):
        raise done.exception
    assert [path for path in sorted(folder.iterdir()) if path.suffix != ".pyc" and "__" not in path.name] == before
