"""How much of the image a unit of each layer sees: measured, not worked out from a network's code."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agnoscope.explainers.synthesis.sizes import size_of
from agnoscope.model import Model
from agnoscope.patches import Array

PROBES: Final = 8
"""Pixels that are changed to see how far that spreads; a diagonal of them meets every phase of a stride up to 8."""

FAINT: Final = 0.01
"""The share of a change, by its square, that is left out at the faint edge of a receptive field."""


def receptive_fields(model: Model) -> dict[str, float]:
    """How many pixels a unit of each layer with a map sees along an axis, the one on which it sees more.

    It is measured, once per network. In noise at the network's own size single pixels are changed, and the spread of
    the change in the map times the map's stride is the field. Its edge is left out where less than a hundredth of the
    change lies: in a network with global pooling or attention on the way every unit sees a trace of everything.

    Args:
        model: the network.

    Returns:
        Name to pixels, in the order of the layers.
    """
    size = size_of(model, None)
    key = ("receptive fields", size, model.binding)
    if key not in model.measured:
        names = tuple(layer.name for layer in model.layers(size).values() if layer.spatial and len(layer.shape) == 3)
        program = model.compile(_spread_program, names)
        spreads = [program(pair) for pair in _probed(model, size)]
        model.measured[key] = {name: _field([spread[name] for spread in spreads], size) for name in names}
    return dict(model.measured[key])


def _probed(model: Model, size: tuple[int, int]) -> Iterator[NDArray[Any]]:
    """Noise, and the same with one pixel changed, shape (2, *size, channels); the pixel is another one each time."""
    low, high = model.spec.bounds
    noise = np.random.default_rng(0).uniform(low, high, (*size, model.spec.depth)).astype(model.dtype)
    for k in range(PROBES):
        row, column = (min(max(side // 2 - PROBES // 2 + k, 0), side - 1) for side in size)
        pair = np.stack([noise, noise])
        pair[1, row, column] = np.where(noise[row, column] > (low + high) / 2, low, high)
        yield pair


def _spread_program(model: Model, names: tuple[str, ...], pair: Array) -> dict[str, Array]:
    """The squared change at each place of each map, shape (height, width)."""
    return {name: model.xp.sum(model.xp.square(m[1] - m[0]), axis=-1) for name, m in model.run(pair, names).items()}


def _field(spreads: Sequence[NDArray[Any]], size: tuple[int, int]) -> float:
    """Of one layer, the mean over the pixels that were changed; those that no unit sees do not count."""
    changes = [spread.astype(np.float64) for spread in spreads if spread.any()]
    widths = [[_width(c.sum(axis=1 - axis)) * size[axis] / c.shape[axis] for axis in (0, 1)] for c in changes]
    return float(np.mean(widths, axis=0).max()) if widths else 0.0


def _width(change: NDArray[np.float64]) -> int:
    """How many places along an axis hold the change but for its faint edges."""
    shares = np.concatenate([[0.0], change.cumsum() / change.sum()])
    return int(((shares[1:] > FAINT / 2) & (shares[:-1] < 1 - FAINT / 2)).sum())
