"""Made images in a grid: what each was made for above it, what came of it below."""

from collections.abc import Sequence
from math import ceil, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import OptionError
from agnoscope.explainers.options import whole
from agnoscope.render.panels import Panel, compose, readable
from agnoscope.synthesis import Synthesis

if TYPE_CHECKING:
    from PIL import Image

PAPER = 255.0
"""What shows through where a picture is transparent."""


def gallery(synthesis: Synthesis, *, columns: int | None = None, titles: bool | Sequence[str] = True) -> "Image.Image":
    """All images of a synthesis in a grid; see `Synthesis.draw`."""
    count = len(synthesis)
    width = ceil(sqrt(count)) if columns is None else whole("columns", columns)
    if not isinstance(titles, bool) and len(titles) != count:
        raise OptionError(f"{len(titles)} titles were given for {count} images.")
    panels = [_panel(synthesis, i, titles) for i in range(count)]
    return compose([panels[start : start + width] for start in range(0, count, width)])


def _panel(synthesis: Synthesis, i: int, titles: bool | Sequence[str]) -> Panel:
    picture: NDArray[Any] = synthesis.pictures()[i]
    if synthesis.transparency is not None:
        opaque = synthesis.transparency[i][..., None]
        picture = (picture * opaque + PAPER * (1 - opaque)).round().astype(np.uint8)
    if isinstance(titles, bool):
        making = synthesis.making
        answer = f", {making.answers[i][0][0]} {making.answers[i][0][1]:.1%}" if making.answers else ""
        told = (making.targets[i], f"{readable(making.scores[i])}{answer}") if titles else ("", "")
    else:
        told = titles[i], ""
    return Panel(picture, *told)
