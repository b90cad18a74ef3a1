"""Does the score fall as the pixels that an explanation ranks highest are removed? No truth is needed.

Pixels are removed in the order of the map, the score is read on the way. What stands in their place matters as much
as the explanation: every curve depends on it, and ROAD is the answer to that. Tied pixels are ordered at random by
the seed, in the same order for every image, so that no corner of the image goes first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import OptionError
from agnoscope.metrics.checks import checked_images, checked_maps
from agnoscope.metrics.scores import Fill, Scores, filling, scored

STEPS: Final = 224
"""Points of a curve after its first one, at the most."""

DIRECT: Final = 1 / 6
DIAGONAL: Final = 1 / 12
"""Weights of a pixel's eight neighbours in ROAD's imputation; their sum is 1."""


@final
@dataclass(frozen=True, eq=False)
class Curve:
    """How the score changes as pixels are removed or brought in.

    Attributes:
        fractions: shape (points,), the share of the pixels changed, from 0 to 1.
        scores: shape (images, points).
        area: shape (images,), the area under each curve by trapezoids, in units of the score.
        random_area: shape (images,), the same for pixels in random order; None where it was not asked for.
    """

    fractions: NDArray[np.float64]
    scores: NDArray[np.float64]
    area: NDArray[np.float64]
    random_area: NDArray[np.float64] | None = None


@final
@dataclass(frozen=True, eq=False)
class Road:
    """Scores with the most and with the least relevant pixels removed.

    Attributes:
        fractions: shape (points,), the shares of the pixels removed.
        most_relevant_first: shape (images, points), the score without the highest pixels; low is good.
        least_relevant_first: shape (images, points), the score without the lowest pixels; high is good.
        combined: shape (images,), half their difference, averaged over the points; high is good.
    """

    fractions: NDArray[np.float64]
    most_relevant_first: NDArray[np.float64]
    least_relevant_first: NDArray[np.float64]
    combined: NDArray[np.float64]


def deletion(
    scores: Scores,
    images: NDArray[Any],
    maps: NDArray[Any],
    *,
    fill: Fill = 0.0,
    steps: int | None = None,
    reference: bool = False,
    batch_size: int = 32,
    seed: int = 0,
) -> Curve:
    """Remove the highest pixels first (RISE: Petsiuk, Das and Saenko, BMVC 2018). A small area is good.

    Args:
        scores: of perturbed images; the paper reads the class's probability.
        images: shape (images, height, width, channels), floats.
        maps: shape (images, height, width); only the order of the signed values counts.
        fill: what stands for a removed pixel: "mean" (each channel's mean over the image), "blur", one number or an
            array, in the images' units. The paper's code fills with zeros of images whose mean is 0.
        steps: points after the first one; by default 224, or the number of pixels if that is less.
        reference: whether to score pixels in random order, too, at twice the cost.
        batch_size: how many perturbed images to make and to score at once.
        seed: of the random order and of ties.

    Returns:
        The curve from the whole image to the fill.

    Raises:
        OptionError: images, maps or options do not fit.
        NonFiniteError: a score is NaN or infinite.
    """
    values = checked_maps(maps)
    whole = checked_images(images, values)
    return _curve(scores, whole, filling(whole, fill), values, steps, reference, batch_size, seed)


def insertion(
    scores: Scores,
    images: NDArray[Any],
    maps: NDArray[Any],
    *,
    fill: Fill = "blur",
    steps: int | None = None,
    reference: bool = False,
    batch_size: int = 32,
    seed: int = 0,
) -> Curve:
    """Bring in the highest pixels first (RISE: Petsiuk, Das and Saenko, BMVC 2018). A large area is good.

    Args:
        scores: as for `deletion`.
        images: as for `deletion`.
        maps: as for `deletion`.
        fill: what the curve starts from, as for `deletion`; by default the image under a Gaussian blur of 5 pixels,
            cut off at 5 pixels.
        steps: as for `deletion`.
        reference: as for `deletion`.
        batch_size: as for `deletion`.
        seed: as for `deletion`.

    Returns:
        The curve from the fill to the whole image.

    Raises:
        OptionError: images, maps or options do not fit.
        NonFiniteError: a score is NaN or infinite.
    """
    values = checked_maps(maps)
    whole = checked_images(images, values)
    return _curve(scores, filling(whole, fill), whole, values, steps, reference, batch_size, seed)


def road(
    scores: Scores,
    images: NDArray[Any],
    maps: NDArray[Any],
    *,
    fractions: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    noise: float = 0.01,
    batch_size: int = 32,
    seed: int = 0,
) -> Road:
    """Remove and debias: removed pixels are imputed from their neighbours (Rong et al., ICML 2022).

    A removed pixel is the weighted mean of its eight neighbours, 1/6 for the direct and 1/12 for the diagonal ones,
    in proportion at the border; all removed pixels are solved for together. So the shape of what was removed cannot
    give the class away.

    Args:
        scores: as for `deletion`.
        images: as for `deletion`.
        maps: as for `deletion`; at least two pixels.
        fractions: shares of the pixels to remove, between 0 and 1, both excluded.
        noise: standard deviation of what is added to imputed pixels, in the images' units.
        batch_size: as for `deletion`.
        seed: of the noise and of ties.

    Returns:
        Both orders and their combination.

    Raises:
        OptionError: images, maps or options do not fit.
        NonFiniteError: a score is NaN or infinite.
    """
    values = checked_maps(maps)
    whole = checked_images(images, values)
    n, size = len(values), values[0].size
    shares = np.asarray(fractions, dtype=np.float64)
    if shares.ndim != 1 or not shares.size or not ((shares > 0) & (shares < 1)).all() or size < 2:
        raise OptionError(f"fractions={fractions!r} must be numbers between 0 and 1, so that some of the pixels stay.")
    if not noise >= 0:
        raise OptionError(f"noise={noise} must be at least 0.")
    counts = np.clip(np.rint(shares * size), 1, size - 1).astype(np.intp)
    ranks = _ranks(values, seed)
    grain = noise * np.random.default_rng(seed).normal(size=whole.shape[1:])

    def removed(row: int) -> NDArray[np.bool_]:
        image, order, point = np.unravel_index(row, (n, 2, len(counts)))
        rank = ranks[image] if order == 0 else size - 1 - ranks[image]
        return (rank < counts[point]).reshape(values.shape[1:])

    def perturbed(rows: NDArray[np.intp]) -> NDArray[Any]:
        pictures = [imputed(whole[owners[row]], removed(row), grain) for row in rows]
        return np.stack(pictures).astype(whole.dtype)

    owners = np.repeat(np.arange(n), 2 * len(counts))
    found = scored(scores, perturbed, owners, batch_size).reshape(n, 2, -1)
    most, least = found[:, 0], found[:, 1]
    return Road(shares, most, least, ((least - most) / 2).mean(axis=1))


def _curve(
    scores: Scores,
    start: NDArray[Any],
    finish: NDArray[Any],
    maps: NDArray[np.float64],
    steps: int | None,
    reference: bool,
    batch_size: int,
    seed: int,
) -> Curve:
    size = maps[0].size
    points = min(STEPS, size) if steps is None else steps
    if not 1 <= points <= size:
        raise OptionError(f"steps={steps} must lie between 1 and the number of pixels, {size}.")
    counts = np.rint(np.linspace(0, size, points + 1)).astype(np.intp)
    owners = np.repeat(np.arange(len(maps)), len(counts))

    def along(ranks: NDArray[np.intp]) -> NDArray[np.float64]:
        def perturbed(rows: NDArray[np.intp]) -> NDArray[Any]:
            image, point = np.divmod(rows, len(counts))
            changed = (ranks[image] < counts[point][:, None]).reshape(-1, *maps.shape[1:], 1)
            return np.where(changed, finish[image], start[image])

        return scored(scores, perturbed, owners, batch_size).reshape(len(maps), -1)

    fractions = counts / size
    found = along(_ranks(maps, seed))
    random = np.trapezoid(along(_ranks(np.zeros_like(maps), seed)), fractions) if reference else None
    return Curve(fractions, found, np.trapezoid(found, fractions), random)


def _ranks(maps: NDArray[np.float64], seed: int) -> NDArray[np.intp]:
    """The place of every pixel in the order of its map, 0 for the highest; shape (images, pixels)."""
    values = maps.reshape(len(maps), -1)
    shuffled = np.random.default_rng(seed).permutation(values.shape[1])
    order = shuffled[np.argsort(-values[:, shuffled], axis=1, kind="stable")]
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(values.shape[1])[None], axis=1)
    return ranks


def imputed(
    image: NDArray[Any], removed: NDArray[np.bool_], grain: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """The image with its removed pixels solved for: sum over j of w_ij (x_i - x_j) = 0 for every one of them.

    Args:
        image: shape (height, width, channels).
        removed: boolean, shape (height, width).
        grain: noise to add to the removed pixels, of the image's shape.

    Returns:
        The image's shape; the pixels that stay are as they were.

    Raises:
        OptionError: every pixel is removed.
    """
    from scipy.sparse.linalg import splu

    gone = removed.ravel()
    pixels = image.reshape(gone.size, -1).astype(np.float64)
    if not gone.any():
        return pixels.reshape(image.shape)
    if gone.all():
        raise OptionError("There is nothing to impute from where every pixel is removed: leave one at least.")
    rows = _laplacian(*removed.shape)[gone]
    solve = splu(rows[:, gone].tocsc(), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}).solve
    pixels[gone] = solve(-(rows[:, ~gone] @ pixels[~gone]))
    if grain is not None:
        pixels[gone] += grain.reshape(pixels.shape)[gone]
    return np.asarray(pixels.reshape(image.shape))


@lru_cache(maxsize=4)
def _laplacian(height: int, width: int) -> Any:
    """Of the graph of neighbouring pixels: a pixel's weights together on the diagonal, less each neighbour's own."""
    from scipy.sparse import csr_array, diags_array, kron

    def neighbours(length: int) -> Any:
        return diags_array([1.0, 1.0], offsets=[-1, 1], shape=(length, length))

    def same(length: int) -> Any:
        return diags_array([1.0], offsets=[0], shape=(length, length))

    down, along = neighbours(height), neighbours(width)
    direct = kron(down, same(width)) + kron(same(height), along)
    weights = csr_array(DIRECT * direct + DIAGONAL * kron(down, along))
    return csr_array(diags_array(weights.sum(axis=1)) - weights)
