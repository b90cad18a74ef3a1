"""Do an explanation's numbers say how far the score moves? Metrics of the values, not only of their order."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import OptionError
from agnoscope.metrics.checks import check_bounds, checked_images, checked_values, ratio
from agnoscope.metrics.scores import Fill, Scores, asked, batches, filling, scored
from agnoscope.metrics.similarity import pearson


def infidelity(
    scores: Scores,
    images: NDArray[Any],
    values: NDArray[Any],
    *,
    baseline: Fill = 0.0,
    noise: float = 0.2,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    scaled: bool = False,
    samples: int = 1000,
    batch_size: int = 32,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Mean squared error of the values as a linear forecast of falls in the score (Yeh et al., NeurIPS 2019).

    The image x is replaced by a noisy baseline z; the forecast of f(x) - f(z) is the sum of (x - z) times the values.
    So the values are per unit of the image, as a gradient's are: what was multiplied by the image, such as integrated
    gradients, must be divided by it first. The same noise serves every image.

    Args:
        scores: of perturbed images.
        images: shape (images, height, width, channels), floats.
        values: the images' shape.
        baseline: around which the noise lies: "mean", "blur", one number or an array, in the images' units.
        noise: standard deviation, in the images' units.
        bounds: the lowest and the highest value of a pixel, to which z is cut; None cuts nothing.
        scaled: whether each explanation is first multiplied by the one number that serves it best.
        samples: how many z for each image. 1000 as in the paper's code; the mean varies with fewer.
        batch_size: how many perturbed images to make and to score at once.
        seed: of the noise.

    Returns:
        Shape (images,), in squared units of the score, 0 for a perfect forecast; where `scaled` is asked for, NaN if
        the forecast is 0 for every sample.

    Raises:
        OptionError: images, values or options do not fit.
        NonFiniteError: a score is NaN or infinite.
    """
    known = checked_values(values, "values")
    whole = checked_images(images, known)
    if known.shape != whole.shape:
        raise OptionError(f"values of shape {known.shape} must have the images' shape {whole.shape}: one per channel.")
    if not noise >= 0 or samples < 1:
        raise OptionError(f"noise={noise} must be at least 0, and samples={samples} at least 1.")
    check_bounds(whole, bounds)
    centre, n = filling(whole, baseline), len(whole)
    clean = scored(scores, lambda rows: whole[rows], np.arange(n), batch_size)
    forecast, falls = np.empty((samples, n)), np.empty((samples, n))
    for rows in batches(samples * n, batch_size):
        sample, image = np.divmod(rows, n)
        drawn = {key: np.random.default_rng([seed, key]).normal(size=whole.shape[1:]) for key in set(sample.tolist())}
        z = centre[image] + noise * np.stack([drawn[key] for key in sample.tolist()])
        z = (z if bounds is None else np.clip(z, *bounds)).astype(whole.dtype)
        moved = whole[image].astype(np.float64) - z
        forecast[sample, image] = (moved * known[image]).sum(axis=(1, 2, 3))
        falls[sample, image] = clean[image] - asked(scores, z, image)
    scale = ratio((forecast * falls).mean(axis=0), (forecast**2).mean(axis=0)) if scaled else 1.0
    return ((scale * forecast - falls) ** 2).mean(axis=0)


