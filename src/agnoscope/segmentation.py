"""Parts of an image, found by its colours: superpixels to hide one by one, and the object that a map points at."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import OptionError
from agnoscope.explanation import Explanation

SMOOTHING: Final = 1 / 16
"""Standard deviation of the blur before superpixels are sought, as a share of their side: noise makes them merge."""
BINS: Final = 16
"""Into how many steps each channel is cut for a histogram of colours; it is smoothed by one step."""
GAMMA: Final = 50.0
"""How much neighbours of one colour hold together, against the log odds of a pixel's colour; GrabCut's."""
PRECISION: Final = 1000
"""Steps of a graph's capacities, which are whole numbers, for 1."""


def superpixels(image: NDArray[Any], count: int = 50, compactness: float = 20.0) -> NDArray[np.intp]:
    """Pieces of similar colour and about one size, by SLIC (Achanta et al., TPAMI 2012).

    Computed in float64, whatever the image's dtype, so that a photo has the same pieces in every framework.

    Args:
        image: shape (height, width, channels) or (height, width), floats in any range or uint8.
        count: how many are wanted, at least 1. About that many are found, fewer where the image has little detail.
        compactness: how much nearness counts against colour; larger gives squarer pieces.

    Returns:
        Shape (height, width): the number of each pixel's piece, from 0 without gaps.

    Raises:
        OptionError: the image has another number of axes, `count` is below 1 or `compactness` is not positive.
    """
    from skimage.segmentation import slic

    pixels = np.asarray(image)
    if pixels.ndim not in (2, 3):
        raise OptionError(f"An image of shape {pixels.shape} has no superpixels: give (height, width, channels).")
    if count < 1 or not compactness > 0:
        raise OptionError(f"count={count!r} must be at least 1, and compactness={compactness!r} above 0.")
    pixels = pixels.astype(np.float64).reshape(*pixels.shape[:2], -1)
    side = np.sqrt(pixels.shape[0] * pixels.shape[1] / count)
    labels = slic(pixels, count, compactness, sigma=SMOOTHING * side, start_label=0, channel_axis=-1)
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape)


def object_mask(
    explanation: Explanation | NDArray[Any],
    image: NDArray[Any] | None = None,
    foreground: float = 0.95,
    background: float = 0.3,
) -> NDArray[np.bool_]:
    """The object that a map points at, by the colours there (Simonyan, Vedaldi and Zisserman, ICLR Workshop 2014).

    Where the map is highest stands the object, where it is lowest the background. A histogram of the colours of each
    tells how well every pixel goes with one or the other. A graph cut (Boykov and Jolly, ICCV 2001) parts the image
    by that, along edges of colour; its largest piece is the object.

    Args:
        explanation: an explanation, or its maps, shape (images, height, width) or (height, width).
        image: the images to find the object in, shape (images, height, width, channels), or one without the leading
            axis; 1 or 3 channels in any range; brought to the size of the map. By default the explanation's photos.
        foreground: the quantile of the map above which the colours are the object's, from 0 to 1.
        background: the quantile up to which they are the background's, at most `foreground`.

    Returns:
        Shape (images, height, width), True on the object. A map that is the same everywhere, or holds NaN, points at
        nothing: its mask is empty.

    Raises:
        OptionError: the quantiles are out of order, maps come without images, or the shapes do not go together.
    """
    if not 0 <= background <= foreground <= 1:
        raise OptionError(f"background={background!r} and foreground={foreground!r} must rise, within 0 to 1.")
    known = explanation if isinstance(explanation, Explanation) else None
    maps = np.asarray(explanation) if known is None else known.maps()
    maps = maps[None] if maps.ndim == 2 else maps
    if image is not None:
        pictures: Any = np.asarray(image)
        pictures = pictures[None] if pictures.ndim == 3 else pictures
    elif known is not None:
        pictures = known.photos
    else:
        raise OptionError("Maps alone have no colours: give the image, too, or an Explanation.")
    if maps.ndim != 3 or len(pictures) != len(maps) or any(p.ndim != 3 or p.shape[2] not in (1, 3) for p in pictures):
        shapes = [p.shape for p in pictures]
        raise OptionError(
            f"Maps of shape {maps.shape} do not go with images of shapes {shapes}: give (images, height, width) and "
            "(images, height, width, channels) of 1 or 3 channels."
        )
    return np.stack([_object(m, p, foreground, background) for m, p in zip(maps, pictures, strict=True)])


def _object(saliency: NDArray[Any], picture: NDArray[Any], foreground: float, background: float) -> NDArray[np.bool_]:
    from skimage.measure import label
    from skimage.transform import resize

    low, high = np.quantile(saliency, [background, foreground])
    if not (saliency > high).any():
        return np.zeros(saliency.shape, np.bool_)
    pixels = picture.astype(np.float64)
    pixels = (pixels - pixels.min()) / (np.ptp(pixels) or 1)
    if pixels.shape[:2] != saliency.shape:
        pixels = resize(pixels, saliency.shape, order=1, mode="edge", anti_aliasing=True)
    odds = np.log(_likelihood(pixels, saliency > high) / _likelihood(pixels, saliency <= low))
    pieces = label(graph_cut(odds, pixels), connectivity=1)
    sizes = np.bincount(pieces.ravel())[1:]
    return np.asarray(pieces == 1 + sizes.argmax()) if sizes.size else np.zeros(saliency.shape, np.bool_)


def _likelihood(pixels: NDArray[np.float64], there: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How often each pixel's colour comes among some of the pixels, shape (height, width)."""
    from scipy.ndimage import gaussian_filter

    bins = tuple(np.moveaxis(np.minimum((pixels * BINS).astype(np.intp), BINS - 1), -1, 0))
    histogram = np.zeros((BINS,) * len(bins))
    np.add.at(histogram, tuple(channel[there] for channel in bins), 1 / there.sum())
    return np.asarray(gaussian_filter(histogram, 1)[bins] + 1e-6)  # no colour is impossible


def graph_cut(odds: NDArray[np.float64], pixels: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The parting of an image with the least cost.

    Args:
        odds: what a pixel costs in the background; less what it costs in the object, shape (height, width).
        pixels: colours, shape (height, width, channels): a border costs less where they differ.

    Returns:
        True on the object.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import breadth_first_order, maximum_flow

    count = odds.size
    numbers = np.arange(count).reshape(odds.shape)
    one = np.concatenate([numbers[:, :-1].ravel(), numbers[:-1].ravel()])
    other = np.concatenate([numbers[:, 1:].ravel(), numbers[1:].ravel()])
    colours = pixels.reshape(count, -1)
    differences = np.square(colours[one] - colours[other]).sum(axis=1)
    bonds = GAMMA * np.exp(-differences / (2 * differences.mean() or 1))
    source, sink, pixel = np.full(count, count), np.full(count, count + 1), numbers.ravel()
    starts = np.concatenate([one, other, source, pixel])
    ends = np.concatenate([other, one, pixel, sink])
    capacities = np.concatenate([bonds, bonds, np.maximum(odds, 0).ravel(), np.maximum(-odds, 0).ravel()])
    whole = np.round(capacities * PRECISION).astype(np.int32)
    graph = coo_array((whole, (starts, ends)), shape=(count + 2, count + 2)).tocsr()
    graph.eliminate_zeros()
    rest = graph - maximum_flow(graph, count, count + 1).flow
    rest.eliminate_zeros()
    reached = np.zeros(count + 2, np.bool_)
    reached[breadth_first_order(rest, count, return_predecessors=False)] = True
    return reached[:count].reshape(odds.shape)
