"""Whether maps lie on the object of their images, or off it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.arrays import resize

SURE: Final = 0.95
"""How sure it must be that maps avoid the object."""


@final
@dataclass(frozen=True)
class Evidence:
    """How far maps lie off the objects.

    Attributes:
        images: how many were looked at; the maps of some may be nowhere positive, which tells nothing.
        off: share of all that is positive of the maps that lies off the object; NaN where nothing is.
        area: share of these images that is not the object: what maps without aim would have off it.
        against: images whose map has more off the object than one without aim.
        toward: images whose map has less.
        sure: 1 less the probability that so lopsided a count arises by chance (two-sided sign test) in any of the
            channels that were looked at: the test's probability times their number (Bonferroni).
    """

    images: int
    off: float
    area: float
    against: int
    toward: int
    sure: float

    @property
    def spurious(self) -> bool:
        """Whether most maps avoid the object, and that is at least 95 % sure."""
        return self.against > self.toward and self.sure >= SURE

    @classmethod
    def of(cls, maps: NDArray[np.float64], masks: Sequence[NDArray[np.bool_]], tests: int = 1) -> Self | None:
        """Look at maps.

        Args:
            maps: shape (images, rows, columns), stretched over the images.
            masks: of the objects, one for each, all of one shape.
            tests: how many channels are looked at.

        Returns:
            None where there are no images.
        """
        from scipy.stats import binomtest

        if not len(masks):
            return None
        covers = np.stack(masks)
        positive = resize(np, np.maximum(maps, 0), (covers.shape[1], covers.shape[2]))
        outside, total = (positive * ~covers).sum(axis=(1, 2)), positive.sum(axis=(1, 2))
        areas = (~covers).mean(axis=(1, 2))
        lit = total > 0
        shares = outside[lit] / total[lit]
        against, toward = int((shares > areas[lit]).sum()), int((shares < areas[lit]).sum())
        chance = float(binomtest(against, against + toward).pvalue) if against + toward else 1.0
        off = float(outside.sum() / total.sum()) if lit.any() else np.nan
        area = float(areas[lit].mean()) if lit.any() else float(areas.mean())
        return cls(len(masks), off, area, against, toward, max(0.0, 1 - tests * chance))
