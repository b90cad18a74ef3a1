"""What a picture is to be like: the photo in its content, the style image in its manner, seen by a wrapped network.

    loss = content_weight · content + style_weight · style + penalties

Both distances are those that `StyleTransfer` lowers for one picture (Gatys, Ecker and Bethge, CVPR 2016), on the same
layers; here the photo is another one at every step.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.explainers.synthesis.style import Statistics, Style, content_layer, names_of
from agnoscope.model import Model
from agnoscope.optimisation.canvas import Canvas
from agnoscope.optimisation.regularisers import Penalty
from agnoscope.patches import Array
from agnoscope.target import Bound, Formula, side_by_side
from agnoscope.targets.features import Distance

PARTS: Final = ("content", "style", "penalties")


@final
@dataclass(frozen=True)
class Content:
    """How far pictures are from their photos' features; equal ones share compiled programs.

    Attributes:
        layers: names of the layers that see it, each with the formula of the distance.
    """

    layers: tuple[tuple[str, Formula], ...]

    @classmethod
    def of(cls, model: Model, size: tuple[int, int], names: tuple[str, ...]) -> Self:
        """Seen by these layers, or by one chosen for the network.

        Raises:
            LayerError: the network has no such layer.
        """
        names = names_of("content_layers", names) or (content_layer(model, size),)
        found = [model.layer(name, size) for name in names]
        # The features are each photo's own: of a target that is bound to others the formula will do.
        targets = [(layer.name, Distance(layer.name, np.ones(layer.shape))) for layer in found]
        return cls(tuple((name, target.bind(model, 1, size).formula) for name, target in targets))

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the layers."""
        return tuple(name for name, _ in self.layers)

    def __call__(self, xp: Any, values: Mapping[str, Array], photos: Mapping[str, Array]) -> Array:
        """The mean distance over the layers, shape (images,); compiled.

        Args:
            xp: the array namespace.
            values: what the run on the pictures captured.
            photos: what that on the photos captured.
        """
        total = 0.0
        for name, formula in self.layers:
            features = photos[name]
            length = xp.sum(xp.square(features), axis=tuple(range(1, len(features.shape))))
            total = total + formula(xp, values, {"features": features, "length": length})
        return total / len(self.layers)


@final
@dataclass(frozen=True)
class Loss:
    """The loss of pictures; equal ones share compiled programs.

    Attributes:
        canvas: what the pictures are painted on.
        content: distance from the photos.
        style: distance from the style images.
        weights: of content and style.
        penalties: what pictures are to have little of.
    """

    canvas: Canvas
    content: Content
    style: Formula
    weights: tuple[float, float]
    penalties: tuple[Penalty, ...] = ()

    @property
    def needs(self) -> tuple[str, ...]:
        """What is captured of the run on the pictures."""
        own = (*self.content.needs, *self.style.needs)
        return tuple(dict.fromkeys((*own, *(name for penalty in self.penalties for name in penalty.needs))))

    def __call__(
        self, xp: Any, images: Array, values: Mapping[str, Array], photos: Mapping[str, Array], style: Mapping[str, Any]
    ) -> dict[str, Array]:
        """The weighted parts of the loss, shape (images,) each; compiled.

        Args:
            xp: the array namespace.
            images: the pictures, shape (images, height, width, channels).
            values: what the run on them captured.
            photos: what the run on the photos captured.
            style: the bound style's arrays for each picture.
        """
        style_distance = self.style(xp, values, style)
        penalties = [
            xp.asarray(p.weight, dtype=images.dtype) * p(xp, self.canvas, images, values) for p in self.penalties
        ]
        return {
            "content": self.content(xp, values, photos) * self.weights[0],
            "style": style_distance * self.weights[1],
            "penalties": sum(penalties, start=xp.zeros_like(style_distance)),
        }


def styles_of(
    model: Model,
    images: NDArray[Any],
    side: int,
    layers: tuple[str, ...],
    weights: tuple[float, ...],
    statistics: Statistics,
) -> tuple[Bound, tuple[str, ...]]:
    """How far a picture is from each style image's manner, one after the other, and the layers that see it.

    Args:
        model: the network.
        images: of the styles, shape (styles, height, width, channels).
        side: shorter side of what the smallest of them shows, in pixels.
        layers: names of layers; none to choose them for the network.
        weights: of the layers; none for equal ones.
        statistics: what is compared, mean and "covariance", or "gram".

    Raises:
        LayerError: the network has no such layer, or it has no map.
        ImageError: a layer's unit sees more than the style images hold.
        OptionError: the weights, or what is compared, are unknown.
        TargetError: nothing is active in a layer.
    """
    style = Style(names_of("style_layers", layers), weights, statistics).settled(model, side)
    each = [style.distance(model, [image[None]], [1.0]) for image in images]
    return side_by_side(each, model, images.shape[1:3]), style.layers
