"""A map of feature space: one point in the plane for each image, and how far the map can be trusted.

No plane holds all that a space of a thousand dimensions does. So every map comes with its trustworthiness: it is low
where images lie side by side that the network does not hold to be alike.
"""

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any, Final, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import OptionError, nearest
from agnoscope.explainers.options import generator, whole
from agnoscope.feature_space.neighbours import checked, squared_distances
from agnoscope.feature_space.projections import METHODS, Projection

Floats: TypeAlias = NDArray[np.float64]

NEIGHBOURS: Final = 10
"""By how many neighbours of each row a map is judged."""

SAMPLE: Final = 5000
"""On how many rows, at the most: the work grows with their square."""

BLOCK: Final = 512
"""Rows whose distances to all others are held at once."""

FLAT: Final = 1e-12
"""Rows that differ by less than this share of their largest value are the same but for rounding."""


@final
@dataclass(frozen=True, eq=False)
class Embedding:
    """Rows of features as points in the plane.

    Attributes:
        points: float32, shape (rows, 2): to the right and upward, in no unit; finite.
        method: "pca", "tsne" or "umap".
        options: all options of the method, as they were used.
        seed: of the random draws.
        trustworthiness: 0 to 1, as `trustworthiness` has it.
        neighbours: how many of each row's neighbours were looked at for it.
        measured: on how many rows; where there are more than 5000, on so many, drawn by the seed.
        explained: shares of the variance along the principal components that the method used, largest first: both
            axes of PCA, the up to 50 that t-SNE was given; empty for UMAP, which takes the features as they are.
        versions: distribution to version, of those that computed.
    """

    points: NDArray[np.float32]
    method: str
    options: Mapping[str, Any]
    seed: int
    trustworthiness: float
    neighbours: int
    measured: int
    explained: tuple[float, ...]
    versions: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.points)

    def _repr_png_(self) -> bytes:
        from agnoscope.feature_space.drawing import draw_scatter

        buffer = io.BytesIO()
        draw_scatter(self).save(buffer, "PNG")
        return buffer.getvalue()

    def __str__(self) -> str:
        """The method with its options and what the map is worth, in one line."""
        facts = [f"{name.replace('_', ' ')} {value:.4g}" for name, value in self.options.items()]
        if self.method == "pca":
            facts = [f"axes with {' and '.join(f'{share:.0%}' for share in self.explained)} of the variance"]
        on = f", on {self.measured} of them" if self.measured < len(self) else ""
        return (
            f"{METHODS[self.method].title} of {len(self)} images ({', '.join(facts)}); "
            f"trustworthiness {self.trustworthiness:.3f} for {self.neighbours} neighbours{on}"
        )


def embed(features: NDArray[Any], method: str = "pca", *, seed: int = 0, **options: Any) -> Embedding:
    """Lay rows of features out in the plane.

    Args:
        features: shape (rows, features), at least 3 rows.
        method: "pca", "tsne" or "umap".
        seed: of the random draws: the same one gives the same map on the same machine.
        **options: of the method; see `PCA`, `TSNE` and `UMAP`.

    Raises:
        OptionError: there are too few rows, all are the same, a value is NaN or infinite, or there is no such method
            or option.
        MissingFrameworkError: the method's library is not installed.
    """
    projection = _projection(method, options)
    values = checked(features, np.arange(len(features)))
    if len(values) < 3:
        raise OptionError(f"A map needs at least 3 images, and there are {len(values)}.")
    centred = values - values.mean(axis=0)
    if np.abs(centred).max() <= FLAT * np.abs(values).max():
        raise OptionError(f"All {len(values)} rows of features are the same: there is nothing to map.")
    projection = projection.fitted(len(values))
    draws = generator(seed)
    points, explained = projection.points(centred, int(seed))
    if not np.isfinite(points).all():
        raise OptionError(f"{projection.title} found no finite map of these features: try other options.")
    some = np.sort(draws.permutation(len(values))[:SAMPLE])
    k = min(NEIGHBOURS, (len(some) - 1) // 2)
    return Embedding(
        points=np.asarray(points, np.float32),
        method=method,
        options=asdict(projection),  # type: ignore[call-overload]
        seed=int(seed),
        trustworthiness=trustworthiness(centred[some], np.asarray(points, np.float64)[some], k),
        neighbours=k,
        measured=len(some),
        explained=explained,
        versions={name: version(name) for name in ("agnoscope", "numpy", "scipy", projection.library) if name},
    )


def trustworthiness(features: NDArray[Any], points: NDArray[Any], k: int = NEIGHBOURS) -> float:
    """How far neighbours on a map are neighbours in feature space (Venna and Kaski, ICANN 2001).

        1 − 2 / (n k (2n − 3k − 1)) · Σᵢ Σⱼ max(0, r(i, j) − k)

    where j are the k nearest of i on the map and r(i, j) is the rank of j among the neighbours of i in feature space.
    1 means that none is a stranger; a map at random has about 0.5. Equal distances share the better rank.

    Args:
        features: shape (rows, features).
        points: shape (rows, 2), or of any other width.
        k: neighbours of each row that count, below half the number of rows.

    Raises:
        OptionError: the shapes do not fit, a value is not finite, or there are too few rows for `k`.
    """
    there = checked(features, np.arange(len(features)))
    here = checked(points, np.arange(len(features)))
    n = len(there)
    if not whole("k", k) < n / 2:
        raise OptionError(f"k={k} neighbours must be fewer than half of the {n} rows.")
    there, here = there - there.mean(axis=0), here - here.mean(axis=0)  # keeps digits
    excess = 0
    for start in range(0, n, BLOCK):
        rows = np.arange(start, min(n, start + BLOCK))
        beside = np.argpartition(_to_others(here, rows), k - 1, axis=1)[:, :k]
        distances = _to_others(there, rows)
        reached = np.take_along_axis(distances, beside, axis=1)
        for j in range(k):
            ranks = 1 + (distances < reached[:, j : j + 1]).sum(axis=1)
            excess += int(np.maximum(0, ranks - k).sum())
    return 1 - 2 * excess / (n * k * (2 * n - 3 * k - 1))


def _to_others(values: Floats, rows: NDArray[np.intp]) -> Floats:
    """Squared distances of some rows to all, of which none is nearest to itself; shape (some, all)."""
    squares = squared_distances(values[rows], values)
    squares[np.arange(len(rows)), rows] = np.inf
    return squares


def _projection(method: str, options: Mapping[str, Any]) -> Projection:
    if method not in METHODS:
        raise OptionError(f"The map {method!r} is unknown; there are {nearest(method, METHODS)}.")
    made = METHODS[method]
    known = list(made.__dataclass_fields__)  # type: ignore[attr-defined]
    for name in options:
        if name not in known:
            takes = f"only {', '.join(known)}" if known else "no options"
            raise OptionError(f"{made.title} has no option {name!r}; it takes {takes}.")
    return made(**options)
