"""Draw a ball, a cone and a crate, anti-aliased and with an exact mask.

Each form is a formula: for points (u to the right, v down, the thing within about -1..1) it says whether
the thing covers them, whether they have its second colour, and how much light falls on them (0 is black,
1 the full colour). Colour, size and rotation are drawn from the same distributions for all three, so
only the form tells them apart.
"""

import colorsys
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Form = Callable[[FloatArray, FloatArray], tuple[BoolArray, BoolArray, FloatArray]]

# Samples per pixel and axis: 4 gives 17 steps of coverage, enough for edges that look smooth.
SAMPLES = 4


def _ball(u: FloatArray, v: FloatArray) -> tuple[BoolArray, BoolArray, FloatArray]:
    """A beach ball of radius 1: six panels of alternating colour around a tilted axis."""
    squared = u * u + v * v
    z = np.sqrt(np.maximum(1 - squared, 0))
    # Three planes through one axis, 60 degrees apart, cut the ball into its panels.
    x, y = 0.8 * u - 0.6 * z, v
    panels = x * (0.5 * x + 0.866 * y) * (0.5 * x - 0.866 * y) > 0
    light = 0.5 + 0.6 * np.maximum(0.66 * z - 0.45 * u - 0.6 * v, 0)
    return squared < 1, panels, light


def _cone(u: FloatArray, v: FloatArray) -> tuple[BoolArray, BoolArray, FloatArray]:
    """A traffic cone, 2 high: a striped body, seen a little from above, on a round foot."""
    half_width = np.maximum(0.1 + 0.29 * (v + 1), 0.01)
    across = np.clip(u / half_width, -1, 1)
    # Rings on a round body bend down towards the viewer.
    bent = v - 0.16 * np.sqrt(1 - across * across)
    body = (np.abs(u) < half_width) & (v > -1) & (bent < 0.6)
    foot = (u / 0.85) ** 2 + ((v - 0.68) / 0.3) ** 2 < 1
    stripes = body & (np.abs(bent + 0.72) < 0.16) | body & (np.abs(bent) < 0.2)
    light = np.where(body, 1.0 - 0.45 * np.abs(across + 0.35), 0.62)
    return body | foot, stripes, light


def _crate(u: FloatArray, v: FloatArray) -> tuple[BoolArray, BoolArray, FloatArray]:
    """A slatted crate in a frame, 2 wide and high: its front, and its top and right side going back."""
    top, side = (-0.55 - v) / 0.45, (u - 0.55) / 0.45
    depth = np.maximum(np.maximum(top, side), 0)
    # Where a point of the top or side would be if it were pulled forward to the edge of the front.
    x, y = (u - 0.45 * depth + 0.225) / 0.775, (v + 0.45 * depth - 0.225) / 0.775
    inside = (np.abs(x) < 1.001) & (np.abs(y) < 1.001) & (depth < 1)

    is_front, is_top = depth == 0, top > side
    across, along = (
        np.where(is_front | is_top, x, 2 * depth - 1),
        np.where(is_front | ~is_top, y, 2 * depth - 1),
    )
    edge, bar = np.maximum(np.abs(across), np.abs(along)), np.where(is_front, np.abs(x + y), 2)
    frame = (edge > 0.68) | (bar < 0.26)
    gap = ~frame & (np.abs(along * 1.5 % 1 - 0.5) > 0.36)
    light = np.where(is_front, 0.92, np.where(is_top, 1.1, 0.62)) * np.where(gap, 0.45, 1)
    return inside, ~frame, light


# What each thing is called, its form, and the area that the form covers in its own coordinates.
THINGS: dict[str, tuple[Form, float]] = {
    "ball": (_ball, math.pi),
    "cone": (_cone, 1.62),
    "crate": (_crate, 3.8),
}


def draw(name: str, area: float, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw one thing in random colours at a random angle.

    Args:
        name: A key of `THINGS`.
        area: Its area in pixels.
        rng: Where colours and angle come from.

    Returns:
        The number of covered samples per pixel, H×W in 0..`SAMPLES`², and the sum of the colours of
        these samples, H×W×3, each colour in 0..255. H×W is the smallest frame that holds the thing.
    """
    form, unit_area = THINGS[name]
    angle = math.radians(rng.uniform(-30, 30))
    main = np.array(colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.65, 0.95), rng.uniform(0.65, 1.0)))
    second = main + rng.uniform(0.65, 0.9) * (np.array([1.0, 0.97, 0.9]) - main)

    cos, sin = math.cos(angle), math.sin(angle)
    scale = math.sqrt(area / unit_area)
    side = 2 * math.ceil(1.5 * scale)
    steps = ((np.arange(side * SAMPLES) + 0.5) / SAMPLES - side / 2) / scale
    right, down = steps[None, :], steps[:, None]
    inside, is_second, light = form(cos * right + sin * down, cos * down - sin * right)

    paint = np.where(is_second[..., None], second, main) * light[..., None]
    colours = np.round(255 * np.clip(paint, 0, 1)).astype(np.int64) * inside[..., None]
    # Whole numbers add up to the same sum in any order.
    blocks = (side, SAMPLES, side, SAMPLES)
    coverage = inside.reshape(blocks).sum(axis=(1, 3))
    colour_sum = colours.reshape(*blocks, 3).sum(axis=(1, 3))
    rows, columns = np.flatnonzero(coverage.any(1)), np.flatnonzero(coverage.any(0))
    frame = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return coverage[frame], colour_sum[frame]
