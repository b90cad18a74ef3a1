"""How the pages' pictures are laid out: rows of panels, each map with its own scale in numbers, 640 pixels wide."""

from collections.abc import Callable, Sequence
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

import agnoscope as ag
from agnoscope.archive import write_whole
from agnoscope.demo import CLASSES, load, make_scenes, scene
from agnoscope.metrics import mass_accuracy
from agnoscope.render.blend import fitted, overlaid
from agnoscope.render.colour import Scale, table
from agnoscope.render.panels import GAP, MARGIN, Bar, Panel, compose
from agnoscope.sources import installed_backends

Picture: TypeAlias = NDArray[np.uint8]
Shot: TypeAlias = tuple[str, ag.Explanation | Picture, str]
"""A panel: its title, what it shows, and a line below the title."""
Rows: TypeAlias = Sequence[Sequence[Shot]]
Drawn: TypeAlias = dict[str, Callable[[], Rows]]
"""Name of a method to what draws its picture."""

HERE: Final = Path(__file__).parents[1] / "_static" / "methods"
WIDTH: Final = 640
QUALITIES: Final = (80, 70, 60, 50, 40, 30, 20)
MOST: Final = 30_000
"""Bytes of a picture; the best quality is taken that stays below."""
PERCENTILE: Final = 99.5
"""Of the absolute values, where each map's own scale ends."""

CONE, CRATE, BALL, TWIN = (scene(number) for number in (6, 5, 1, 27))
"""A cone on a wall, a crate on grass, a ball on gravel, and another cone on a wall."""
BESIDE: Final = make_scenes(55, 1)[54]
"""A crate on a wall, in a corner that the cone leaves free."""


def save(name: str, rows: Rows) -> Path:
    """Lay panels out as one picture of the pages' width, and write it."""
    count = max(map(len, rows))
    side = (WIDTH - 2 * MARGIN - (count - 1) * GAP) // count
    figure = compose([[panel(side, *shot) for shot in row] for row in rows])
    written = (encoded(figure, quality) for quality in QUALITIES)
    content = next(content for content in written if len(content) < MOST)
    return write_whole(HERE / f"{name}.webp", content)


def encoded(figure: Any, quality: int) -> bytes:
    """A picture as WebP."""
    content = BytesIO()
    figure.save(content, "WEBP", quality=quality, method=6)
    return content.getvalue()


def panel(side: int, title: str, what: "ag.Explanation | Picture", words: str) -> Panel:
    """A picture as it is, or an explanation's map over its photo with the colours' numbers below."""
    if not isinstance(what, ag.Explanation):
        return Panel(fitted(what, side), title, words)
    values = what.maps()[0]
    scale = Scale.fit([values], PERCENTILE)
    colours = table(None, diverging=scale.diverging)
    return Panel(overlaid(fitted(what.photos[0], side), values, scale, colours), title, words, Bar(colours, scale))


def of(drawn: Drawn, name: str) -> Callable[[Callable[[], Rows]], Callable[[], Rows]]:
    """Makes a function the one that draws this method."""

    def note(draw: Callable[[], Rows]) -> Callable[[], Rows]:
        drawn[name] = draw
        return draw

    return note


@cache
def network(name: str) -> ag.Model:
    """A bundled network in the first framework that is installed."""
    return load(name, installed_backends()[0])


def together(ground: Any, *others: Any) -> Picture:
    """A scene with the things of others in it, where they stood."""
    image: Picture = ground.image.copy()
    for other in others:
        image[other.mask] = other.image[other.mask]
    return image


def explained(name: str, method: Any, image: Any = CONE, target: Any = None) -> ag.Explanation:
    """Why a bundled network answers as it does for a scene, or a picture."""
    made: ag.Explanation = method(network(name), getattr(image, "image", image), target)
    return made


def on_thing(explanation: ag.Explanation, one: Any = CONE) -> str:
    """How much of what is drawn as speaking for the answer lies on the thing."""
    share = mass_accuracy(np.maximum(explanation.maps(), 0), one.mask[None])[0]
    return f"{share:.0%} on the {CLASSES[one.label]}"


def answer(explanation: ag.Explanation) -> str:
    """What the network answers, for a title."""
    return f"“{explanation.provenance.answers[0][0][0].partition(' [')[0]}”"
