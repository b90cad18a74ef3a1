"""Feature accentuation: what a unit sees in this very photo, made plain.

Gradient steps begin from the photo and drive a target up, while the features of an early layer are held near to those
of the photo. So the photo stays what it is, and changes where and how the unit wants it to.
"""

from dataclasses import dataclass, replace
from typing import Any, Final, Literal, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.explainers.options import positive
from agnoscope.explainers.synthesis.base import Plan, Synthesizer
from agnoscope.explainers.synthesis.layers import layer_at, views_of
from agnoscope.explainers.synthesis.photos import photos_of, settled
from agnoscope.images import ImageLike
from agnoscope.model import Model
from agnoscope.optimisation.canvas import Canvas
from agnoscope.optimisation.optimisers import Adam, Optimiser
from agnoscope.optimisation.parameterisations.base import Parameterisation
from agnoscope.optimisation.parameterisations.fourier import Fourier
from agnoscope.optimisation.regularisers import Penalty
from agnoscope.optimisation.stage import Stage
from agnoscope.optimisation.transformations import Views
from agnoscope.synthesis import Synthesis
from agnoscope.target import as_target
from agnoscope.targets.features import Distance, features_of
from agnoscope.trees import leaves

EARLY: Final = 0.25
"""How far through the network the default layer lies."""


@final
@dataclass(frozen=True)
class FeatureAccentuation(Synthesizer):
    """Feature accentuation (Hamblin, Fel, Saha, Konkle and Alvarez, arXiv 2024).

    Called with a network, a photo, and, if you like, what to drive up: a class number or label, or a `Target`; by
    default the network's first answer. The objective is the target less the relative squared distance from the photo's
    features, times `nearness`.

    Attributes:
        layer: whose features hold the photo; by default a block, or else a ReLU, a quarter of the way through.
        nearness: how many units of the target it costs to be as far from the photo's features as they are long. Scores
            of classes go well with 100, mean activations of a channel with 10; 0 lets go of the photo.
        iterations: how many steps.
        size: longer side in pixels, or height and width; by default the network's own size, or the photo's.
        parameterisation: what the steps move; one that can begin from an image.
        views: how the network looks at the image; "fitting" is what the layer's map allows for, as in feature
            inversion, and None shows it as it is.
        optimiser: makes steps of gradients.
        penalties: what the image is to have little of.
        seed: of views.
    """

    name = "feature-accentuation"

    layer: str | None = None
    nearness: float = 100.0
    iterations: int = 100
    size: int | tuple[int, int] | None = None
    parameterisation: Parameterisation = Fourier()
    views: Views | Literal["fitting"] | None = "fitting"
    optimiser: Optimiser = Adam(0.05)
    penalties: tuple[Penalty, ...] = ()
    seed: int = 0

    def plan(self, model: Model, image: ImageLike, target: Any = None) -> Plan:
        """Plan the accentuation of a photo.

        Args:
            model: the network.
            image: the photo, or several.
            target: what to drive up; a list of classes has one for each photo.
        """
        positive("nearness", self.nearness, or_zero=True)
        photos = photos_of(model, image, self.size or model.spec.size)
        count, size = len(photos.images), photos.images.shape[1:3]
        layer = model.layer(self.layer or layer_at(model, size, EARLY), size).name
        held = Distance(layer, features_of(model, photos.images, (layer,))[layer])
        wanted = as_target(target)
        asked, near = (
            settled(model, each.bind(model, count, size), photos.images)
            for each in (wanted, wanted - self.nearness * held)
        )
        stage = Stage(
            Canvas.of(model, size),
            self.parameterisation,
            replace(near, names=asked.names),
            self.iterations,
            self.optimiser,
            views_of(self.views, model, (layer,), size),
            penalties=tuple(penalty.settle(model, size) for penalty in self.penalties),
            begin=lambda before: photos.images if before is None else before,
        )
        return Plan((stage,), photos.names, photos.photos, (photos.images, *leaves(near.arrays)))

    def finish(self, model: Model, plan: Plan, made: Synthesis) -> Synthesis:
        """Tell the target from the distance.

        Returns:
            The result with the target's own values as scores, and among its `extras` the "distance" from the photo's
            features, as a share of their squared length, shape (images,), and the "change" of the photo, shape
            (images, height, width, channels).
        """
        (stage,) = plan.stages
        layer = stage.target.terms[-1].needs[0]
        before, after = (features_of(model, images, (layer,))[layer] for images in (plan.inputs[0], made.images))
        distance = _squared(after - before) / _squared(before)
        scores = tuple(map(float, made.making.scores + self.nearness * distance))
        extras = {"distance": distance, "change": made.images - plan.inputs[0]}
        return replace(made, making=replace(made.making, scores=scores), extras=extras)


def _squared(features: NDArray[Any]) -> NDArray[np.float64]:
    """The squared length of each image's features, shape (images,)."""
    return np.square(features.reshape(len(features), -1), dtype=np.float64).sum(axis=1)
