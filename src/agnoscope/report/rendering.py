"""From a report to its page: every picture once, small, and every map as a transparent layer over its photo.

A photo is the background of its panels by a class of the page's style, so its bytes are there once however many maps
lie on it. A map is a picture whose colour says the value and whose opacity its size; the page's slider fades it in, and
at its end a ground of zero's colour covers the photo, so that the map stands alone.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agnoscope import __version__
from agnoscope.explanation import Explanation
from agnoscope.metrics.similarity import pearson
from agnoscope.render.blend import RISE, fitted, overlaid, resized
from agnoscope.render.colour import Scale, paint, table
from agnoscope.render.drawing import SIGNS, Drawing, drawings
from agnoscope.render.look import Look
from agnoscope.render.panels import readable
from agnoscope.report.contents import Panel, Report, Subject
from agnoscope.report.html import data_uri, environment, page
from agnoscope.report.judging import READINGS, Verdict

PHOTO: Final = 480
"""Longer side in pixels of a photo."""
FINENESS: Final = ((320, 255), (256, 127), (256, 31), (192, 63), (192, 31))
"""Longer side of a map in pixels, and steps of its colours, from fine to coarse; odd, so that one step is 0."""
BUDGET: Final = 30_000
"""Characters that a map may take; the finest one that keeps to it is chosen. Only grainy maps need the coarse ones."""
STOPS: Final = 25
"""Colours of which a bar's gradient is made."""
NOTEBOOK: Final = 240
"""Longer side in pixels of the pictures in a notebook."""
CHART: Final = (100, 32)
"""Width and height of a curve's drawing, in its own units."""
SIDES: Final = (
    ("upper left", "top", "upper right"),
    ("left", "centre", "right"),
    ("lower left", "bottom", "lower right"),
)


def rendered(report: Report) -> str:
    """The page of a report."""
    subjects = [_subject(entry, i) if isinstance(entry, Subject) else entry for i, entry in enumerate(report.subjects)]
    return page(
        "report/report.html",
        css=("report/base.css", "report/report.css"),
        js=("report/report.js",),
        style="\n".join(_styles(report)),
        title=report.title,
        network=report.network,
        subjects=subjects,
        checks={name: READINGS[name] for name in _checks(report)},
        version=__version__,
    )


def for_notebook(report: Report) -> str:
    """The same in short, without scripts and style sheets: a notebook shows it wherever it is opened."""
    shown = [(entry, _pictures(entry) if isinstance(entry, Subject) else ()) for entry in report.subjects]
    return environment().get_template("report/notebook.html").render(report=report, shown=shown)


def layer(values: NDArray[Any], scale: Scale, photo: NDArray[np.uint8]) -> str:
    """A map as a picture to lie on its photo, in as many steps of colour as keep it small, each of them exact.

    Args:
        values: shape (height, width).
        scale: of the values.
        photo: uint8, shape (height, width, 3), over which the map is stretched.

    Returns:
        A `data:` URI: a value has its colour, the more opaque the larger it is, and 0 is transparent.
    """
    for side, steps in FINENESS:
        uri = data_uri(stepped(values, scale, fitted(photo, side).shape[:2], steps), lossless=True, quality=0)
        if len(uri) <= BUDGET:
            break
    return uri


def stepped(values: NDArray[Any], scale: Scale, size: tuple[int, ...], steps: int) -> NDArray[np.uint8]:
    """A map in steps of colour and opacity, uint8, shape (height, width, 4).

    Args:
        values: shape (height, width).
        scale: of the values.
        size: height and width in pixels.
        steps: how many, an odd number.
    """
    position = scale.position(resized(values, (size[0], size[1])))
    return ramp(scale, steps)[np.rint(position * (steps - 1)).astype(np.intp)]


