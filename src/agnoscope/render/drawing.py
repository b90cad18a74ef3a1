"""One explanation on its way into a figure: its pictures, its colour bars and its words."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import OptionError
from agnoscope.explanation import Explanation
from agnoscope.render.blend import fitted
from agnoscope.render.colour import STEPS, Scale, sound, table
from agnoscope.render.look import Look
from agnoscope.render.panels import Bar, readable

Painter: TypeAlias = Callable[[NDArray[np.uint8], NDArray[Any], Scale, NDArray[np.uint8]], NDArray[np.uint8]]
"""From a photo, a map, its scale and the colours to a picture of the photo's size."""

SIGNS: Final = {
    "signed": "signed",
    "positive": "positive part",
    "max-abs": "absolute value",
    "centred": "less its mean",
}
# The photo below the colours of a bar: as bright as photos are on average.
BELOW: Final = 128


@final
@dataclass(frozen=True, eq=False)
class Drawing:
    """One explanation, its maps as they can be drawn, and a scale for each.

    Attributes:
        explanation: which stays as it is.
        look: the options.
        painter: how a map and its photo become a picture.
        maps: float64, finite, one per image.
        scales: one per image, equal where they are shared.
    """

    explanation: Explanation
    look: Look
    painter: Painter
    maps: tuple[NDArray[np.float64], ...]
    scales: tuple[Scale, ...]

    @property
    def kind(self) -> tuple[str, str]:
        """What can be compared: the method, and how maps were made of its values."""
        p = self.explanation.provenance
        return p.method, self.look.reduction or p.reduction

    @property
    def about(self) -> str:
        """Layer and backend in words."""
        p = self.explanation.provenance
        chosen = " (automatic)" if "layer" in p.automatic else ""
        return _joined(f"layer {p.layer}{chosen}" if p.layer else "", p.backend)

    @property
    def notes(self) -> tuple[str, ...]:
        """What deserves a doubt, one sentence each."""
        raw = zip(self.explanation.names, _reduced(self.explanation, self.look), strict=True)
        return (*self.explanation.provenance.warnings, *(note for name, m in raw if (note := _note(name, m))))

    @cached_property
    def photos(self) -> tuple[NDArray[np.uint8], ...]:
        """The photos at the size at which they are shown."""
        return tuple(fitted(photo, self.look.pixels) for photo in self.explanation.photos)

    def picture(self, i: int) -> NDArray[np.uint8]:
        """The map as the painter paints it."""
        return self.painter(self.photos[i], self.maps[i], self.scales[i], self._colours(i))

    def bar(self, i: int, about: str = "") -> Bar:
        """The colour bar of an image: what the painter makes of all values of the scale, over plain gray.

        Args:
            i: which image.
            about: what else the label should say of the scale.
        """
        scale, (method, reduction) = self.scales[i], self.kind
        if self.look.scale == "own":
            about = f"own scale, max {readable(scale.high)}"
        ramp = np.linspace(scale.low, scale.high, STEPS)[None]
        strip = self.painter(np.full((1, STEPS, 3), BELOW, np.uint8), ramp, scale, self._colours(i))[0]
        clip = f"clipped at percentile {scale.percentile:g}" if scale.percentile is not None else ""
        return Bar(strip, scale, _joined(f"{method}, {SIGNS[reduction]}", about, clip))

    def target(self, i: int) -> str:
        """What was asked, such as "Egyptian cat [286]"."""
        return self.explanation.provenance.targets[i]

    def score(self, i: int) -> str:
        """The target's value, such as "score 12.3" or "probability 0.83"."""
        p = self.explanation.provenance
        return f"{'value' if p.space == 'mixed' else p.space} {readable(p.scores[i])}"

    def answer(self, i: int) -> str:
        """What the network answers first, if that is known."""
        answers = self.explanation.provenance.answers
        name, score = answers[i][0] if answers and answers[i] else ("", 0.0)
        return f"answer: {name} {readable(score)}" if name else ""

    def _colours(self, i: int) -> NDArray[np.uint8]:
        return table(self.look.colours, diverging=self.scales[i].diverging)


def drawings(explanations: Sequence[Explanation], look: Look, painter: Painter) -> list[Drawing]:
    """Prepare explanations for one figure; where scales are shared, by all explanations of one method.

    Raises:
        OptionError: an explanation has no images, or the reduction or the percentile is none.
    """
    if not explanations or not all(map(len, explanations)):
        raise OptionError("There is nothing to draw: an explanation has no images.")
    parts = [Drawing(e, look, painter, tuple(map(sound, _reduced(e, look))), ()) for e in explanations]
    if look.scale == "own":
        return [replace(p, scales=tuple(Scale.fit([m], look.percentile) for m in p.maps)) for p in parts]
    shared = {
        kind: Scale.fit([m for p in parts if p.kind == kind for m in p.maps], look.percentile)
        for kind in {part.kind for part in parts}
    }
    return [replace(part, scales=(shared[part.kind],) * len(part.maps)) for part in parts]


def _reduced(explanation: Explanation, look: Look) -> NDArray[Any]:
    with np.errstate(invalid="ignore"):  # values that are not finite are noted, not warned of
        return explanation.maps(look.reduction)


def _joined(*words: str) -> str:
    return " · ".join(filter(None, words))


def _note(name: str, raw: NDArray[Any]) -> str:
    missing = int(np.count_nonzero(~np.isfinite(raw)))
    if missing:
        return f"{name}: {missing} of {raw.size} values are not finite and are drawn as 0."
    if raw.flat[0] != 0 and np.ptp(raw) == 0:
        return f"{name}: the map is {readable(raw.flat[0])} everywhere and is drawn as 0."
    return ""
