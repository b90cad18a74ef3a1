"""Which channels fire for which class: features of a scan against its labels, in one pass over them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import OptionError, nearest
from agnoscope.metrics.localisation import auroc
from agnoscope.scan.scan import Scan
from agnoscope.scan.views.moments import Moments

Floats: TypeAlias = NDArray[np.float64]


@final
@dataclass(frozen=True, eq=False)
class ClassFeatures:
    """How strongly each channel of a layer fires for each class; its feature is the mean over the positions.

    Attributes:
        layer: its name.
        classes: their names, in the order of the alphabet.
        counts: images of each.
        unlabelled: images without a label, which count nowhere.
        means: mean feature in the class, float64, shape (classes, channels).
        elsewhere: mean feature in all other classes, likewise.
        effects: the difference of the two in pooled standard deviations (Cohen, 1988, d), likewise; infinite where
            the channel does not vary within both, NaN where it is the same for every image or there are two images.
    """

    layer: str
    classes: tuple[str, ...]
    counts: NDArray[np.int64]
    unlabelled: int
    means: Floats
    elsewhere: Floats
    effects: Floats

    def place(self, label: str) -> int:
        """The number of a class.

        Raises:
            OptionError: the scan has no image of it.
        """
        if label not in self.classes:
            raise OptionError(f"The scan has no image of a class {label!r}. Near it: {nearest(label, self.classes)}.")
        return self.classes.index(label)

    def best(self, label: str, count: int) -> NDArray[np.intp]:
        """The channels that fire for a class the most pooled standard deviations above the others, first ones first.

        Raises:
            OptionError: the scan has no image of it.
        """
        effects = self.effects[self.place(label)]
        order = np.argsort(-np.nan_to_num(effects, nan=-np.inf), kind="stable")
        return order[~np.isnan(effects[order])][:count]


def class_features(scan: Scan, layer: str | None = None) -> ClassFeatures:
    """Compare the features of every class with those of all others.

    Args:
        scan: with labels for at least two classes.
        layer: one that the scan kept; by default its first one.

    Raises:
        OptionError: the scan has no labels, or only one.
        LayerError: it did not keep this layer.
    """
    labels = labels_of(scan)
    classes = sorted(set(labels) - {""})
    if len(classes) < 2:
        raise OptionError(
            f"All labelled images of the scan are of the class {classes[0]!r}: there is nothing to compare it with."
        )
    numbers = {name: number for number, name in enumerate(classes)}
    groups = np.array([numbers.get(label, -1) for label in labels])
    found = Moments.of(scan.chunks(layer), groups, len(classes))
    counts = found.counts[:, None].astype(np.float64)
    others = counts.sum() - counts
    sums, deviations = counts * found.means, np.nan_to_num(found.variances) * (counts - 1)
    elsewhere = (sums.sum(axis=0) - sums) / others
    # Of all other classes together: within each of them, and of their means around the common one.
    squares = counts * found.means**2
    spread = (deviations + squares).sum(axis=0) - (deviations + squares) - others * elsewhere**2
    with np.errstate(invalid="ignore", divide="ignore"):
        pooled = np.sqrt((deviations + np.maximum(spread, 0)) / (counts + others - 2))
        effects = (found.means - elsewhere) / pooled
    effects[:, found.low == found.high] = np.nan
    bare = sum(label == "" for label in labels)
    return ClassFeatures(scan.layer(layer), tuple(classes), found.counts, bare, found.means, elsewhere, effects)


def labels_of(scan: Scan) -> Sequence[str]:
    """The labels of a scan.

    Raises:
        OptionError: it has none.
    """
    if scan.labels is None or not any(scan.labels):
        raise OptionError(
            f"The scan in {str(scan.folder)!r} has no labels: scan with labels=, or give them to Scan.open(folder, "
            "labels=...)."
        )
    return scan.labels


def separation(features: NDArray[Any], members: NDArray[np.bool_]) -> Floats:
    """The probability that an image of a class has a larger feature than another one, ties counting half (AUROC).

    Args:
        features: shape (images, channels).
        members: which images are of the class, shape (images,).

    Returns:
        Shape (channels,), 0 to 1, with 0.5 for chance.
    """
    columns = np.ascontiguousarray(features.T)[:, None, :]
    return auroc(columns, np.broadcast_to(members, columns.shape))
