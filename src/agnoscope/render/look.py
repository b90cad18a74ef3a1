"""The options that every renderer takes, checked in one place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Real
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeAlias, final

from agnoscope.errors import OptionError, nearest
from agnoscope.explanation import Reduction
from agnoscope.render.text import Face

ScaleMode: TypeAlias = Literal["shared", "own"]
SCALES: Final = ("shared", "own")


@final
@dataclass(frozen=True, kw_only=True)
class Look:
    """How figures look.

    Attributes:
        colours: a colour map of the package `cmap`, such as "viridis" or "colorbrewer:PiYG"; by default one for
            maps that are nowhere negative and one for signed maps.
        scale: "shared" draws all maps on one scale, so that they can be compared; "own" each on its own, which
            is then written at its own colour bar.
        percentile: of the absolute values, above 0 and up to 100, where the scale ends, which is then written at
            the colour bar; None ends it at the largest value.
        reduction: how maps are made of the values: "signed", "positive", "max-abs" or "centred"; by default as the
            method's paper does.
        photo: whether the photo is shown beside its map.
        columns: images in a row; by default as many as make the figure about square.
        title: above the figure; by default the method, "" for none.
        side: longer side of every picture, 16 to 2048, in units: pixels where `density` is 1.
        density: pixels per unit, 0.5 to 4; 2 is crisp in print and on fine screens.
        font: a TrueType or OpenType file for alphabets that Pillow's own font lacks.
    """

    colours: str | None = None
    scale: ScaleMode = "shared"
    percentile: float | None = 99
    reduction: Reduction | None = None
    photo: bool = True
    columns: int | None = None
    title: str | None = None
    side: int = 320
    density: float = 1
    font: str | Path | None = None

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise OptionError(f"scale={self.scale!r} is unknown: use 'shared' or 'own'.")
        for name, kind in {"colours": str, "title": str, "font": str | Path}.items():
            if not isinstance(getattr(self, name), kind | None):
                raise OptionError(f"{name}={getattr(self, name)!r} must be a text, or None for the default.")
        check_number("side", self.side, 16, 2048)
        check_number("density", self.density, 0.5, 4)
        if self.columns is not None and not (isinstance(self.columns, int) and self.columns >= 1):
            raise OptionError(f"columns={self.columns!r} must be a whole number from 1.")

    @classmethod
    def of(cls, options: Mapping[str, Any], *, also: Sequence[str] = (), but: Sequence[str] = ()) -> Self:
        """The look that a user asked for.

        Args:
            options: as they came; those left out have their defaults.
            also: options that the renderer takes besides, for the error message.
            but: options that mean nothing to it.

        Raises:
            OptionError: there is no such option, or not with this value.
        """
        known = [*also, *(f.name for f in fields(cls) if f.name not in but)]
        for name in options:
            if name not in known:
                raise OptionError(f"This renderer has no option {name!r}. Near it: {nearest(name, known)}.")
        return cls(**options)

    @property
    def face(self) -> Face:
        """Font and density."""
        return Face(self.density, self.font)

    @property
    def pixels(self) -> int:
        """Longer side of every picture in pixels."""
        return self.face.px(self.side)


def check_number(name: str, value: Any, low: float, high: float) -> None:
    """Refuse what is no number between two others, these included.

    Raises:
        OptionError: it lies outside, or is no number.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not low <= float(value) <= high:
        raise OptionError(f"{name}={value!r} must be a number from {low:g} to {high:g}.")
