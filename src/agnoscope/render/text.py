"""Text as pictures: wrapped to a width, and never with an empty box in place of a letter.

Pillow brings one font, which is there on every machine, with little beyond English letters. What a font lacks is
written with what it has: "é" as "e", "→" as "->". A font of the user's own brings other alphabets.
"""

import math
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

from agnoscope.errors import OptionError

if TYPE_CHECKING:
    from PIL import Image, ImageFont

INK: Final = (28, 28, 30)
FAINT: Final = (96, 96, 100)
WHITE: Final = (255, 255, 255)
# Not a character, so that every font draws for it what it draws for a missing one.
MISSING: Final = "\uffff"
PLAIN: Final = {
    "→": "->",
    "←": "<-",
    "×": "x",
    "–": "-",
    "—": "-",
    "−": "-",
    "≥": ">=",
    "≤": "<=",
    "≈": "~",
    "µ": "u",
    "ß": "ss",
    "æ": "ae",
    "ø": "o",
    "ł": "l",
}


@final
@dataclass(frozen=True)
class Face:
    """A font, and how many pixels make one unit of length.

    Attributes:
        density: pixels per unit; 2 is crisp in print and on fine screens.
        font: a TrueType or OpenType file; by default the font that Pillow brings.
    """

    density: float = 1.0
    font: str | Path | None = None

    def px(self, units: float) -> int:
        """A length in pixels."""
        return max(1, round(units * self.density))

    def block(self, text: str, size: float, width: int, colour: tuple[int, int, int] = INK) -> "Image.Image":
        """Text as a picture on white; an empty one where there is no text.

        Args:
            text: as much as there is; a line break in it is kept.
            size: of the letters, in units.
            width: in pixels, of which the picture may take less; what is longer is wrapped.
            colour: red, green, blue.
        """
        from PIL import Image, ImageDraw

        font = _font(self.font, self.px(size))
        lines = wrapped(legible(text, self.font), width, font.getlength)
        leading = self.px(size * 1.3)
        longest = math.ceil(max(map(font.getlength, lines), default=0))
        picture = Image.new("RGB", (longest, leading * len(lines)), WHITE)
        pen = ImageDraw.Draw(picture)
        for number, line in enumerate(lines):
            pen.text((0, number * leading), line, fill=colour, font=font)
        return picture


def wrapped(text: str, width: float, length: Callable[[str], float]) -> list[str]:
    """Text cut into lines: between words, or inside a word that is longer than a line.

    Args:
        text: words; a line break in it is kept.
        width: what a line may take.
        length: what a text takes.
    """
    lines = []
    for paragraph in text.splitlines():
        line = ""
        for word in paragraph.split():
            if length(f"{line} {word}".lstrip()) <= width:
                line = f"{line} {word}".lstrip()
                continue
            if line:
                lines.append(line)
            while length(word) > width and len(word) > 1:
                cut = next(n for n in range(len(word), 0, -1) if n == 1 or length(word[:n]) <= width)
                lines.append(word[:cut])
                word = word[cut:]
            line = word
        if line:
            lines.append(line)
    return lines


def legible(text: str, font: str | Path | None = None) -> str:
    """Text with every character that the font lacks written by others, or as "?" at the worst."""
    return "".join(char if _drawn(char, font) else _plain(char) for char in text)


def _plain(char: str) -> str:
    if char in PLAIN:
        return PLAIN[char]
    if unicodedata.combining(char) or not char.isprintable():
        return ""
    return unicodedata.normalize("NFKD", char).encode("ascii", "ignore").decode() or "?"


@cache
def _drawn(char: str, path: str | Path | None) -> bool:
    font = _font(path, 24)
    return char.isspace() or bytes(font.getmask(char)) != bytes(font.getmask(MISSING))


@cache
def _font(path: str | Path | None, size: int) -> "ImageFont.FreeTypeFont":
    from PIL import ImageFont

    try:
        font = ImageFont.load_default(size) if path is None else ImageFont.truetype(path, size)
    except OSError as error:
        raise OptionError(f"font={str(path)!r} is no font file that can be read: {error}.") from None
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise OptionError("This Pillow was built without FreeType, which draws the text: install Pillow's own wheel.")
    return font
