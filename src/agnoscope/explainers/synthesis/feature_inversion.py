"""Feature inversion: an image made from nothing but what a layer knows of a photo.

Gradient steps bring the layer's activation of an image near to that of the photo. What the layer has kept of the photo
comes out; what it has dropped, the image is free to invent.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import OptionError
from agnoscope.explainers.synthesis.base import Plan, Synthesizer
from agnoscope.explainers.synthesis.layers import LATE, layer_at, spread_layers, views_of
from agnoscope.explainers.synthesis.photos import photos_of
from agnoscope.images import ImageLike
from agnoscope.model import RESERVED, Model
from agnoscope.optimisation.canvas import Canvas
from agnoscope.optimisation.optimisers import Adam, Optimiser
from agnoscope.optimisation.parameterisations.base import Parameterisation
from agnoscope.optimisation.parameterisations.fourier import Fourier
from agnoscope.optimisation.regularisers import Penalty, PNorm, TotalVariation
from agnoscope.optimisation.stage import Stage
from agnoscope.optimisation.transformations import Views
from agnoscope.synthesis import Synthesis, as_picture
from agnoscope.target import side_by_side
from agnoscope.targets.features import Distance, features_of

MISSED = 0.9
"""An image whose features are farther from the photo's than this share of their length has next to nothing of them."""


