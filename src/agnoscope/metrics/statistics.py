"""One number for many images, with its interval: what a table of metrics shows."""

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import OptionError


@final
@dataclass(frozen=True)
class Summary:
    """The mean of a metric over images.

    Attributes:
        mean: over the images where the metric is defined; NaN where there are none.
        low: lower end of the interval.
        high: upper end of the interval.
        n: images that count.
        undefined: images that do not, since the metric is NaN there.
    """

    mean: float
    low: float
    high: float
    n: int
    undefined: int

    def __str__(self) -> str:
        beside = f", {self.undefined} undefined" if self.undefined else ""
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}] (n={self.n}{beside})"


def summary(values: NDArray[Any], confidence: float = 0.95, resamples: int = 2000, seed: int = 0) -> Summary:
    """The mean over the images and its bootstrap percentile interval (Efron and Tibshirani, 1993, chapter 13).

    Args:
        values: shape (images,), NaN where the metric is undefined.
        confidence: of the interval, between 0 and 1, both excluded.
        resamples: how many bootstrap samples.
        seed: of the samples.

    Raises:
        OptionError: the values are not one number per image, or infinite; or an option is out of range.
    """
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or np.isinf(found).any():
        raise OptionError(f"values of shape {found.shape} must be one finite number or NaN per image.")
    if not 0 < confidence < 1 or resamples < 1:
        raise OptionError(
            f"confidence={confidence} must lie between 0 and 1, and resamples={resamples} must be at least 1."
        )
    defined = found[~np.isnan(found)]
    n, undefined = len(defined), len(found) - len(defined)
    if not n:
        return Summary(np.nan, np.nan, np.nan, 0, undefined)
    rng = np.random.default_rng(seed)
    means = [defined[rng.integers(n, size=n)].mean() for _ in range(resamples)]
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Summary(float(defined.mean()), float(low), float(high), n, undefined)
