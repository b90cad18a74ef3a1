"""Several targets for feature visualisation: a layer's first channels, and the way from one target to another."""

from typing import Any

import numpy as np

from agnoscope.explainers.options import whole
from agnoscope.target import Target, as_target
from agnoscope.targets.units import Channel


def channels(layer: str, count: int, *, start: int = 0) -> list[Target]:
    """Channels of a layer one after the other, for a grid of their images made in one batch.

    One that is dead has its image stay noise, which a warning of the result says.

        ag.FeatureVisualization()(network, ag.channels("mixed4a", 64)).draw()

    Args:
        layer: the layer's name.
        count: how many.
        start: the first one, from 0.

    Raises:
        OptionError: the count is no whole number from 1 on, or the start none from 0 on.
    """
    first = whole("start", start, least=0)
    return [Channel(layer, channel) for channel in range(first, first + whole("count", count))]


def interpolated(one: Any, other: Any, count: int = 5) -> list[Target]:
    """Weighted sums of two targets in equal steps, for images that lead from the one to the other.

    The weights are those of Olah, Mordvintsev and Schubert (Distill 2017): from (1, 0) to (0, 1). Where one target's
    values are larger by far than the other's, scale it first: `interpolated(a, 0.1 * b)`.

    Args:
        one: the first image is of this alone: a class number or label, or a `Target`.
        other: the last one of this.
        count: how many images.

    Raises:
        OptionError: the count is no whole number from 2 on.
        TargetError: one of the two is no target.
    """
    first, last = as_target(one), as_target(other)
    shares = np.linspace(0, 1, whole("count", count, least=2)).tolist()
    return [(1 - share) * first + share * last for share in shares]
