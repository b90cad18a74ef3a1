"""Does an explanation depend on what the network learned? Maps before against maps after its weights are randomised.

The networks are made elsewhere; here are arrays only. A method whose maps stay alike shows the image, not the network.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import OptionError
from agnoscope.metrics.checks import checked_maps, ratio
from agnoscope.metrics.complexity import histogram_entropy
from agnoscope.metrics.similarity import spearman, ssim


@final
@dataclass(frozen=True, eq=False)
class Similarity:
    """How alike the maps of two networks are; shape (images,) each, NaN where a map is constant.

    Attributes:
        spearman: rank correlation of the signed maps; near 0 is good.
        absolute_spearman: rank correlation of the absolute maps; near 0 is good.
        ssim: structural similarity of the absolute maps; low is good.
        entropy_rise: of the histogram's entropy, as a share of the first map's; above 0 is good.
    """

    spearman: NDArray[np.float64]
    absolute_spearman: NDArray[np.float64]
    ssim: NDArray[np.float64]
    entropy_rise: NDArray[np.float64]


def parameter_randomisation(
    maps: NDArray[Any], randomised: Iterable[tuple[str, NDArray[Any]]]
) -> dict[str, Similarity]:
    """Model parameter randomisation test (Adebayo et al., NeurIPS 2018).

    In the paper's cascade the output layer is randomised first, then one more layer at each step. The last step's
    `entropy_rise` is efficient MPRT (Hedström et al., xAI 2024), which needs no other step.

    Args:
        maps: shape (images, height, width), at least 7 × 7 pixels, of the trained network.
        randomised: for every step its name, such as the layer reached, and the maps of the same images and targets.
            One step at a time is looked at, so that a generator may randomise on the way.

    Returns:
        For every step, in order, how alike its maps are to the trained network's.

    Raises:
        OptionError: the shapes differ, maps are not finite, there is no step, or two have one name.
    """
    found: dict[str, Similarity] = {}
    for name, others in randomised:
        if name in found:
            raise OptionError(f"Two steps have the name {name!r}: name each step once.")
        found[name] = _similarity(maps, others)
    if not found:
        raise OptionError("There is nothing to compare with: give the maps of one randomised network at least.")
    return found


def label_randomisation(maps: NDArray[Any], others: NDArray[Any]) -> Similarity:
    """Data randomisation test (Adebayo et al., NeurIPS 2018).

    Args:
        maps: shape (images, height, width), at least 7 × 7 pixels, of the network trained on the true labels.
        others: the same shape, of one trained on random labels until it knows them.

    Returns:
        How alike they are.

    Raises:
        OptionError: the shapes differ, or maps are not finite.
    """
    return _similarity(maps, others)


def _similarity(maps: NDArray[Any], others: NDArray[Any]) -> Similarity:
    first, second = checked_maps(maps), checked_maps(others, "randomised maps")
    before = histogram_entropy(first)
    return Similarity(
        spearman=spearman(first, second),
        absolute_spearman=spearman(np.abs(first), np.abs(second)),
        ssim=ssim(np.abs(first), np.abs(second)),
        entropy_rise=ratio(histogram_entropy(second) - before, before),
    )