def ramp(scale: Scale, steps: int) -> NDArray[np.uint8]:
    """Colour and opacity of a scale's values from low to high, uint8, shape (steps, 4)."""
    values = np.linspace(scale.low, scale.high, steps)
    colours = paint(values, scale, table(None, diverging=scale.diverging))
    cover = np.rint(255 * np.abs(scale.share(values)) ** RISE)
    return np.column_stack([colours, cover]).astype(np.uint8)


def said(values: NDArray[Any]) -> str:
    """A map in words, for those who do not see it: where it is strongest, and on how much it lies.

    Args:
        values: shape (height, width), finite.
    """
    sizes = np.abs(values)
    if not sizes.any():
        return "zero everywhere"
    y, x = np.unravel_index(sizes.argmax(), sizes.shape)
    place = SIDES[3 * int(y) // sizes.shape[0]][3 * int(x) // sizes.shape[1]]
    ordered = np.sort(sizes, axis=None)[::-1].cumsum()
    half = (int(np.searchsorted(ordered, ordered[-1] / 2)) + 1) / sizes.size
    against = ", where it speaks against the target" if values[y, x] < 0 else ""
    area = f"{half:.0%}" if half >= 0.01 else "less than 1%"
    return f"strongest at the {place}{against}; half of its total lies on {area} of the picture"


def _subject(subject: Subject, number: int) -> dict[str, Any]:
    """What the template shows of an image."""
    panels = [_panel(panel, subject) if isinstance(panel, Panel) else panel for panel in subject.panels]
    made = [panel for panel in subject.panels if isinstance(panel, Panel)]
    return {
        "number": number,
        "subject": subject,
        "panels": panels,
        "alike": _alike(made),
        "layers": [(layer, _smaller(layer.picture)) for layer in subject.layers],
        "uri": lambda picture: data_uri(picture, quality=75),
    }


def _smaller(picture: NDArray[np.uint8]) -> str:
    """A drawing in whichever way takes less room: exact where it has few colours, else nearly so."""
    return min(data_uri(picture, lossless=True, quality=30), data_uri(picture, quality=50), key=len)


def _panel(panel: Panel, subject: Subject) -> dict[str, Any]:
    drawing = drawings([panel.explanation], Look(), overlaid)[0]
    scale, p = drawing.scales[0], panel.explanation.provenance
    clip = f", clipped at percentile {scale.percentile:g}" if scale.percentile is not None else ""
    return {
        "panel": panel,
        "target": drawing.target(0),
        "score": drawing.score(0),
        "picture": layer(drawing.maps[0], scale, subject.photo),
        "alt": f"Map by {panel.title} of {drawing.target(0)}: {said(drawing.maps[0])}.",
        "colours": "diverging" if scale.diverging else "sequential",
        "ticks": [readable(value) for value in scale.ticks()],
        "scale": f"{SIGNS[p.reduction]}{clip}",
        "notes": drawing.notes,
        "verdicts": [(verdict, _chart(verdict)) for verdict in panel.verdicts],
        "provenance": _facts(panel.explanation),
    }


def _facts(explanation: Explanation) -> Mapping[str, str]:
    """All of the provenance in words, and what the numbers are."""
    record = asdict(explanation.provenance)
    values, only = explanation.values, {"targets": "target", "scores": "score"}
    facts = {"values": f"{' × '.join(map(str, values.shape[1:]))}, {values.dtype}"}
    facts["from, to"] = f"{readable(float(values.min()))}, {readable(float(values.max()))}"
    for name, value in record.items():
        one = value[0] if name in only and value else value
        facts[only.get(name, name.replace("_", " "))] = _words(one)
    if explanation.provenance.answers:
        facts["answers"] = " · ".join(f"{name} {readable(score)}" for name, score in explanation.provenance.answers[0])
    for name, extra in explanation.extras.items():
        facts[name] = readable(float(extra[0])) if extra[0].size == 1 else f"{extra[0].shape} numbers"
    return {name: words for name, words in facts.items() if words}


def _words(value: Any) -> str:
    """Any part of a record in words; nothing for what is not there."""
    if value is None or value == () or value == {}:
        return ""
    if isinstance(value, Mapping):
        return "; ".join(f"{name.replace('_', ' ')}: {_words(one) or 'none'}" for name, one in value.items())
    if isinstance(value, tuple | list):
        return ", ".join(_words(one) for one in value)
    return readable(value) if isinstance(value, float) else str(value)


def _chart(verdict: Verdict) -> Mapping[str, str] | None:
    """A check's curve, and that of random order, as points of an SVG line."""
    if verdict.fractions is None or verdict.scores is None or verdict.random is None:
        return None
    both = np.concatenate([verdict.scores, verdict.random])
    low, high = min(0.0, float(both.min())), max(float(both.max()), 1e-12)
    lines = {}
    for name, scores in (("scores", verdict.scores), ("random", verdict.random)):
        x, y = verdict.fractions * CHART[0], CHART[1] * (1 - (scores - low) / (high - low))
        lines[name] = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return lines | {"high": readable(high)}


def _checks(report: Report) -> list[str]:
    """The checks that the report shows."""
    shown = [s for s in report.subjects if isinstance(s, Subject)]
    panels = [panel for subject in shown for panel in subject.panels if isinstance(panel, Panel)]
    return list(dict.fromkeys(verdict.check for panel in panels for verdict in panel.verdicts))


def _alike(panels: list[Panel]) -> list[tuple[str, list[str]]]:
    """Rank correlations of the maps, one row per method; nothing for fewer than two maps of one size."""
    from scipy.stats import rankdata

    maps = [panel.explanation.maps()[0] for panel in panels]
    if len(maps) < 2 or len({one.shape for one in maps}) > 1:
        return []
    ranks = rankdata(np.stack(maps).reshape(len(maps), -1), axis=1)
    rows = [pearson(np.broadcast_to(one, ranks.shape), ranks) for one in ranks]
    return [
        (panel.title, ["–" if np.isnan(value) else f"{value:.2f}" for value in row])
        for panel, row in zip(panels, rows, strict=True)
    ]


def _styles(report: Report) -> Iterator[str]:
    """The styles that only this page has: its photos, and the colours of the bars."""
    for name, scale in (("sequential", Scale(0, 1)), ("diverging", Scale(-1, 1))):
        stops = [f"rgb({r} {g} {b} / {cover / 255:.3f})" for r, g, b, cover in ramp(scale, STOPS).tolist()]
        red, green, blue = paint(np.zeros(1), scale, table(None, diverging=scale.diverging))[0].tolist()
        yield f".{name} .strip{{background:linear-gradient(to right,{','.join(stops)})}}"
        yield f".{name} .ground{{background:rgb({red} {green} {blue})}}"
    for number, subject in enumerate(report.subjects):
        if isinstance(subject, Subject):
            photo = fitted(subject.photo, PHOTO)
            height, width = photo.shape[:2]
            yield f".stage{number}{{aspect-ratio:{width}/{height};max-width:min(100%,{24 * width / height:.2f}rem)}}"
            yield f".photo{number}{{background-image:url({data_uri(photo, quality=80)})}}"


def _pictures(subject: Subject) -> list[tuple[str, str, str]]:
    """Title, alternative text and picture of the photo and of every map over it."""
    photo = fitted(subject.photo, NOTEBOOK)
    shown = [("photo", f"The photo {subject.name}.", data_uri(photo, quality=80))]
    for panel in subject.panels:
        if isinstance(panel, Panel):
            drawing: Drawing = drawings([panel.explanation], Look(), overlaid)[0]
            values, scale = drawing.maps[0], drawing.scales[0]
            picture = overlaid(photo, values, scale, table(None, diverging=scale.diverging))
            alt = f"Map by {panel.title} of {drawing.target(0)}: {said(values)}."
            shown.append((f"{panel.title}: {drawing.target(0)}", alt, data_uri(picture, quality=80)))
    return shown
