"""Caricature: an image from noise that has what a layer sees in a photo, and more of it than the photo."""

from dataclasses import dataclass
from typing import Literal, final

from agnoscope.explainers.synthesis.base import Plan, Synthesizer
from agnoscope.explainers.synthesis.layers import LATE, layer_at, views_of
from agnoscope.explainers.synthesis.photos import photos_of
from agnoscope.images import ImageLike
from agnoscope.model import Model
from agnoscope.optimisation.canvas import Canvas
from agnoscope.optimisation.optimisers import Adam, Optimiser
from agnoscope.optimisation.parameterisations.base import Parameterisation
from agnoscope.optimisation.parameterisations.fourier import Fourier
from agnoscope.optimisation.regularisers import Penalty
from agnoscope.optimisation.stage import Stage
from agnoscope.optimisation.transformations import Views
from agnoscope.synthesis import as_picture
from agnoscope.targets.features import features_of
from agnoscope.targets.likeness import Likeness


@final
@dataclass(frozen=True)
class Caricature(Synthesizer):
    """Caricature (Lucid, 2019): feature inversion that exaggerates.

    Called with a network and a photo. Where feature inversion stops at the photo's features, this drives their inner
    product up: what the layer sees in the photo comes out stronger than it was.

    Attributes:
        layer: whose features; by default a block, or else a ReLU, late in the network. Layers whose activation has no
            upper end, as ReLU6 has one, leave more room to exaggerate.
        power: of the cosine that keeps the features' direction; 0 asks for much of anything alike.
        iterations: how many steps.
        size: longer side in pixels, or height and width; by default the network's own size, or the photo's.
        parameterisation: what the steps move.
        views: how the network looks at the image; "fitting" is what the layer's map allows for, as in feature
            inversion, and None shows it as it is.
        optimiser: makes steps of gradients.
        penalties: what the image is to have little of.
        seed: of noise and views.
    """

    name = "caricature"

    layer: str | None = None
    power: float = 1.0
    iterations: int = 256
    size: int | tuple[int, int] | None = None
    parameterisation: Parameterisation = Fourier()
    views: Views | Literal["fitting"] | None = "fitting"
    optimiser: Optimiser = Adam(0.05)
    penalties: tuple[Penalty, ...] = ()
    seed: int = 0

    def plan(self, model: Model, image: ImageLike) -> Plan:
        """Plan a caricature.

        Args:
            model: the network.
            image: the photo, or several.
        """
        photos = photos_of(model, image, self.size or model.spec.size)
        count, size = len(photos.images), photos.images.shape[1:3]
        layer = model.layer(self.layer or layer_at(model, size, LATE), size).name
        known = features_of(model, photos.images, (layer,))[layer]
        stage = Stage(
            Canvas.of(model, size),
            self.parameterisation,
            Likeness(layer, known, self.power).bind(model, count, size),
            self.iterations,
            self.optimiser,
            views_of(self.views, model, (layer,), size),
            penalties=tuple(penalty.settle(model, size) for penalty in self.penalties),
        )
        seen = tuple(as_picture(each, stage.canvas.bounds) for each in photos.images)
        return Plan((stage,), photos.names, seen, (photos.images,), captions=("photo",) * count)
