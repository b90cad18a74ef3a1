"""Texture synthesis: an image in which the channels of a network's layers vary together as they do in a photo.

Where anything is does not matter; so the photo's stuff is there, its bricks, petals or feathers, and not its scene.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import final

from agnoscope.explainers.options import positive, whole
from agnoscope.explainers.synthesis.base import Plan, Synthesizer
from agnoscope.explainers.synthesis.colours import coloured_noise, palette
from agnoscope.explainers.synthesis.photos import check_size
from agnoscope.explainers.synthesis.sizes import size_of
from agnoscope.explainers.synthesis.style import (
    Statistics,
    Style,
    carried_on,
    cut,
    met,
    names_of,
    one_photo,
    scaled,
    scales_of,
    seen_side,
    sized,
    with_distances,
)
from agnoscope.images import ImageLike
from agnoscope.model import Model
from agnoscope.optimisation.canvas import Canvas
from agnoscope.optimisation.lbfgs import LBFGS
from agnoscope.optimisation.optimisers import Adam, Optimiser
from agnoscope.optimisation.parameterisations.base import Parameterisation
from agnoscope.optimisation.parameterisations.fourier import Fourier
from agnoscope.optimisation.regularisers import TotalVariation
from agnoscope.optimisation.stage import Stage
from agnoscope.optimisation.transformations import Jitter, Views
from agnoscope.synthesis import Synthesis


@final
@dataclass(frozen=True)
class Texture(Synthesizer):
    """Texture synthesis (Gatys, Ecker and Bethge, NIPS 2015).

    Called with a network and a photo. The authors compare Gram matrices in VGG, and change pixels. Here means and
    covariances are compared, and a spectrum is changed (Mordvintsev et al., Distill 2018): in networks of narrow layers
    and strides that makes the difference between a texture and noise. `statistics` and `parameterisation` lead back.

    Attributes:
        iterations: how many steps at each scale.
        size: height and width in pixels, any that the network takes; by default the network's own, or 224.
        source: longer side in pixels to which the photo is brought; by default the longer side of `size`, but it is
            not enlarged.
        layers: whose channels are compared; by default eight ReLUs from the first to the last one of which a unit sees
            half of the photo.
        layer_weights: of the layers, equal ones by default.
        statistics: "covariance", with the mean, or "gram".
        scales: how many sizes the image goes through, each twice as large as the one before: larger structures for
            more steps. Those too small for the network are left out.
        tileable: whether copies of the image fit together on all sides; the network then sees it shifted at random.
        total_variation: weight of the total variation.
        parameterisation: what the steps move.
        optimiser: makes steps of gradients; by default L-BFGS, and Adam where the image is shifted at random.
        seed: of noise and shifts.
    """

    name = "texture"

    iterations: int = 100
    size: int | tuple[int, int] | None = None
    source: int | None = None
    layers: tuple[str, ...] = ()
    layer_weights: tuple[float, ...] = ()
    statistics: Statistics = "covariance"
    scales: int = 2
    tileable: bool = False
    total_variation: float = 0.0
    parameterisation: Parameterisation = Fourier()
    optimiser: Optimiser | None = None
    seed: int = 0

    def plan(self, model: Model, image: ImageLike) -> Plan:
        """Plan a texture.

        Args:
            model: the network.
            image: the photo.
        """
        whole("scales", self.scales)
        variation = positive("total_variation", self.total_variation, or_zero=True)
        photo = one_photo(model, image, "the photo")
        full = size_of(model, self.size)
        check_size(model, full)
        own = photo.images.shape[1:3]
        source = min(max(full), max(own)) if self.source is None else whole("source", self.source)
        seen = sized(model, own, source, strict=self.source is not None)
        layers, side = names_of("layers", self.layers), seen_side(own, seen, enlarged=self.source is not None)
        style = Style(layers, self.layer_weights, self.statistics).settled(model, side)
        noise = coloured_noise(palette([photo.images], [1.0]), full, self.seed)
        stages = []
        for factor in scales_of(self.scales):
            size, shown = scaled(model, full, factor), scaled(model, seen, factor)
            fitting = style if factor == 1 else style.within(model, min(shown or (0,)))
            if size is None or shown is None or fitting is None:
                continue  # too small a scale for this network
            target = -fitting.distance(model, [cut(photo.images, shown)], [1.0])
            stage = Stage(
                Canvas.of(model, size),
                self.parameterisation,
                replace(target.bind(model, 1, size), names=(f"the texture of {photo.names[0]}",)),
                self.iterations,
                self.optimiser or (Adam(0.05) if self.tileable else LBFGS()),
                Views((Jitter(max(size)),), border="wrap", sampling="nearest") if self.tileable else None,
                penalties=(TotalVariation(variation),) if variation else (),
                begin=partial(carried_on, cut(noise, size)),
                until=met,
                restful=True,
            )
            stages.append(stage)
        return Plan(stages, photo.names, photo.photos, (photo.images,), captions=("photo",))

    def finish(self, model: Model, plan: Plan, made: Synthesis) -> Synthesis:
        return with_distances(model, plan, made)
