"""The renderers: an explanation becomes a figure that says what was asked, and what its colours mean.

They differ in how one map and its photo become one picture; titles, scales, colour bars and notes are the same
for all. Each returns a `PIL.Image.Image` and leaves the explanation as it is.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from agnoscope.errors import OptionError
from agnoscope.explanation import Explanation
from agnoscope.render.blend import ALPHA, GRAY, booked, overlaid, resized
from agnoscope.render.colour import paint
from agnoscope.render.drawing import Drawing, Painter, drawings
from agnoscope.render.look import Look, check_number
from agnoscope.render.panels import Bar, Panel, compose

if TYPE_CHECKING:
    from PIL import Image


def overlay(
    explanation: Explanation,
    *,
    alpha: float = ALPHA,
    constant: bool = False,
    gray: float = GRAY,
    **options: Any,
) -> "Image.Image":
    """Draw every map over its photo, the photo beside it.

    Args:
        explanation: what to draw.
        alpha: how much the largest value covers of the photo, 0 (nothing) to 1 (all).
        constant: whether all values cover as much; otherwise the smaller, the less, and 0 nothing.
        gray: how much of its colour the photo below loses, 0 to 1.
        **options: those of `agnoscope.render.Look`: colours, scale, percentile, reduction, photo, columns, title,
            side, density, font.

    Raises:
        OptionError: an option is unknown, or has a value that it cannot have.
    """
    look = Look.of(options, also=("alpha", "constant", "gray"))
    return _figure(explanation, look, _overlaid(alpha, constant, gray))


def heatmap(explanation: Explanation, *, smooth: bool = False, **options: Any) -> "Image.Image":
    """Draw the maps alone, at the proportions of their photos.

    Args:
        explanation: what to draw.
        smooth: whether coarse maps are smoothed when enlarged; otherwise each value is a rectangle.
        **options: those of `agnoscope.render.Look`, as `overlay` has them; `photo` is False unless asked for.

    Raises:
        OptionError: an option is unknown, or has a value that it cannot have.
    """
    return _figure(
        explanation,
        Look.of({"photo": False, **options}, also=("smooth",)),
        lambda photo, values, scale, colours: paint(resized(values, photo.shape[:2], smooth=smooth), scale, colours),
    )


def keras_book(explanation: Explanation, **options: Any) -> "Image.Image":
    """Draw as F. Chollet's "Deep Learning with Python" does: photo + 0.4 × map in "jet", stretched to 0 … 255.

    Of signed maps it shows the part above zero, and the scale ends at the largest value.

    Args:
        explanation: what to draw.
        **options: those of `agnoscope.render.Look` but for `colours`, as `overlay` has them; `percentile` is None
            unless asked for.

    Raises:
        OptionError: an option is unknown, or has a value that it cannot have.
    """
    look = Look.of({"percentile": None, **options}, but=("colours",))
    if look.reduction is None and explanation.provenance.reduction == "signed":
        look = replace(look, reduction="positive")
    return _figure(explanation, look, lambda photo, values, scale, _: booked(photo, values, scale))


def compare(
    explanations: Sequence[Explanation],
    *,
    titles: Sequence[str] | None = None,
    alpha: float = ALPHA,
    constant: bool = False,
    gray: float = GRAY,
    **options: Any,
) -> "Image.Image":
    """Draw several explanations of the same images side by side: a row for each image, named at its left.

    With `scale="shared"` all explanations by one method share a scale, for only their values can be compared.

    Args:
        explanations: at least one, all of the same images.
        titles: of the columns, one for each explanation; by default its method, layer and backend.
        alpha: as `overlay` has it.
        constant: as `overlay` has it.
        gray: as `overlay` has it.
        **options: those of `agnoscope.render.Look` but for `columns`, as `overlay` has them; `title` is "" unless
            asked for.

    Raises:
        OptionError: the explanations are not of the same images, there are not as many titles, or an option is
            unknown or has a value that it cannot have.
    """
    look = Look.of({"title": "", **options}, also=("titles", "alpha", "constant", "gray"), but=("columns",))
    _check_same_images(explanations, titles)
    parts = drawings(explanations, look, _overlaid(alpha, constant, gray))
    common = look.scale == "shared" and len({part.kind for part in parts}) == 1
    last = len(explanations[0]) - 1
    rows = []
    for i in range(last + 1):
        row = [Panel(parts[0].photos[i], subtitle=parts[0].answer(i))] if look.photo else []
        for number, part in enumerate(parts):
            head = titles[number] if titles else part.kind[0]
            about = f"{part.about}\n" if i == 0 and not titles else ""
            bar = part.bar(i) if look.scale == "own" or (i == last and not common) else None
            words = f"{about}{part.target(i)} · {part.score(i)}"
            row.append(Panel(part.picture(i), head if i == 0 else "", words, bar))
        rows.append(row)
    return compose(
        rows,
        title=look.title or "",
        labels=explanations[0].names,
        bar=parts[0].bar(0, "one scale for all") if common else None,
        notes=list(dict.fromkeys(note for part in parts for note in part.notes)),
        face=look.face,
    )


def _figure(explanation: Explanation, look: Look, painter: Painter) -> "Image.Image":
    """One explanation: every map with its photo, in as many columns as asked for."""
    part = drawings([explanation], look, painter)[0]
    count = len(explanation)
    bars = [part.bar(i) if look.scale == "own" or count == 1 else None for i in range(count)]
    panels = [_panels(part, i, bar) for i, bar in enumerate(bars)]
    # A photo and its map are twice as wide as high, so that half as many make a square.
    columns = look.columns or math.ceil(math.sqrt(count / (2 if look.photo else 1)))
    return compose(
        [list(chain.from_iterable(panels[i : i + columns])) for i in range(0, count, columns)],
        title=part.kind[0] if look.title is None else look.title,
        subtitle=part.about,
        bar=None if any(bars) else part.bar(0, "one scale for all"),
        notes=part.notes,
        face=look.face,
    )


def _panels(part: Drawing, i: int, bar: Bar | None) -> list[Panel]:
    """An image's panels: its photo, if wanted, and its map."""
    name, picture, target, score = part.explanation.names[i], part.picture(i), part.target(i), part.score(i)
    if not part.look.photo:
        return [Panel(picture, target, f"{name} · {score}", bar)]
    return [Panel(part.photos[i], name, part.answer(i)), Panel(picture, target, score, bar)]


def _overlaid(alpha: float, constant: bool, gray: float) -> Painter:
    check_number("alpha", alpha, 0, 1)
    check_number("gray", gray, 0, 1)
    return partial(overlaid, alpha=alpha, constant=constant, gray=gray)


def _check_same_images(explanations: Sequence[Explanation], titles: Sequence[str] | None) -> None:
    if len({explanation.names for explanation in explanations}) > 1:
        raise OptionError(
            "Only explanations of the same images can be compared; these are of "
            + " and of ".join(", ".join(explanation.names) for explanation in explanations)
            + "."
        )
    if titles is not None and len(titles) != len(explanations):
        raise OptionError(f"{len(titles)} titles were given for {len(explanations)} explanations.")
