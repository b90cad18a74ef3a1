"""Made images in a grid: what each was made for above it, what came of it below.

Images that were changed rather than made stand between their before and their change, magnified until it shows.
"""

from collections.abc import Sequence
from math import ceil, sqrt
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import OptionError
from agnoscope.explainers.options import whole
from agnoscope.render.blend import fitted
from agnoscope.render.panels import Panel, compose, readable
from agnoscope.synthesis import Synthesis, as_picture

if TYPE_CHECKING:
    from PIL import Image

PAPER = 255.0
"""What shows through where a picture is transparent."""

FACTORS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
"""By which changes are magnified."""

ROW: Final = 8
"""So many images of one photo stand beside it in a row."""

FIT: Final = 99.0
"""The percentile of the sizes of a change's numbers that is to be shown in full."""


def gallery(synthesis: Synthesis, *, columns: int | None = None, titles: bool | Sequence[str] = True) -> "Image.Image":
    """All images of a synthesis in a grid; see `Synthesis.draw`."""
    count = len(synthesis)
    if not isinstance(titles, bool) and len(titles) != count:
        raise OptionError(f"{len(titles)} titles were given for {count} images.")
    changed = "change" in synthesis.extras
    cells = [_changed(synthesis, i, titles) if changed else [_panel(synthesis, i, titles)] for i in range(count)]
    before = [] if changed else _photos(synthesis, titles)
    if paired := len(before) == count > 1:  # every image stands beside its own photo
        cells, before = [[photo, *cell] for photo, cell in zip(before, cells, strict=True)], []
    by_default = min(count, ROW) if before else 1 if changed else ceil(sqrt(count / (2 if paired else 1)))
    width = by_default if columns is None else whole("columns", columns)
    rows = [cells[start : start + width] for start in range(0, count, width)]
    panels = [[panel for cell in row for panel in cell] for row in rows]
    return compose([before + panels[0], *panels[1:]])


def _photos(synthesis: Synthesis, titles: bool | Sequence[str]) -> list[Panel]:
    """The photos that have captions, as high or wide as the images."""
    side = max(synthesis.images.shape[1:3])
    told = synthesis.captions if titles is not False else ("",) * len(synthesis.captions)
    return [Panel(fitted(photo, side), words) for photo, words in zip(synthesis.photos, told, strict=False)]


def _panel(synthesis: Synthesis, i: int, titles: bool | Sequence[str]) -> Panel:
    picture: NDArray[Any] = synthesis.pictures()[i]
    if synthesis.transparency is not None:
        opaque = synthesis.transparency[i][..., None]
        picture = (picture * opaque + PAPER * (1 - opaque)).round().astype(np.uint8)
    if isinstance(titles, bool):
        return Panel(picture, *(_words(synthesis, i) if titles else ("", "")))
    return Panel(picture, titles[i])


def _words(synthesis: Synthesis, i: int) -> tuple[str, str]:
    """What an image was made for, and what came of it: its distance where that is what counts, else its score."""
    target, score = synthesis.making.targets[i], synthesis.making.scores[i]
    number = readable(score) if np.isfinite(score) else ""  # a picture of one pass has none
    if "distance" in synthesis.extras and "change" not in synthesis.extras:
        number = f"distance {readable(float(synthesis.extras['distance'][i]))}"
    return target, f"{number}{_answer(synthesis, i)}"


def _answer(synthesis: Synthesis, i: int) -> str:
    """What the network answers for an image, the class by name where it is not the one that was driven up."""
    if not synthesis.making.answers:
        return ""
    label, chance = synthesis.making.answers[i][0]
    return f", {chance:.1%}" if label == synthesis.making.targets[i] else f", {label} {chance:.1%}"


def _changed(synthesis: Synthesis, i: int, titles: bool | Sequence[str]) -> list[Panel]:
    """Before, the change on gray, and after; the change of each image with a magnification of its own."""
    (low, high), change = synthesis.bounds, synthesis.extras["change"][i]
    before = as_picture(synthesis.images[i] - change, synthesis.bounds)
    factor = _factor(change / (high - low))
    shown = as_picture((low + high) / 2 + factor * change, synthesis.bounds)
    pictures = before, shown, as_picture(synthesis.images[i], synthesis.bounds)
    if titles is False:
        return [Panel(picture) for picture in pictures]
    told = [("before", ""), (f"change × {factor}", ""), _words(synthesis, i)]
    if "confidence" in synthesis.extras:
        told = _told(synthesis, i, factor)
    if not isinstance(titles, bool):
        told[-1] = (titles[i], told[-1][1])
    return [Panel(picture, *words) for picture, words in zip(pictures, told, strict=True)]


def _told(synthesis: Synthesis, i: int, factor: int) -> list[tuple[str, str]]:
    """Titles and lines below them: what the network answered before, how large the change is, what it answers now."""
    found = {name: extra[i] for name, extra in synthesis.extras.items()}
    target = synthesis.making.targets[i]
    return [
        (str(found["answer before"]), f"{target}: {_percent(found['confidence before'])}"),
        (
            f"change × {factor}",
            f"largest {_percent(found['largest change'])}, mean {_percent(found['mean change'])} of the span",
        ),
        (str(found["answer"]), f"{target}: {_percent(found['confidence'])}"),
    ]


def _percent(share: float) -> str:
    return f"{readable(100 * share)} %"


def _factor(change: NDArray[Any]) -> int:
    """The largest round number by which a change, as shares of the span, still fits around gray."""
    size = np.percentile(np.abs(change), FIT)
    return max(factor for factor in FACTORS if factor == 1 or factor * size <= 0.5)
