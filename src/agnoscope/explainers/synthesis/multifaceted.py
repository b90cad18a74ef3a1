"""Multifaceted feature visualisation: one image for each kind of photo that a unit answers to."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.batches import chunks, comfortable_batch
from agnoscope.errors import OptionError, TargetError
from agnoscope.explainers.options import whole
from agnoscope.explainers.synthesis.base import Plan, Synthesizer
from agnoscope.explainers.synthesis.feature_visualization import FeatureVisualization, several
from agnoscope.explainers.synthesis.photos import resized
from agnoscope.images import load
from agnoscope.model import Model
from agnoscope.optimisation.optimisers import Adam, Optimiser
from agnoscope.optimisation.parameterisations.base import Parameterisation
from agnoscope.optimisation.parameterisations.fourier import Fourier
from agnoscope.optimisation.regularisers import Penalty
from agnoscope.optimisation.transformations import Views
from agnoscope.runs import photos_in
from agnoscope.synthesis import Synthesis, as_picture
from agnoscope.targets.features import features_of

COMPONENTS: Final = 50
"""To so many principal components the features are reduced before they are clustered, as in the paper."""

ATTEMPTS: Final = 10
"""Clusterings from other beginnings, of which the tightest is taken."""


@final
@dataclass(frozen=True)
class Multifaceted(Synthesizer):
    """Multifaceted feature visualisation (Nguyen, Yosinski and Clune, ICML Visualization Workshop 2016).

    Called with a network, photos that the target answers to (a folder, a list or an array), and the target. The photos
    are clustered by what a layer tells of them; the mean of the photos nearest to a cluster's centre, blurred by
    nature, is where its image begins. The facets come largest first. The paper's t-SNE before the clustering is left
    out: k-means on the principal components needs no map of two dimensions.

    The result's `photos` are the means, beside which the images are drawn, and its `extras` tell the "members" of each
    facet: how many photos are in its cluster.

    Attributes:
        facets: how many, 2 or more.
        layer: whose activations are compared, averaged over its map; by default the last map's.
        nearest: how many photos make a mean.
        iterations: how many steps.
        size: height and width in pixels; by default the photos', as the network gets them.
        parameterisation: what the steps move; one that can begin from an image.
        views: how the network looks at the image at each step; None shows it as it is.
        optimiser: makes steps of gradients. They are smaller than elsewhere, so that an image stays of the kind of its
            beginning.
        penalties: what the image is to have little of.
        seed: of the clustering and the views.
    """

    name = "multifaceted"

    facets: int = 4
    layer: str | None = None
    nearest: int = 15
    iterations: int = 128
    size: int | tuple[int, int] | None = None
    parameterisation: Parameterisation = Fourier()
    views: Views | None = Views()
    optimiser: Optimiser = Adam(0.02)
    penalties: tuple[Penalty, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        whole("facets", self.facets, least=2)
        whole("nearest", self.nearest)

    def plan(self, model: Model, images: Any, target: Any) -> Plan:
        """Cluster the photos, and plan an image of each cluster.

        Args:
            model: the network.
            images: photos of what the target answers to: a folder, or what `agnoscope.images.load` takes.
            target: what to drive up.
        """
        if len(several(target)) > 1:
            raise TargetError("The facets are those of one target: call it for each target with its own photos.")
        folder = isinstance(images, str | Path) and Path(images).is_dir()
        batch = load(photos_in(images) if folder else images, model.spec, model.dtype)
        if len(batch.images) < self.facets:
            raise OptionError(f"{self.facets} facets were asked for of {len(batch.images)} photos: give more photos.")
        features = self._features(model, batch.images)
        members = clustered(features, self.facets, self.seed)
        means = np.stack([self._mean(batch.images, features, members == facet) for facet in range(self.facets)])
        made = FeatureVisualization(
            self.iterations,
            self.size or (means.shape[1], means.shape[2]),
            self.parameterisation,
            self.views,
            self.optimiser,
            self.penalties,
        )
        plan = made.plan(model, [*several(target)] * self.facets)
        canvas = plan.stages[0].canvas
        begin, sizes = resized(means, canvas.size), np.bincount(members)
        return Plan(
            (replace(plan.stages[0], begin=lambda _: begin),),
            tuple(f"{name}, facet {number}" for number, name in enumerate(plan.names, start=1)),
            tuple(as_picture(mean, canvas.bounds) for mean in begin),
            (begin, sizes),
            plan.notes,
            tuple(f"mean of {min(size, self.nearest)} photos" for size in sizes),
        )

    def finish(self, model: Model, plan: Plan, made: Synthesis) -> Synthesis:  # noqa: ARG002
        return replace(made, extras={"members": plan.inputs[1]}, making=replace(made.making, targets=plan.names))

    def _features(self, model: Model, images: NDArray[Any]) -> NDArray[np.float64]:
        """What the layer tells of each photo, shape (images, channels)."""
        size = (images.shape[1], images.shape[2])
        layer = model.last_map(size) if self.layer is None else model.layer(self.layer, size)
        parts = [
            features_of(model, images[rows], (layer.name,))[layer.name][:kept]
            for rows, kept in chunks(len(images), comfortable_batch(model, size))
        ]
        found = np.concatenate(parts).astype(np.float64)
        return found.reshape(len(found), -1, found.shape[-1]).mean(axis=1)

    def _mean(self, images: NDArray[Any], features: NDArray[Any], own: NDArray[np.bool_]) -> NDArray[Any]:
        """The mean of a cluster's photos that are nearest to its centre."""
        distance = np.square(features[own] - features[own].mean(axis=0)).sum(axis=1)
        return images[own][np.argsort(distance, kind="stable")[: self.nearest]].mean(axis=0)


def clustered(features: NDArray[Any], count: int, seed: int) -> NDArray[np.intp]:
    """The cluster of each row, the largest cluster first: k-means on the principal components.

    Args:
        features: shape (images, channels).
        count: how many clusters.
        seed: of the beginnings.

    Raises:
        OptionError: so many clusters cannot be told apart.
    """
    from scipy.cluster.vq import ClusterError, kmeans2

    kinds = len(np.unique(features, axis=0))
    if kinds < count:
        raise OptionError(f"The photos are of {kinds} kinds to the network, not of {count}: ask for fewer facets.")
    centred = features - features.mean(axis=0)
    codes = centred @ np.linalg.svd(centred, full_matrices=False)[2][:COMPONENTS].T
    random, tightest = np.random.default_rng(seed), np.inf
    members: NDArray[Any] | None = None
    for _ in range(ATTEMPTS):
        try:
            centres, found = kmeans2(codes, count, minit="++", missing="raise", seed=random)
        except ClusterError:  # a cluster lost its last photo
            continue
        spread = np.square(codes - centres[found]).sum()
        if spread < tightest:
            tightest, members = spread, found
    if members is None:
        raise OptionError(f"The photos do not fall into {count} kinds: ask for fewer facets, or give other photos.")
    order = np.argsort(-np.bincount(members), kind="stable")
    return np.argsort(order)[members]
