"""What of a photo is its style: how the channels of a few layers vary together, wherever that is in the photo.

Textures and style transfer compare means and covariances, or Gram matrices, which know nothing of places. They mean
something only for layers whose units see a part of the photo and not all of it; how much they see is measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, Self, TypeAlias, final, get_args

import array_api_compat.numpy as host
import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import ImageError, LayerError, OptionError
from agnoscope.explainers.options import positive
from agnoscope.explainers.synthesis.base import Plan
from agnoscope.explainers.synthesis.photos import GRIDS, check_size, resized, takes
from agnoscope.explainers.synthesis.receptive_fields import receptive_fields
from agnoscope.explainers.synthesis.sizes import size_of
from agnoscope.images import Batch, ImageLike, load
from agnoscope.model import Layer, Model
from agnoscope.synthesis import Synthesis
from agnoscope.target import Sum, Target
from agnoscope.targets.features import CovarianceDistance, GramDistance, features_of, gram_matrix, moments

Statistics: TypeAlias = Literal["covariance", "gram"]

LAYERS: Final = 8
"""How many layers tell a style by default."""

TRIM: Final = 1.1
"""A change of proportions that is worth a note; multiples of 32 change them a little."""

NEAR: Final = 1e-6
"""A loss that counts as none: gradients of rounding errors are not to be followed."""


def one_photo(model: Model, image: ImageLike, what: str) -> Batch:
    """A photo at its own size.

    Args:
        model: the network.
        image: the photo.
        what: it is, for messages, and as its name where it comes from no file.

    Raises:
        ImageError: it cannot be read, does not fit, or is not one alone.
    """
    batch = load(image, replace(model.spec, size=None), model.dtype)
    if len(batch.images) > 1:
        raise ImageError(f"{len(batch.images)} images were given as {what}: give one of them.")
    return batch if batch.names[0] != "image 1" else replace(batch, names=(what,))


def sized(model: Model, own: tuple[int, int], longer: int, strict: bool) -> tuple[int, int]:
    """The proportions of a photo at this longer side, or as near to that as the network takes.

    Args:
        model: the network.
        own: height and width of the photo.
        longer: side in pixels.
        strict: whether a network that takes other sizes than these, or multiples of 8, 16 or 32 near it, is refused.

    Raises:
        ModelError: the network takes neither.
    """
    wanted = _part(own, longer / max(own))
    found = next((size for size in _near(wanted) if takes(model, size)), None)
    if found is None and (strict or model.spec.size is None):
        check_size(model, wanted)
    return found or size_of(model, None)


def trimmed(own: tuple[int, int], size: tuple[int, int]) -> tuple[str, ...]:
    """A note where a photo lost its edges because the network takes one size only."""
    share = own[0] / own[1] / (size[0] / size[1])
    if max(share, 1 / share) < TRIM:
        return ()
    return (f"The network takes {size[0]} × {size[1]} pixels only: of the photo's {own[0]} × {own[1]}, the middle.",)


def scales_of(scales: int) -> list[float]:
    """The factors of so many scales, each twice the one before, up to 1."""
    return [0.5**k for k in reversed(range(scales))]


def scaled(model: Model, size: tuple[int, int], factor: float) -> tuple[int, int] | None:
    """About this part of a size, or None where the network takes nothing near it that is smaller than the whole."""
    if factor == 1:
        return size
    smaller = (each for each in _near(_part(size, factor)) if max(each) < max(size))
    return next((each for each in smaller if takes(model, each)), None)


def _part(size: tuple[int, int], factor: float) -> tuple[int, int]:
    height, width = (max(1, round(side * factor)) for side in size)
    return height, width


def _near(size: tuple[int, int]) -> list[tuple[int, int]]:
    """A size, and those nearest to it that are multiples of 8, 16 or 32."""
    height, width = size
    return [(max(g, round(height / g) * g), max(g, round(width / g) * g)) for g in (1, *GRIDS)]


def cut(images: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """The middle of images, as much of it as has the proportions wanted, at the size wanted; nothing is distorted.

    Args:
        images: shape (images, height, width, channels).
        size: height and width wanted.
    """
    height, width = images.shape[1:3]
    share = min(height / size[0], width / size[1])
    rows, columns = max(1, round(share * size[0])), max(1, round(share * size[1]))
    top, left = (height - rows) // 2, (width - columns) // 2
    return resized(images[:, top : top + rows, left : left + columns], size)


@final
@dataclass(frozen=True)
class Style:
    """What is compared, and with which weights.

    Attributes:
        layers: whose channels are compared; none to choose them for the photos.
        weights: of the layers; none for equal ones.
        statistics: mean and "covariance", or "gram".
    """

    layers: tuple[str, ...]
    weights: tuple[float, ...]
    statistics: Statistics

    def settled(self, model: Model, side: int) -> Self:
        """The same with its layers chosen, or whole names of them, and all its weights.

        Args:
            model: the network.
            side: shorter side of the smallest photo in pixels.

        Raises:
            LayerError: these are no names, or there is no such layer, or none with a map.
            ImageError: a layer's receptive field is larger than the photo.
            OptionError: the weights, or what is compared, are unknown.
        """
        if self.statistics not in get_args(Statistics):
            raise OptionError(f"statistics={self.statistics!r} is unknown: use 'covariance' or 'gram'.")
        layers = style_layers(model, self.layers, side)
        return replace(self, layers=layers, weights=weights_of("layer_weights", self.weights, len(layers)))

    def within(self, model: Model, side: int) -> Self | None:
        """Those layers of which a unit sees at most half of a smaller photo; None where none is left."""
        fields = receptive_fields(model)
        kept = [(n, w) for n, w in zip(self.layers, self.weights, strict=True) if 2 * fields[n] <= side and w]
        if not kept:
            return None
        names, weights = zip(*kept, strict=True)
        return replace(self, layers=names, weights=weights)

    def distance(self, model: Model, photos: Sequence[NDArray[Any]], shares: Sequence[float]) -> Target:
        """How far an image is from the photos' style, a mean over layers.

        Args:
            model: the network.
            photos: shape (1, height, width, channels) each, of sizes that the network takes.
            shares: of each photo in the style.

        Raises:
            NonFiniteError: a layer gives NaN or infinity for a photo.
        """
        found = [features_of(model, photo, self.layers) for photo in photos]

        def blend(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
            return np.asarray(np.average([part[0].astype(np.float64) for part in parts], axis=0, weights=shares))

        def distance(name: str) -> Target:
            if self.statistics == "gram":
                return GramDistance(name, blend([gram_matrix(np, each[name]) for each in found]))
            means, covariances = zip(*(moments(np, each[name]) for each in found), strict=True)
            return CovarianceDistance(name, blend(means), blend(covariances))

        total = sum(self.weights)
        return Sum(
            tuple((distance(name), weight / total) for name, weight in zip(self.layers, self.weights, strict=True))
        )


def style_layers(model: Model, asked: Sequence[str], side: int) -> tuple[str, ...]:
    """The layers asked for, or eight ReLUs from the first to the last one of which a unit sees half of a photo.

    Deeper ones have too few places in the photo for their covariances to mean anything. A network without ReLUs gives
    its other activations, or else whatever has a map.

    Args:
        model: the network.
        asked: names of layers; none to choose them here.
        side: shorter side of the photo in pixels.

    Raises:
        LayerError: there is no such layer, or none with a map.
        ImageError: a layer's receptive field is larger than the photo.
    """
    size = size_of(model, None)
    fields = receptive_fields(model)
    names = [model.layer(name, size).name for name in asked]
    for name in names:
        if name not in fields:
            raise LayerError(f"The layer {name!r} has no map, and so no style: ask for an earlier one.")
        if fields[name] > side:
            fitting = [known for known, field in fields.items() if field <= side]
            told = f"layers up to {fitting[-1]!r} see less" if fitting else "every layer sees more"
            raise ImageError(
                f"A unit of the layer {name!r} sees {fields[name]:.0f} pixels, and the style photo has {side} on its "
                f"shorter side: give a larger photo, or earlier layers; {told}."
            )
    if names:
        return tuple(names)
    maps = [layer for layer in model.layers(size).values() if layer.name in fields]
    usual = [layer.name for layer in _voices(maps) if 2 * fields[layer.name] <= side]
    if not usual:
        raise ImageError(
            f"A style photo of {side} pixels on its shorter side is smaller than what two units of any layer see: give "
            "a larger one."
        )
    places = np.linspace(0, len(usual) - 1, min(LAYERS, len(usual)))
    return tuple(usual[round(place)] for place in places)


def names_of(option: str, given: Any) -> tuple[str, ...]:
    """The names of layers that an option gives.

    Raises:
        LayerError: it gives none, such as a name alone.
    """
    if not isinstance(given, tuple | list) or not all(isinstance(name, str) for name in given):
        one = given if isinstance(given, str) else "relu1"
        raise LayerError(f"{option}={given!r} must be names of layers, such as ({one!r},): model.layers() lists them.")
    return tuple(given)


def seen_side(own: tuple[int, int], size: tuple[int, int], enlarged: bool) -> int:
    """Shorter side of what a style photo shows, in pixels; enlarging it shows no more unless that was asked for.

    Args:
        own: height and width of the photo.
        size: height and width to which it is brought.
        enlarged: whether it was asked for.
    """
    return min(size) if enlarged else min(*own, *size)


def content_layer(model: Model, size: tuple[int, int]) -> str:
    """The last ReLU, or other layer with a map, of about an eighth of the image's sides: Gatys' choice in VGG.

    Args:
        model: the network.
        size: height and width of the image.
    """
    maps = [layer for layer in model.layers(size).values() if layer.spatial and layer.grid is None]
    fine = [layer for layer in maps if all(12 * a > b for a, b in zip(layer.shape, size, strict=False))]
    return (_voices(fine) or [model.last_map(size)])[-1].name


def _voices(maps: Sequence[Layer]) -> list[Layer]:
    """Those of the layers in which features are either there or not."""
    for kinds in (("relu",), ("activation",), ("block", "add", "conv")):
        if found := [layer for layer in maps if layer.kind in kinds]:
            return found
    return list(maps)


def carried_on(first: NDArray[Any], before: NDArray[Any] | None) -> NDArray[Any]:
    """A `Begin`: a first image, and whatever the stage before made of it at its own scale, enlarged.

    Args:
        first: at this stage's size, shape (1, height, width, channels).
        before: with which the stage before ended; None at first.
    """
    return first if before is None else first + resized(before - cut(first, before.shape[1:3]), first.shape[1:3])


def met(scores: NDArray[Any]) -> NDArray[Any]:
    """An `Until`: there is no loss left that could be told from rounding errors."""
    return scores > -NEAR


def with_distances(model: Model, plan: Plan, made: Synthesis) -> Synthesis:
    """The result with each distance that was asked for, named after its layer; they are shares of the photos' own."""
    bound = next(stage.target for stage in plan.stages if stage.canvas.size == made.images.shape[1:3])
    values = features_of(model, made.images, bound.needs)
    return replace(made, extras={term.names[0]: np.asarray(term(host, values)) for term in bound.terms})


def weights_of(option: str, given: Sequence[float], count: int) -> tuple[float, ...]:
    """As many weights as wanted, equal ones by default.

    Raises:
        OptionError: their number is another one, one is below zero, or all are zero.
    """
    if given == ():
        return (1.0,) * count
    if not isinstance(given, tuple | list) or len(given) != count:
        raise OptionError(f"{option}={given!r} must hold {count} numbers.")
    found = tuple(positive(option, number, or_zero=True) for number in given)
    if not any(found):
        raise OptionError(f"{option}={given!r} must not all be zero.")
    return found
