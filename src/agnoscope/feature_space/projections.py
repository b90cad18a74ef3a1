"""Three ways to lay a feature space out in the plane: PCA, t-SNE and UMAP.

    PCA     looks straight along two directions: no distance comes out too long, many come out too short
    t-SNE   keeps neighbours together; how large a cluster is and how far from the next means little
    UMAP    much the same, and faster where there are many rows

The last two start from the first, so that the large shape of the map means something (Kobak and Linderman, Nature
Biotechnology 2021) and comes out the same again.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Self, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import MissingFrameworkError, OptionError
from agnoscope.explainers.options import positive, whole

Floats: TypeAlias = NDArray[np.float64]

KEPT: Final = 50
"""Principal components that t-SNE is given."""


class Projection(ABC):
    """A way to lay features out in the plane; its options are its fields.

    Attributes:
        title: the name as people write it.
        library: the distribution that computes, if it is not NumPy.
    """

    title: str
    library: str | None

    @abstractmethod
    def fitted(self, rows: int) -> Self:
        """The same with every option set: those left out get what suits so many rows.

        Raises:
            OptionError: an option has no such value, or not for so few rows.
        """

    @abstractmethod
    def points(self, features: Floats, seed: int) -> tuple[Floats, tuple[float, ...]]:
        """Lay features out; every option is set.

        Args:
            features: shape (rows, features), with a mean of 0 in each column.
            seed: of the random draws.

        Returns:
            Points, shape (rows, 2), and the shares of the variance along the principal components that were used.

        Raises:
            MissingFrameworkError: the library is not installed.
        """


@final
@dataclass(frozen=True)
class PCA(Projection):
    """Principal components (Pearson, Phil. Mag. 1901; Hotelling, J. Educ. Psychol. 1933), in the features' unit."""

    title = "PCA"
    library = None

    def fitted(self, rows: int) -> Self:
        del rows
        return self

    def points(self, features: Floats, seed: int) -> tuple[Floats, tuple[float, ...]]:
        del seed
        return principal_components(features, 2)


@final
@dataclass(frozen=True)
class TSNE(Projection):
    """t-distributed stochastic neighbour embedding (van der Maaten and Hinton, JMLR 2008) of 50 principal components.

    scikit-learn computes it, with the approximation of van der Maaten (JMLR 2014).

    Attributes:
        perplexity: how many neighbours a row has, about; above 0 and below the number of rows. By default 30, or a
            third of the other rows where those are fewer than 90.
        iterations: steps of the descent, at least 250.
    """

    perplexity: float | None = None
    iterations: int = 1000
    title = "t-SNE"
    library = "scikit-learn"

    def fitted(self, rows: int) -> Self:
        suiting = min(30.0, (rows - 1) / 3)
        perplexity = suiting if self.perplexity is None else positive("perplexity", self.perplexity)
        if perplexity >= rows:
            raise OptionError(
                f"perplexity={perplexity:g} must be below the number of rows, which is {rows}: "
                f"take {suiting:.3g}, or leave it out."
            )
        return type(self)(perplexity, whole("iterations", self.iterations, least=250))

    def points(self, features: Floats, seed: int) -> tuple[Floats, tuple[float, ...]]:
        with _needed(self, "maps"):
            from sklearn import manifold

        components, explained = principal_components(features, KEPT)
        learner = manifold.TSNE(
            perplexity=self.perplexity,
            max_iter=self.iterations,
            init=_start(components, 1e-4),
            random_state=seed,
            n_jobs=1,
        )
        return learner.fit_transform(components / np.abs(components).max()), explained


@final
@dataclass(frozen=True)
class UMAP(Projection):
    """Uniform manifold approximation and projection (McInnes, Healy and Melville, arXiv 2018), by umap-learn.

    Attributes:
        neighbours: of each row whose distances count, at least 2 and below the number of rows; by default 15, or all
            where they are fewer.
        min_distance: how close points may come on the map, 0 to 1.
    """

    neighbours: int | None = None
    min_distance: float = 0.1
    title = "UMAP"
    library = "umap-learn"

    def fitted(self, rows: int) -> Self:
        neighbours = min(15, rows - 1) if self.neighbours is None else whole("neighbours", self.neighbours, least=2)
        if neighbours >= rows:
            raise OptionError(
                f"neighbours={neighbours} must be below the number of rows, which is {rows}: "
                f"take {min(15, rows - 1)}, or leave it out."
            )
        if positive("min_distance", self.min_distance, or_zero=True) > 1:
            raise OptionError(f"min_distance={self.min_distance:g} must be at most 1, which is the spread of the map.")
        return type(self)(neighbours, float(self.min_distance))

    def points(self, features: Floats, seed: int) -> tuple[Floats, tuple[float, ...]]:
        with _needed(self, "umap"):
            import umap  # takes seconds, and loads TensorFlow where that is installed

        components, _ = principal_components(features, 2)
        learner = umap.UMAP(
            n_neighbors=self.neighbours,
            min_dist=self.min_distance,
            init=_start(components, 10).astype(np.float32),
            random_state=seed,
            n_jobs=1,
        )
        return learner.fit_transform((features / np.abs(features).max()).astype(np.float32)), ()


METHODS: Final[dict[str, type[Projection]]] = {"pca": PCA, "tsne": TSNE, "umap": UMAP}


def principal_components(features: Floats, count: int) -> tuple[Floats, tuple[float, ...]]:
    """Features along the directions of largest variance.

    Each direction points to where its largest weight is positive, so that no map is a mirror image of the last one.

    Args:
        features: shape (rows, features), with a mean of 0 in each column, and not all 0.
        count: how many components; where there are fewer directions, the last of two are 0 or left out.

    Returns:
        Shape (rows, components), and the shares of the variance, largest first.
    """
    from scipy.linalg import svd

    _, sizes, axes = svd(features, full_matrices=False)
    axes = axes[:count]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    points = features @ (axes * np.sign(largest)).T
    shares = tuple(float(share) for share in (sizes**2 / (sizes**2).sum())[:count])
    return np.pad(points, ((0, 0), (0, max(0, 2 - points.shape[1])))), shares


def _start(components: Floats, size: float) -> NDArray[np.float32]:
    """The first two components, as small as the method wants its first map."""
    start = components[:, :2] / np.abs(components[:, :2]).max()
    return (start * size).astype(np.float32)


@contextmanager
def _needed(method: Projection, extra: str) -> Iterator[None]:
    """Say what to install where the library is not there."""
    try:
        yield
    except ImportError as error:
        raise MissingFrameworkError(
            f"{method.title} needs {method.library}, which is not installed or broken ({error}): "
            f'pip install "agnoscope[{extra}]".'
        ) from error
