"""Our docstrings, which are plain text, as reStructuredText.

What stands between backquotes is code, and a link where it is one of our names. An indented example is code, too.
Stars and bars stand for themselves.
"""

import re

from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

import agnoscope

SECTION = re.compile(r"(Args|Attributes|Raises|Returns|Yields):$")
ARRAY = re.compile(r"~?(?:numpy\.)?ndarray\[tuple\[~?(?:typing\.)?Any, \.\.\.\], ~?(?:numpy\.)?dtype\[([^][]+)\]\]")
FLAG = re.compile(r"(?<![\w`-])(--[a-z][\w-]*)")
CODE = re.compile(r"(?<![`:])`([^`]+)`(?!`)")


def prepare(_app: Sphinx, _what: str, _name: str, _found: object, _options: object, lines: list[str]) -> None:
    """Rewrite the lines of a docstring in place."""
    written: list[str] = []
    prose: list[str] = []
    section = example = False
    for number, line in enumerate(lines):
        if line and not line.startswith(" "):
            section, example = SECTION.match(line) is not None, False
        elif line and number and not lines[number - 1] and not section and not example:
            written += [*as_text(prose), "::", ""]
            prose, example = [], True
        if example:
            written.append(line)
        else:
            prose.append(line)
    lines[:] = [*written, *as_text(prose)]


def as_text(lines: list[str]) -> list[str]:
    """Prose: its code marked as such, and the characters escaped that would mean something between words."""
    parts = CODE.split("\n".join(lines))
    words = [re.sub(r"(?<!\*)\*(?!\*)|\|", lambda sign: f"\\{sign[0]}", part) for part in parts[::2]]
    # Markup must not touch a word; a space with a backslash parts them and is not shown.
    words[1:] = [re.sub(r"^(?=[\w×])", r"\\ ", word) for word in words[1:]]
    words[:-1] = [re.sub(r"(?<=[\w×])$", r"\\ ", word) for word in words[:-1]]
    codes = [" ".join(code.split()) for code in parts[1::2]]
    codes = [f":py:obj:`~{code}`" if ours(code) else f"``{code}``" for code in codes]
    return "".join(part for pair in zip(words, [*codes, ""], strict=True) for part in pair).split("\n")


def ours(code: str) -> bool:
    """Whether it may name something of ours; a name that leads nowhere is shown as code all the same."""
    top = code.partition(".")[0]
    return re.fullmatch(r"[\w.]+", code) is not None and (top in ("ag", "agnoscope") or top in agnoscope.__all__)


def shorten(
    _app: Sphinx,
    _what: str,
    _name: str,
    _found: object,
    _options: object,
    signature: str | None,
    returned: str | None,
) -> tuple[str | None, str | None]:
    """Write `NDArray[float64]` where NumPy spells the alias out."""
    shorter = [text and ARRAY.sub(r"~numpy.typing.NDArray[\1]", text) for text in (signature, returned)]
    return shorter[0], shorter[1]


def quote_options(_app: Sphinx, _context: object, lines: list[str]) -> None:
    """Mark the options that a command's help speaks of as code; two hyphens would become a dash."""
    for number, line in enumerate(lines):
        if not line.lstrip().startswith((".. ", ":")):
            lines[number] = FLAG.sub(r"``\1``", line)


def setup(app: Sphinx) -> ExtensionMetadata:
    """Before napoleon reads the sections."""
    app.connect("autodoc-process-docstring", prepare, priority=400)
    app.connect("autodoc-process-signature", shorten)
    for part in ("description", "options", "arguments"):
        app.connect(f"sphinx-click-process-{part}", quote_options)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
