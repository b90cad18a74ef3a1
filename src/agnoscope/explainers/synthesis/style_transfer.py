"""Style transfer: a photo repainted in the manner of others.

One layer's features keep what is to be seen; covariances of several layers' channels, which know nothing of places,
bring the manner. Large pictures are painted coarse to fine, since the network sees only so many pixels at once.
"""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, final

from numpy.typing import NDArray

from agnoscope.errors import OptionError
from agnoscope.explainers.options import positive, whole
from agnoscope.explainers.synthesis.base import Plan, Synthesizer
from agnoscope.explainers.synthesis.colours import Palette, coloured_noise, palette, recoloured
from agnoscope.explainers.synthesis.style import (
    Statistics,
    Style,
    carried_on,
    content_layer,
    cut,
    met,
    names_of,
    one_photo,
    scaled,
    scales_of,
    seen_side,
    sized,
    trimmed,
    weights_of,
    with_distances,
)
from agnoscope.images import ImageLike
from agnoscope.model import Model
from agnoscope.optimisation.canvas import Canvas
from agnoscope.optimisation.lbfgs import LBFGS
from agnoscope.optimisation.optimisers import Optimiser
from agnoscope.optimisation.parameterisations.base import Parameterisation
from agnoscope.optimisation.parameterisations.fourier import Fourier
from agnoscope.optimisation.regularisers import TotalVariation
from agnoscope.optimisation.stage import Stage
from agnoscope.synthesis import Synthesis
from agnoscope.target import Target
from agnoscope.targets.features import Distance, features_of

LONGER: Final = 512
"""Longer side of a picture by default, in pixels."""


