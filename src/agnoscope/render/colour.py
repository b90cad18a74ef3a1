"""From values to colours: a scale says where zero and the largest value lie, a table says their colours.

Maps that are nowhere negative run from 0 to their largest value; signed maps run equally far to both sides, so
that 0 always has the neutral colour. Several maps on one scale can be compared.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from numbers import Real
from typing import Any, Final, Self, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import OptionError, nearest

# Perceptually uniform, and its bright end stands out from photos, which are mostly of medium brightness.
SEQUENTIAL: Final = "bids:inferno"
# Red speaks for the target, blue against it; the middle is near white.
DIVERGING: Final = "colorbrewer:RdBu_r"
# An odd number, so that the middle of a diverging table is a colour of its own: that of 0.
STEPS: Final = 257


@final
@dataclass(frozen=True)
class Scale:
    """The range of values that the colours span.

    Attributes:
        low: value of the first colour: 0, or -high for signed values.
        high: value of the last colour; 0 where there is nothing but zeros.
        percentile: of the absolute values; those above it share the last colours. None where nothing is clipped.
    """

    low: float = 0.0
    high: float = 0.0
    percentile: float | None = None

    @classmethod
    def fit(cls, maps: NDArray[Any] | Iterable[NDArray[Any]], percentile: float | None = None) -> Self:
        """The scale of one map or of several.

        Args:
            maps: shape (images, height, width), or several arrays; what is not finite is left out.
            percentile: above 0 and up to 100; the scale ends at the largest percentile that a map has of its
                absolute values, unless that is 0. At 99 it clips nothing of maps with fewer than 100 values.

        Raises:
            OptionError: the percentile lies outside.
        """
        if percentile is not None and not (isinstance(percentile, Real) and 0 < percentile <= 100):
            raise OptionError(f"percentile={percentile!r} must be a number above 0 and at most 100.")
        finite = [m[np.isfinite(m)] for m in (np.asarray(m, dtype=np.float64) for m in maps)]
        high = max((float(np.abs(m).max(initial=0.0)) for m in finite), default=0.0)
        signed = any(m.min(initial=0.0) < 0 for m in finite)
        # "higher" takes one of the values and does not mix two
        ends = [float(np.percentile(np.abs(m), percentile or 100, method="higher")) for m in finite if m.size]
        end = max(ends, default=0.0)
        # Where nearly everything is zero, so is the percentile, and a clip there would hide what was found.
        if not 0 < end < high:
            end, percentile = high, None
        return cls(-end if signed else 0.0, end, percentile)

    @property
    def diverging(self) -> bool:
        """Whether there are values on both sides of 0."""
        return self.low < 0

    def ticks(self) -> tuple[float, ...]:
        """The values to write at a colour bar: both ends and the middle, or 0 alone."""
        return (self.low, (self.low + self.high) / 2, self.high) if self.high else (0.0,)

    def position(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Where values lie between low (0) and high (1), cut off at both; what is not finite lies where 0 does."""
        share = self.share(values)
        return (share + 1) / 2 if self.diverging else np.maximum(share, 0)

    def share(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Values in units of high, from -1 to 1, cut off at both; what is not finite is 0."""
        finite = np.where(np.isfinite(values), values, 0).astype(np.float64)
        if self.high == 0:
            return np.zeros_like(finite)
        return np.clip(finite, -self.high, self.high) / self.high


def sound(values: NDArray[Any]) -> NDArray[np.float64]:
    """A map as it can be drawn: finite, and zero if it is the same everywhere, for then it says nothing of where.

    Args:
        values: one map, shape (height, width); left as it is.
    """
    finite = np.where(np.isfinite(values), values, 0).astype(np.float64)
    return finite if np.ptp(finite) > 0 else np.zeros_like(finite)


def table(name: str | None = None, *, diverging: bool = False, steps: int = STEPS) -> NDArray[np.uint8]:
    """The colours of a colour map, uint8, shape (steps, 3), red green blue.

    Args:
        name: as the package `cmap` has it, such as "viridis", "vik" or "colorbrewer:PiYG"; with "_r" at the end
            it runs backward. By default "inferno", or for a diverging scale red over white to blue.
        diverging: which default to take.
        steps: how many colours.

    Raises:
        OptionError: there is no such colour map.
    """
    return _table(name or (DIVERGING if diverging else SEQUENTIAL), steps)


@cache
def _table(name: str, steps: int) -> NDArray[np.uint8]:
    from cmap import Colormap

    catalog = Colormap.catalog()
    backward = "_r" if name.lower().endswith("_r") else ""
    try:
        # A short name may stand for several; its full name is asked for so that cmap does not warn of it.
        full = catalog.resolve(name[: len(name) - len(backward)])
    except KeyError:
        known = nearest(name.rpartition(":")[2], sorted(catalog.short_keys()))
        raise OptionError(f"There is no colour map {name!r}. Near it: {known}.") from None
    colours: NDArray[np.uint8] = np.rint(255 * Colormap(full + backward).lut(steps)[:, :3]).astype(np.uint8)
    colours.flags.writeable = False
    return colours


def paint(values: NDArray[Any], scale: Scale, colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Give every value its colour.

    Args:
        values: any shape.
        scale: what the first and the last colour stand for.
        colours: as `table` gives them.

    Returns:
        uint8, one axis more than `values`, of length 3.
    """
    entry = np.rint(scale.position(values) * (len(colours) - 1)).astype(np.intp)
    return np.asarray(colours[entry], dtype=np.uint8)
