"""Mean and spread of every channel, for all images or for groups of them, from features that come in chunks."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Self, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

FLAT: Final = 1e-6
"""A channel whose deviation is less than this share of its mean is the same for every image but for rounding."""


@final
@dataclass(frozen=True, eq=False)
class Moments:
    """Count, mean and variance of each channel in each group of images.

    Attributes:
        counts: int64, shape (groups,).
        means: float64, shape (groups, channels); NaN in a group without images.
        variances: unbiased, shape (groups, channels); NaN in a group with fewer than two images, and 0 where a channel
            is the same for every image of all groups.
        low: the smallest feature of each channel in all groups, shape (channels,).
        high: the largest.
    """

    counts: NDArray[np.int64]
    means: Floats
    variances: Floats
    low: Floats
    high: Floats

    @classmethod
    def of(cls, chunks: Iterable[tuple[NDArray[np.int64], NDArray[Any]]], groups: NDArray[Any], count: int) -> Self:
        """Go through the features once, holding one chunk at a time, with sums in float64.

        Args:
            chunks: rows, and their features, shape (rows, channels).
            groups: the group of each row, from 0; -1 for one that is in none.
            count: how many groups.
        """
        counts = np.bincount(groups[groups >= 0], minlength=count).astype(np.int64)
        sums: Any = 0.0
        squares: Any = 0.0
        shift: Any = None
        low: Any = np.inf
        high: Any = -np.inf
        for rows, features in chunks:
            mine = groups[rows] >= 0
            values = features[mine].astype(np.float64)
            if not len(values):
                continue
            # Near the mean, so that the difference of squares and sums keeps its digits.
            shift = values.mean(axis=0) if shift is None else shift
            member = (groups[rows][mine] == np.arange(count)[:, None]).astype(np.float64)
            sums = sums + member @ (values - shift)
            squares = squares + member @ (values - shift) ** 2
            low, high = np.minimum(low, values.min(axis=0)), np.maximum(high, values.max(axis=0))
        n = counts[:, None].astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            variances = np.maximum(squares - sums**2 / n, 0) / np.where(n > 1, n - 1, np.nan)
            means = shift + sums / n
        return cls(counts, means, np.where((low == high) & ~np.isnan(variances), 0, variances), low, high)

    def above(self, values: Floats, group: int = 0) -> Floats:
        """How many of a group's standard deviations values lie above its mean.

        Args:
            values: shape (channels,).
            group: its number.

        Returns:
            Shape (channels,); 0 for a channel that is the same for every image, or where there are fewer than two.
        """
        rise, spread = values - self.means[group], np.sqrt(self.variances[group])
        return np.divide(rise, spread, out=np.zeros_like(rise), where=spread > FLAT * np.abs(self.means[group]))