@final
@dataclass(frozen=True)
class FeatureInversion(Synthesizer):
    """Feature inversion (Mahendran and Vedaldi, CVPR 2015), in Lucid's parameterisation.

    Called with a network and a photo. The objective is the squared distance of the layer's activation from that of the
    photo, as a share of the photo's own squared length, below zero; its maximum, 0, is reached by the photo itself.
    Total variation and a high norm of the pixels are taken off it. The authors' own way, in pixels, is
    `FeatureInversion(layer, parameterisation=Pixels(), optimiser=LBFGS(), views=None)`; steps on a spectrum find the
    photo's low frequencies as well, which steps on pixels hardly move.

    Attributes:
        layer: the layer to invert, "scores" or "output"; by default a block, or else a ReLU, late in the network.
            Several layers of one photo give one image each; `row` does that better. The last ReLU of some networks is
            so rarely open that it takes a thousand steps.
        iterations: how many steps.
        size: longer side in pixels, or height and width; by default the network's own size, or the photo's.
        parameterisation: what the steps move.
        views: how the network looks at the image: "fitting" shifts and scales it by up to a quarter of the distance
            between two places of the layer's map, for which the photo's features still hold; None shows it as it is.
        optimiser: makes steps of gradients.
        penalties: what the image is to have little of.
        seed: of noise and views.
    """

    name = "feature-inversion"

    layer: str | tuple[str, ...] | None = None
    iterations: int = 200
    size: int | tuple[int, int] | None = None
    parameterisation: Parameterisation = Fourier()
    views: Views | Literal["fitting"] | None = "fitting"
    optimiser: Optimiser = Adam(0.05)
    penalties: tuple[Penalty, ...] = (TotalVariation(2.0, 2.0), PNorm(0.1))
    seed: int = 0

    def plan(self, model: Model, image: ImageLike) -> Plan:
        """Plan the inversion of a photo's features.

        Args:
            model: the network.
            image: the photo, or several where there is one layer.
        """
        photos = photos_of(model, image, self.size or model.spec.size)
        size = photos.images.shape[1:3]
        layers = self._layers(model, size)
        if len(layers) > 1 and len(photos.images) > 1:
            raise OptionError(
                f"{len(layers)} layers and {len(photos.images)} photos were given: give one photo with several layers, "
                "or one layer with several photos."
            )
        known = features_of(model, photos.images, layers)
        targets = [-Distance(layer, known[layer][i]) for layer in layers for i in range(len(photos.images))]
        told = tuple(f"features of {layer}" for layer in layers for _ in photos.names)
        stage = Stage(
            Canvas.of(model, size),
            self.parameterisation,
            replace(side_by_side(targets, model, size), names=told),
            self.iterations,
            self.optimiser,
            views_of(self.views, model, layers, size),
            penalties=tuple(penalty.settle(model, size) for penalty in self.penalties),
            restful=True,
        )
        names, captions = layers if len(layers) > 1 else photos.names, ("photo",) * len(photos.names)
        seen = tuple(as_picture(each, stage.canvas.bounds) for each in photos.images)
        return Plan((stage,), names, seen, (photos.images,), captions=captions)

    def finish(self, model: Model, plan: Plan, made: Synthesis) -> Synthesis:  # noqa: ARG002
        """Add how far the features still are, and how much of the photo is back.

        Returns:
            The result with "distance", as a share of the features' squared length, and "correlation" of the image's
            numbers with the photo's, both of shape (images,), among its `extras`.
        """
        photos = np.broadcast_to(plan.inputs[0], made.images.shape)
        correlation = np.array([_correlation(*each) for each in zip(made.images, photos, strict=True)])
        distance = -np.array(made.making.scores)
        missed = tuple(
            f"The {target} are not met (distance {gap:.2f}): take more steps, another seed, or a layer before a ReLU."
            for target, gap in zip(made.making.targets, distance, strict=True)
            if made.making.finished and gap > MISSED
        )
        making = replace(made.making, warnings=(*made.making.warnings, *missed))
        return replace(made, making=making, extras={"distance": distance, "correlation": correlation})

    def row(self, model: Any, image: ImageLike, layers: Sequence[str] | None = None, **call: Any) -> Synthesis:
        """What each of several layers still knows of a photo, one image for each layer; each by a run of its own.

        A run that is stopped ends the row, which then has the images so far.

        Args:
            model: what `agnoscope.wrap` returned, or a network that it can wrap by itself.
            image: the photo.
            layers: from the first to the last; by default five of them, spread over the network.
            **call: `callback` and `batch_size`, as calling takes them.

        Returns:
            One image per layer, under the layer's name.

        Raises:
            OptionError: several photos are given, or no layer.
        """
        from agnoscope.api import wrap

        wrapped = wrap(model)
        photos = photos_of(wrapped, image, self.size or wrapped.spec.size)
        if len(photos.images) > 1:
            raise OptionError(f"A row over the layers is about one photo; {len(photos.images)} were given.")
        chosen = tuple(layers) if layers is not None else spread_layers(wrapped, photos.images.shape[1:3])
        if not chosen:
            raise OptionError("layers is empty: name a layer, or leave it out for five of them.")
        made: list[Synthesis] = []
        try:
            for layer in chosen:
                made.append(replace(self, layer=layer)(wrapped, image, **call))
                if not made[-1].making.finished:
                    break
        except KeyboardInterrupt:  # before the layer's first step
            if not made:
                raise
        row = beside(made, chosen[: len(made)])
        if len(made) == len(chosen):
            return row
        warnings = (*row.making.warnings, f"Stopped at {len(made)} of {len(chosen)} layers.")
        return replace(row, making=replace(row.making, finished=False, warnings=warnings))

    def _layers(self, model: Model, size: tuple[int, int]) -> tuple[str, ...]:
        given = self.layer or layer_at(model, size, LATE)
        asked = given if isinstance(given, tuple | list) else (given,)
        return tuple(each if each in RESERVED else model.layer(each, size).name for each in asked)


def beside(made: Sequence[Synthesis], names: Sequence[str]) -> Synthesis:
    """Results of one image each as one result, under new names; they share canvas, method and steps."""
    first, makings = made[0], [each.making for each in made]
    steps = min(len(each.history) for each in made)
    making = replace(
        first.making,
        options={**first.making.options, "layer": tuple(names)},
        targets=tuple(making.targets[0] for making in makings),
        scores=tuple(making.scores[0] for making in makings),
        steps=steps,
        finished=all(making.finished for making in makings),
        answers=tuple(making.answers[0] for making in makings) if first.making.answers else (),
        warnings=tuple(dict.fromkeys(warning for making in makings for warning in making.warnings)),
    )
    return replace(
        first,
        images=np.concatenate([each.images for each in made]),
        names=tuple(names),
        making=making,
        history=np.concatenate([each.history[:steps] for each in made], axis=1),
        extras={name: np.concatenate([each.extras[name] for each in made]) for name in first.extras},
    )


def _correlation(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Of all their numbers; NaN where one is a single colour."""
    a, b = (each.astype(np.float64).ravel() - each.mean(dtype=np.float64) for each in (one, other))
    length = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / length) if length > 0 else float("nan")