def sensitivity_n(
    scores: Scores,
    images: NDArray[Any],
    values: NDArray[Any],
    n: int,
    *,
    fill: Fill = 0.0,
    samples: int = 100,
    batch_size: int = 32,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Correlation of the values removed with the fall of the score, over sets of n pixels (Ancona et al., ICLR 2018).

    The paper draws the result over n. The same random sets serve every image.

    Args:
        scores: of perturbed images.
        images: shape (images, height, width, channels), floats.
        values: shape (images, height, width) or that of the images, whose channels are summed; contributions to the
            score, not slopes.
        n: how many pixels are removed at a time, with all their channels.
        fill: what stands for a removed pixel: "mean", "blur", one number or an array, in the images' units.
        samples: how many sets.
        batch_size: how many perturbed images to make and to score at once.
        seed: of the sets.

    Returns:
        Shape (images,), Pearson's correlation, -1 to 1; NaN where either side is constant, as it is with all pixels.

    Raises:
        OptionError: images, values or options do not fit.
        NonFiniteError: a score is NaN or infinite.
    """
    known, whole = _contributions(images, values)
    size = known[0].size
    if not 1 <= n <= size or samples < 2:
        raise OptionError(f"n={n} must lie between 1 and {size}, the number of pixels, and samples={samples} above 1.")
    sets = _sets(samples, size, n, seed).reshape(samples, *known.shape[1:])
    return _removal_correlation(scores, whole, known, sets, fill, batch_size)


def mu_fidelity(
    scores: Scores,
    images: NDArray[Any],
    values: NDArray[Any],
    *,
    grid: int = 9,
    share: float = 0.2,
    fill: Fill = 0.0,
    samples: int = 200,
    batch_size: int = 32,
    seed: int = 0,
) -> NDArray[np.float64]:
    """The same correlation over sets of the cells of a grid, which move the score further than lone pixels do.

    Also called faithfulness correlation (Bhatt, Weller and Moura, IJCAI 2020).

    Args:
        scores: of perturbed images.
        images: shape (images, height, width, channels), floats.
        values: as for `sensitivity_n`.
        grid: cells along each side of the image.
        share: of the cells that are removed at a time, between 0 and 1.
        fill: as for `sensitivity_n`; the paper's baseline is free.
        samples: how many sets.
        batch_size: how many perturbed images to make and to score at once.
        seed: of the sets.

    Returns:
        Shape (images,), Pearson's correlation, -1 to 1; NaN where either side is constant.

    Raises:
        OptionError: images, values or options do not fit.
        NonFiniteError: a score is NaN or infinite.
    """
    known, whole = _contributions(images, values)
    height, width = known.shape[1:]
    if not 1 <= grid <= min(height, width) or not 0 < share < 1 or samples < 2:
        raise OptionError(
            f"grid={grid} must lie between 1 and {min(height, width)}, the image's shorter side, share={share} between "
            f"0 and 1, and samples={samples} above 1."
        )
    cells = _sets(samples, grid**2, max(1, round(share * grid**2)), seed).reshape(samples, grid, grid)
    rows, columns = np.arange(height) * grid // height, np.arange(width) * grid // width
    return _removal_correlation(scores, whole, known, cells[:, rows][:, :, columns], fill, batch_size)


def completeness(values: NDArray[Any], score: NDArray[Any], baseline_score: NDArray[Any]) -> NDArray[np.float64]:
    """How far the values' sum misses the score's rise above the baseline's (Sundararajan, Taly and Yan, ICML 2017).

    Args:
        values: shape (images, ...), contributions to the score.
        score: shape (images,), of the images.
        baseline_score: shape (images,) or one number, of the baseline.

    Returns:
        Shape (images,), the absolute error as a share of the rise: 0 is complete, 1 as wrong as zeros; NaN where
        both scores are equal.

    Raises:
        OptionError: the shapes differ, or a value is not finite.
    """
    known = checked_values(values, "values")
    rise = np.asarray(score, np.float64) - np.asarray(baseline_score, np.float64)
    if rise.shape != (len(known),) or not np.isfinite(rise).all():
        raise OptionError(f"The scores' difference of shape {rise.shape} must be {len(known)} finite numbers.")
    return ratio(np.abs(known.reshape(len(known), -1).sum(axis=1) - rise), np.abs(rise))


def _contributions(images: NDArray[Any], values: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Values per pixel, and the images, both checked."""
    known = checked_values(values, "values")
    whole = checked_images(images, known)
    if known.shape not in (whole.shape, whole.shape[:3]):
        raise OptionError(f"values of shape {known.shape} do not fit images of shape {whole.shape}.")
    return (known.sum(axis=3) if known.ndim == 4 else known), whole


def _sets(samples: int, size: int, n: int, seed: int) -> NDArray[np.bool_]:
    """Random sets of n of the first `size` numbers, shape (samples, size)."""
    some = np.broadcast_to(np.arange(size) < n, (samples, size))
    return np.random.default_rng(seed).permuted(some, axis=1)


def _removal_correlation(
    scores: Scores,
    images: NDArray[Any],
    values: NDArray[np.float64],
    sets: NDArray[np.bool_],
    fill: Fill,
    batch_size: int,
) -> NDArray[np.float64]:
    filled, samples = filling(images, fill), len(sets)
    clean = scored(scores, lambda rows: images[rows], np.arange(len(images)), batch_size)

    def perturbed(rows: NDArray[np.intp]) -> NDArray[Any]:
        image, sample = np.divmod(rows, samples)
        return np.where(sets[sample][..., None], filled[image], images[image])

    owners = np.repeat(np.arange(len(images)), samples)
    falls = clean[:, None] - scored(scores, perturbed, owners, batch_size).reshape(-1, samples)
    removed = np.stack([values[:, chosen].sum(axis=1) for chosen in sets], axis=1)
    return pearson(removed, falls)
