"""Does an explanation lie where the thing is? Metrics against a mask of the truth.

All take maps of the shape (images, height, width), as `Explanation.maps` gives them, and boolean masks of the same
shape. All give one float64 per image between 0 and 1, and NaN where the question has no answer.

Mass and rank accuracy are those of Arras, Osman and Samek (Information Fusion 2022). With boxes for masks, mass
accuracy is the energy-based pointing game (Wang et al., CVPR Workshops 2020); with the cells of a mosaic, it is the
grid pointing game (Böhle, Fritz and Schiele, CVPR 2021).
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import OptionError
from agnoscope.metrics.checks import checked_maps, checked_masks, ratio

TOLERANCE: Final = 15 / 224
"""Reach of the pointing game, as a share of the image's shorter side."""

SAME: Final = 1e-12
"""Means of equal numbers differ by rounding: within this share of the largest they are a tie."""


def mass_accuracy(maps: NDArray[Any], masks: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Share of the positive map that lies inside the mask, called relevance mass accuracy (Arras, Osman and Samek).

    Chance, and the value of a constant positive map, is the share of the image that the mask covers.

    Args:
        maps: shape (images, height, width); what is negative counts as zero.
        masks: boolean, the same shape.

    Returns:
        Shape (images,), 0 to 1; NaN where the mask is empty or nothing is positive.

    Raises:
        OptionError: the shapes differ, the masks are not boolean, or the maps are not finite.
    """
    values, inside = _flat(maps, masks)
    positive = np.maximum(values, 0)
    return np.where(inside.any(axis=1), ratio((positive * inside).sum(axis=1), positive.sum(axis=1)), np.nan)


def rank_accuracy(maps: NDArray[Any], masks: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Share of the K highest pixels that lie inside a mask of K pixels, called relevance rank accuracy (Arras et al.).

    Tied pixels count with their expected value over all orders: a constant map gives the mask's share of the image.

    Args:
        maps: shape (images, height, width); only the order of the signed values counts.
        masks: boolean, the same shape.

    Returns:
        Shape (images,), 0 to 1; NaN where the mask is empty.

    Raises:
        OptionError: as for `mass_accuracy`.
    """
    values, inside = _flat(maps, masks)
    k = inside.sum(axis=1)
    last = np.sort(values, axis=1)[np.arange(len(values)), values.shape[1] - np.maximum(k, 1)][:, None]
    above, tied = values > last, values == last
    places = k - above.sum(axis=1)  # what the pixels above leave of the K, for the tied ones to share
    hits = (above & inside).sum(axis=1) + places * (tied & inside).sum(axis=1) / tied.sum(axis=1)
    return ratio(hits, k)


def pointing_game(maps: NDArray[Any], masks: NDArray[np.bool_], tolerance: float | None = None) -> NDArray[np.float64]:
    """Whether the highest pixel lies on the mask, or near it (Zhang et al., IJCV 2018).

    The paper averages the hits of each class, then the classes.

    Args:
        maps: shape (images, height, width).
        masks: boolean, the same shape.
        tolerance: how far from the mask is still a hit, in pixels between centres; by default 15 for a shorter side
            of 224, in proportion, rounded.

    Returns:
        Shape (images,): 1 or 0, or the share of hits where several pixels are the highest; NaN where the mask is empty.

    Raises:
        OptionError: as for `mass_accuracy`, or the tolerance is negative.
    """
    values, inside = _flat(maps, masks)
    reach = round(TOLERANCE * min(np.shape(masks)[1:])) if tolerance is None else tolerance
    if not reach >= 0:
        raise OptionError(f"tolerance={tolerance} must be a number of pixels, at least 0.")
    from scipy.ndimage import distance_transform_edt

    near = np.stack([distance_transform_edt(~mask) <= reach for mask in np.asarray(masks)]).reshape(inside.shape)
    highest = values == values.max(axis=1, keepdims=True)
    return np.where(inside.any(axis=1), ratio((highest & near).sum(axis=1), highest.sum(axis=1)), np.nan)


def auroc(maps: NDArray[Any], masks: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Probability that a pixel inside is higher than one outside, ties counting half (Mann and Whitney, 1947).

    Args:
        maps: shape (images, height, width); only the order of the signed values counts.
        masks: boolean, the same shape.

    Returns:
        Shape (images,), 0 to 1 with 0.5 for chance; NaN where the mask is empty or covers the image.

    Raises:
        OptionError: as for `mass_accuracy`.
    """
    values, inside = _flat(maps, masks)
    from scipy.stats import rankdata

    k = inside.sum(axis=1)
    wins = (rankdata(values, axis=1) * inside).sum(axis=1) - k * (k + 1) / 2
    return ratio(wins, k * (values.shape[1] - k))


def average_precision(maps: NDArray[Any], masks: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Area under precision over recall, by steps: the mean precision at which the pixels inside are found.

    Pixels of one value are found together. A constant map gives the mask's share of the image.

    Args:
        maps: shape (images, height, width); only the order of the signed values counts.
        masks: boolean, the same shape.

    Returns:
        Shape (images,), 0 to 1; NaN where the mask is empty.

    Raises:
        OptionError: as for `mass_accuracy`.
    """
    return np.array([_average_precision(*one) for one in zip(*_flat(maps, masks), strict=True)])


def object_choice(maps: NDArray[Any], objects: NDArray[np.bool_], target: NDArray[Any]) -> NDArray[np.float64]:
    """Whether the target is the object that the map stresses most, by the mean of its positive values there.

    The mean, since a sum would favour large objects. A map that is zero on all objects chooses among them at random.

    Args:
        maps: shape (images, height, width); what is negative counts as zero.
        objects: boolean, shape (images, objects, height, width), one mask per object; an empty mask is no object.
        target: shape (images,), the number of the object that is right.

    Returns:
        Shape (images,): 1 or 0, or 1 by the number of tied objects; NaN where the target's mask is empty, no other
        object is there, or nothing is positive.

    Raises:
        OptionError: as for `mass_accuracy`, or a target is not the number of an object.
    """
    values = checked_maps(maps)
    count = np.shape(objects)[1] if np.ndim(objects) == 4 else 0
    inside = checked_masks(objects, (len(values), count, *values.shape[1:]), "objects")
    right = np.asarray(target)
    if right.shape != (len(values),) or right.dtype.kind not in "iu" or not ((right >= 0) & (right < count)).all():
        raise OptionError(f"target={target!r} must hold one number of an object per image, from 0 to {count - 1}.")
    positive = np.maximum(values, 0)
    pixels = inside.sum(axis=(2, 3))
    means = np.where(pixels > 0, ratio((positive[:, None] * inside).sum(axis=(2, 3)), pixels), -np.inf)
    most = means.max(axis=1, keepdims=True)
    chosen = means >= most - SAME * np.abs(most)
    rows = np.arange(len(values))
    defined = (pixels[rows, right] > 0) & ((pixels > 0).sum(axis=1) > 1) & (positive.max(axis=(1, 2)) > 0)
    return np.where(defined, chosen[rows, right] / chosen.sum(axis=1), np.nan)


def _flat(maps: NDArray[Any], masks: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Both checked, of the shape (images, pixels)."""
    values = checked_maps(maps)
    inside = checked_masks(masks, values.shape)
    return values.reshape(len(values), -1), inside.reshape(len(values), -1)


def _average_precision(values: NDArray[np.float64], inside: NDArray[np.bool_]) -> float:
    if not inside.any():
        return np.nan
    order = np.argsort(-values)
    ends = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)  # the last pixel of each value
    found = np.cumsum(inside[order])[ends]
    gained = np.diff(found, prepend=0)
    return float((gained * found / (ends + 1)).sum() / inside.sum())