@final
@dataclass(frozen=True)
class StyleTransfer(Synthesizer):
    """Style transfer (Gatys, Ecker and Bethge, CVPR 2016).

    Called with a network, the content photo, and one style photo or a list of several. As in `Texture`, means and
    covariances are compared rather than Gram matrices, and a spectrum is changed rather than pixels; `statistics` and
    `parameterisation` lead back to the paper's recipe.

    Both distances are shares of the photos' own, so that their weights mean the same in every network.

    Attributes:
        iterations: how many steps at each scale.
        size: longer side of the picture in pixels, the content's proportions kept; by default that of the photo, at
            most 512. A network that takes one size only gets the middle of the photos.
        scales: how many sizes the picture goes through, each twice as large as the one before. Those too small for the
            network are left out.
        content_layers: whose features stay; by default the last ReLU whose map has an eighth of the picture's sides.
        content_weight: of the content's distance.
        style_layers: whose channels are compared; by default eight ReLUs from the first to the last one of which a unit
            sees half of the style photo.
        style_weight: of the style's distance.
        layer_weights: of the style layers, equal ones by default.
        blend: weights of several style photos, equal ones by default.
        style_scale: longer side to which the style photos are brought, as a share of the picture's; a larger one gives
            larger strokes. By default 1, but no photo is enlarged.
        statistics: "covariance", with the mean, or "gram".
        keep_colours: whether the style photos are given the content's colours first: their mean and covariance (Gatys
            et al., CVPR 2017).
        start: "content", which is the content in the style's colours, "noise", or a photo.
        total_variation: weight of the total variation.
        parameterisation: what the steps move.
        optimiser: makes steps of gradients.
        seed: of noise.
    """

    name = "style-transfer"

    iterations: int = 100
    size: int | None = None
    scales: int = 2
    content_layers: tuple[str, ...] = ()
    content_weight: float = 1.0
    style_layers: tuple[str, ...] = ()
    style_weight: float = 3.0
    layer_weights: tuple[float, ...] = ()
    blend: tuple[float, ...] = ()
    style_scale: float | None = None
    statistics: Statistics = "covariance"
    keep_colours: bool = False
    start: ImageLike = field(default="content", compare=False)
    total_variation: float = 0.0
    parameterisation: Parameterisation = Fourier()
    optimiser: Optimiser = LBFGS()
    seed: int = 0

    def plan(self, model: Model, content: ImageLike, styles: ImageLike) -> Plan:
        """Plan a picture.

        Args:
            model: the network.
            content: the photo that is repainted.
            styles: the photo in whose manner, or a list of several.
        """
        self._check()
        photo = one_photo(model, content, "the content")
        given = list(styles) if isinstance(styles, list | tuple) else [styles]
        if not given:
            raise OptionError("There is no style photo: give one, or a list of several.")
        manners = [one_photo(model, each, f"style {i}") for i, each in enumerate(given, start=1)]
        shares = weights_of("blend", self.blend, len(manners))
        images = [each.images for each in manners]
        if self.keep_colours:
            own = palette([photo.images], [1.0])
            images = [recoloured(each, own, model.spec.bounds) for each in images]
        full = self._size(model, photo.images)
        seen = [self._style_size(model, each, max(full)) for each in images]
        asked = self.style_scale is not None
        side = min(seen_side(each.shape[1:3], at, asked) for each, at in zip(images, seen, strict=True))
        layers = names_of("style_layers", self.style_layers)
        style = Style(layers, self.layer_weights, self.statistics).settled(model, side)
        first = self._first(model, photo.images, palette(images, shares), full)
        name = f"{photo.names[0]} in the style of {', '.join(each.names[0] for each in manners)}"
        stages = []
        for factor in scales_of(self.scales):
            size, shown = scaled(model, full, factor), [scaled(model, each, factor) for each in seen]
            fitting = style if factor == 1 else style.within(model, min(min(each or (0,)) for each in shown))
            if size is None or fitting is None:
                continue  # too small a scale for this network
            brought = [cut(each, at) for each, at in zip(images, shown, strict=True) if at is not None]
            target = -self.style_weight * fitting.distance(model, brought, shares)
            for term in self._content(model, cut(photo.images, size)):
                target = target - self.content_weight * term
            stage = Stage(
                Canvas.of(model, size),
                self.parameterisation,
                replace(target.bind(model, 1, size), names=(name,)),
                self.iterations,
                self.optimiser,
                penalties=(TotalVariation(self.total_variation),) if self.total_variation else (),
                begin=partial(carried_on, cut(first, size)),
                until=met,
                restful=True,
            )
            stages.append(stage)
        photos = (*photo.photos, *(picture for each in manners for picture in each.photos))
        captions = ("content", *("style" for _ in manners))
        inputs, notes = (photo.images, *images, first), trimmed(photo.images.shape[1:3], full)
        return Plan(stages, photo.names, photos, inputs, notes, captions)

    def finish(self, model: Model, plan: Plan, made: Synthesis) -> Synthesis:
        return with_distances(model, plan, made)

    def _check(self) -> None:
        whole("scales", self.scales)
        for option in ("content_weight", "style_weight", "total_variation"):
            positive(option, getattr(self, option), or_zero=True)
        if not (self.content_weight or self.style_weight):
            raise OptionError("content_weight and style_weight are both 0: nothing is asked of the picture.")

    def _size(self, model: Model, photo: NDArray[Any]) -> tuple[int, int]:
        """Height and width of the picture."""
        own = photo.shape[1:3]
        longer = min(LONGER, max(own)) if self.size is None else whole("size", self.size)
        return sized(model, own, longer, strict=self.size is not None)

    def _style_size(self, model: Model, photo: NDArray[Any], longer: int) -> tuple[int, int]:
        """Height and width to which a style photo is brought for a picture with this longer side."""
        own = photo.shape[1:3]
        if self.style_scale is None:
            return sized(model, own, min(longer, max(own)), strict=False)
        return sized(model, own, max(1, round(positive("style_scale", self.style_scale) * longer)), strict=False)

    def _first(self, model: Model, photo: NDArray[Any], colours: Palette, size: tuple[int, int]) -> NDArray[Any]:
        """What the picture begins as."""
        if isinstance(self.start, str) and self.start == "content":
            return recoloured(cut(photo, size), colours, model.spec.bounds)
        if isinstance(self.start, str) and self.start == "noise":
            return coloured_noise(colours, size, self.seed)
        return cut(one_photo(model, self.start, "the start").images, size)

    def _content(self, model: Model, photo: NDArray[Any]) -> list[Target]:
        """The distances of the content layers, weighted alike."""
        layers = names_of("content_layers", self.content_layers) or (content_layer(model, photo.shape[1:3]),)
        found = features_of(model, photo, layers)
        return [Distance(name, found[name][0]) * (1 / len(layers)) for name in layers]
