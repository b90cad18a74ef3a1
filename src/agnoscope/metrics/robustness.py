"""Does an explanation stay when the image hardly moves?"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import OptionError
from agnoscope.metrics.checks import check_bounds, checked_images, checked_values, ratio

Explain: TypeAlias = Callable[[NDArray[Any]], NDArray[Any]]
"""From images (images, height, width, channels) to their values, with the images as leading axis.

The target must be the same in every call: leaving it to the network's first answer would mix the answer's changes
with the explanation's.
"""


def max_sensitivity(
    explain: Explain,
    images: NDArray[Any],
    values: NDArray[Any],
    *,
    radius: float = 0.02,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    samples: int = 10,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Largest change of the explanation within a small box around the image (Yeh et al., NeurIPS 2019).

    The change is the Euclidean norm of the difference, as a share of the explanation's own norm. Random samples find
    a lower bound of the true maximum. The same noise serves every image.

    Args:
        explain: what gave `values`.
        images: shape (images, height, width, channels), floats.
        values: shape (images, ...), the explanations of these images.
        radius: half the box's side, in the images' units.
        bounds: the lowest and the highest value of a pixel, to which samples are cut; None cuts nothing.
        samples: how many images of the box.
        seed: of the samples.

    Returns:
        Shape (images,), 0 for an explanation that does not move; NaN where the explanation is zero everywhere.

    Raises:
        OptionError: images, values or options do not fit, or `explain` gives another shape or NaN.
    """
    known = checked_values(values, "values")
    whole = checked_images(images, images)
    if len(known) != len(whole):
        raise OptionError(f"There are {len(known)} explanations and {len(whole)} images: give one for each.")
    if not radius >= 0 or samples < 1:
        raise OptionError(f"radius={radius} must be at least 0, and samples={samples} at least 1.")
    check_bounds(whole, bounds)
    rng = np.random.default_rng(seed)
    change = np.zeros(len(whole))
    for _ in range(samples):
        moved = whole + rng.uniform(-radius, radius, size=whole.shape[1:])
        found = checked_values(
            explain((moved if bounds is None else np.clip(moved, *bounds)).astype(whole.dtype)), "explained values"
        )
        if found.shape != known.shape:
            raise OptionError(f"explain gave the shape {found.shape}, and values have {known.shape}: explain alike.")
        change = np.maximum(change, _norm(found - known))
    return ratio(change, _norm(known))


def _norm(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.linalg.norm(values.reshape(len(values), -1), axis=1)
