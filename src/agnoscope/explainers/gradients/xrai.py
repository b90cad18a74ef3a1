"""XRAI: the regions of an image, ranked by how much of an attribution each gains for its area."""

from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import OptionError
from agnoscope.explainers.base import Attribution, Explainer, Progress, Wrapper
from agnoscope.explainers.gradients.integrated_gradients import IntegratedGradients
from agnoscope.model import Model
from agnoscope.target import Bound

SIDE: Final = 224
"""Height and width in pixels at which regions are sought; the numbers below are made for it."""
SCALES: Final = (50, 100, 150, 250, 500, 1200)
"""Felzenszwalb's scale, from small regions to large ones."""
SIGMA: Final = 0.8
"""Standard deviation, in pixels, of the blur before."""
SMALLEST: Final = 150
"""Pixels of the smallest region."""
MARGIN: Final = 5
"""By how many pixels a region reaches over its border, so that it holds its own edges."""
WORTHWHILE: Final = 50 / SIDE**2
"""Share of the image that a region must add, or else it is passed over."""


@final
@dataclass(frozen=True)
class XRAI(Wrapper):
    """Attribution through regions (Kapishnikov, Bolukbasi, Viégas and Terry, ICCV 2019).

    The image is cut into regions by its colours, coarsely and finely (Felzenszwalb and Huttenlocher, IJCV 2004). Then
    region after region is taken, each time the one whose pixels not yet taken have the highest mean attribution;
    that mean is the value of these pixels. An attribution with channels counts by its largest channel. The values
    are signed, shape (images, height, width), and the extras are those of the attribution.

    Attributes:
        explainer: gives the attribution; an explainer or the name of a method whose values have the image's height
            and width. By default integrated gradients from black and from white.
        variant: "full", or "fast", which ranks the regions once, by the mean over all their pixels.
    """

    name = "xrai"
    reduction = "signed"

    explainer: Explainer = field(default_factory=lambda: IntegratedGradients(baseline=("black", "white")))
    variant: Literal["full", "fast"] = "full"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.variant not in ("full", "fast"):
            raise OptionError(f"variant={self.variant!r} is unknown: use 'full' or 'fast'.")

    def attribute(
        self, model: Model, images: NDArray[Any], target: Bound, batch_size: int, progress: Progress
    ) -> Attribution:
        found = self.explainer.attribute(model, images, target, batch_size, progress)
        values = found.values.max(axis=-1) if found.values.ndim == 4 else found.values
        if values.shape != images.shape[:3]:
            raise OptionError(
                f"xrai needs an attribution of the image's height and width {images.shape[1:3]}; {self.explainer.name} "
                f"gives values of shape {found.values.shape[1:]}. Use one of the image itself, such as saliency."
            )
        rank = {"full": ranked_anew, "fast": ranked_once}[self.variant]
        return replace(found, values=np.stack([rank(v, regions(i)) for v, i in zip(values, images, strict=True)]))


def regions(image: NDArray[Any]) -> NDArray[np.bool_]:
    """Overlapping regions of similar colour, from fine to coarse.

    Args:
        image: shape (height, width, channels), in any range.

    Returns:
        Shape (regions, height, width).
    """
    from skimage.morphology import isotropic_dilation
    from skimage.segmentation import felzenszwalb
    from skimage.transform import resize

    pixels = image.astype(np.float64)
    low, span = pixels.min(), np.ptp(pixels)
    pixels = resize((pixels - low) / (span or 1) * 2 - 1, (SIDE, SIDE), order=3, mode="edge", anti_aliasing=True)
    rows, columns = ((np.arange(length) * SIDE + SIDE // 2) // length for length in image.shape[:2])
    found = []
    for scale in SCALES:
        labels = felzenszwalb(pixels, scale=scale, sigma=SIGMA, min_size=SMALLEST, channel_axis=-1)
        found += [isotropic_dilation(labels == label, MARGIN)[rows][:, columns] for label in range(labels.max() + 1)]
    return np.stack([region for region in found if region.any()])  # a small image may lose small ones


def ranked_anew(values: NDArray[Any], masks: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The variant "full": each time the region that gains most with the pixels it still adds.

    Args:
        values: the attribution, shape (height, width).
        masks: the regions, shape (regions, height, width).

    Returns:
        Shape (height, width).
    """
    flat, ranked, free = values.reshape(-1).astype(np.float64), np.empty(values.size), np.ones(values.size, np.bool_)
    inside = np.ascontiguousarray(masks.reshape(len(masks), -1).T)
    counts = inside.sum(axis=0)
    sums = np.array([values[mask].sum(dtype=np.float64) for mask in masks])
    worthwhile = max(WORTHWHILE * flat.size, 1)
    while (counts >= worthwhile).any():
        best = np.where(counts >= worthwhile, sums / np.maximum(counts, 1), -np.inf).argmax()
        taken = inside[:, best] & free
        ranked[taken] = flat[taken].mean()
        free &= ~taken
        counts -= inside[taken].sum(axis=0)
        sums -= flat[taken] @ inside[taken]
    ranked[free] = flat[free].mean() if free.any() else 0
    return ranked.reshape(values.shape)


def ranked_once(values: NDArray[Any], masks: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The variant "fast": the regions in the order of their whole means; shapes as in `ranked_anew`."""
    ranked, free = np.empty(values.shape), np.ones(values.shape, np.bool_)
    means = np.array([values[mask].mean(dtype=np.float64) for mask in masks])
    for best in np.argsort(-means, kind="stable"):
        taken = masks[best] & free
        if taken.sum() >= max(WORTHWHILE * values.size, 1):
            ranked[taken] = values[taken].mean(dtype=np.float64)
            free &= ~taken
    ranked[free] = values[free].mean(dtype=np.float64) if free.any() else 0
    return ranked
