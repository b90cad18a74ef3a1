"""A layer's features as a whole: their direction, their strength, and how far they are from given ones.

What optimised images ask for: a direction to visualise, strong activity to dream of, features to come near to for
inversion, and their correlations for texture and style.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from agnoscope.errors import NonFiniteError, TargetError
from agnoscope.images import ImageLike, load
from agnoscope.model import RESERVED, Layer, Model
from agnoscope.patches import Array
from agnoscope.target import Bound, Formula, Target
from agnoscope.targets.classes import pick
from agnoscope.targets.units import place_of


@final
@dataclass(frozen=True, eq=False)
class Direction(Target):
    """How much of a direction in the space of its channels a layer has, on average over its map or at one place.

    The inner product with the unit vector, times the cosine to a power: the power asks for the direction itself rather
    than for much of everything (Carter et al., Distill 2019).

    Attributes:
        layer: the layer's name.
        vector: finite numbers, one per channel, not all zero; its length does not matter.
        power: of the cosine, from 0 on; a cosine below 0.1 counts as 0.1.
        position: (row, column) of the map, or its "centre"; by default the mean over the whole map. Ignored in a layer
            without spatial axes.
    """

    layer: str
    vector: ArrayLike = field(repr=False)
    power: float = 0.0
    position: tuple[int, int] | Literal["centre"] | None = None

    def bind(self, model: Model, count: int, size: tuple[int, int]) -> Bound:
        layer = model.layer(self.layer, size)
        vector = _numbers(self.vector, "vector")
        if vector.shape != (layer.shape[-1],):
            raise TargetError(
                f"The vector has the shape {vector.shape}; layer {layer.name!r} has {layer.shape[-1]} channels."
            )
        length = np.linalg.norm(vector)
        if length == 0:
            raise TargetError("The vector is all zero, which has no direction.")
        if not isinstance(self.power, int | float | np.number) or not 0 <= self.power < float("inf"):
            raise TargetError(f"power={self.power!r} must be a finite number from 0 on.")
        arrays = {"vector": np.tile(vector / length, (count, 1)).astype(model.dtype)}
        name = f"a direction of {layer.name}"
        if self.position is not None:
            place, where = place_of(layer, None if self.position == "centre" else self.position)
            arrays, name = arrays | {"place": np.full(count, place, dtype=np.int32)}, name + where
        formula = Formula(_direction, (layer.name,), (layer.name, float(self.power), self.position is None))
        return Bound(formula, arrays, "activation", (name,) * count)


@final
@dataclass(frozen=True)
class Activity(Target):
    """The mean square of a layer's activation: DeepDream's objective (Mordvintsev, Olah and Tyka, 2015).

    Attributes:
        layer: the layer's name.
    """

    layer: str

    def bind(self, model: Model, count: int, size: tuple[int, int]) -> Bound:
        layer = model.layer(self.layer, size)
        formula = Formula(_activity, (layer.name,), (layer.name,))
        return Bound(formula, {}, "activation", (f"activity of {layer.name}",) * count)


@final
@dataclass(frozen=True, eq=False)
class Distance(Target):
    """The squared distance of a layer's activation from given features, as a share of their own squared length.

    0 where they are met; to come near, ask for `-Distance(...)` (Mahendran and Vedaldi, CVPR 2015).

    Attributes:
        layer: the layer's name, "scores" or "output".
        features: finite numbers of the layer's shape, or with a leading axis of one per image.
    """

    layer: str
    features: ArrayLike = field(repr=False)

    @classmethod
    def to(cls, model: Model, images: ImageLike, layer: str) -> "Distance":
        """The distance from what reference images give.

        Args:
            model: what `agnoscope.wrap` returned.
            images: one reference for all images, or several, one for each.
            layer: whose activation is taken, and compared later.

        Raises:
            ImageError: an image cannot be read or does not fit.
            LayerError: the network has no such layer.
        """
        batch = load(images, model.spec, model.dtype)
        found = features_of(model, batch.images, (layer,))[layer]
        return cls(layer, found[0] if len(found) == 1 else found)

    def bind(self, model: Model, count: int, size: tuple[int, int]) -> Bound:
        name, shape = _named(model, self.layer, size)
        features = _per_image(_numbers(self.features, "features"), shape, count, name)
        length = np.square(features.reshape(count, -1)).sum(axis=1)
        if not length.all():
            raise TargetError(f"The features of {name!r} are all zero: there is no distance in units of their length.")
        arrays = {"features": features.astype(model.dtype), "length": length.astype(model.dtype)}
        formula = Formula(_distance, (name,), (name,))
        return Bound(formula, arrays, "distance", (f"distance from features of {name}",) * count)


@final
@dataclass(frozen=True, eq=False)
class GramDistance(Target):
    """How far the correlations between a layer's channels are from given ones (Gatys, Ecker and Bethge, NIPS 2015).

    The squared difference of the Gram matrices, each divided by the number of places on its map, as a share of the
    given one's squared length: so maps of any size compare, and layers count alike.

    Attributes:
        layer: the layer's name.
        gram: shape (channels, channels), or with a leading axis of one per image; `gram_matrix` makes it.
    """

    layer: str
    gram: ArrayLike = field(repr=False)

    def bind(self, model: Model, count: int, size: tuple[int, int]) -> Bound:
        layer = _map_of(model, self.layer, size)
        channels = layer.shape[-1]
        gram = _per_image(_numbers(self.gram, "gram"), (channels, channels), count, layer.name)
        length = np.square(gram).sum(axis=(1, 2))
        if not length.all():
            raise TargetError(f"The Gram matrix of {layer.name!r} is all zero: nothing is active there.")
        arrays = {"gram": gram.astype(model.dtype), "length": length.astype(model.dtype)}
        formula = Formula(_gram_distance, (layer.name,), (layer.name,))
        return Bound(formula, arrays, "distance", (f"distance from correlations of {layer.name}",) * count)


@final
@dataclass(frozen=True, eq=False)
class CovarianceDistance(Target):
    """How far mean and covariance of a layer's channels are from given ones (Li et al., NIPS 2017).

    A Gram matrix holds the products of the means, which after a ReLU are nearly all of its length; here the mean and
    what varies about it count alike. Each is a squared distance as a share of the given one's squared length, so that
    maps of any size compare, and layers count alike.

    Attributes:
        layer: the layer's name.
        mean: shape (channels,), or with a leading axis of one per image.
        covariance: shape (channels, channels), or with a leading axis of one per image; `moments` makes both.
    """

    layer: str
    mean: ArrayLike = field(repr=False)
    covariance: ArrayLike = field(repr=False)

    def bind(self, model: Model, count: int, size: tuple[int, int]) -> Bound:
        layer = _map_of(model, self.layer, size)
        channels = layer.shape[-1]
        arrays: dict[str, NDArray[Any]] = {}
        for name, given, shape in (
            ("mean", self.mean, (channels,)),
            ("covariance", self.covariance, (channels, channels)),
        ):
            found = _per_image(_numbers(given, name), shape, count, layer.name)
            length = np.square(found.reshape(count, -1)).sum(axis=1)
            if not length.all():
                raise TargetError(f"The {name} of {layer.name!r} is all zero: nothing is active, or varies, there.")
            arrays |= {name: found.astype(model.dtype), f"{name} length": length.astype(model.dtype)}
        formula = Formula(_covariance_distance, (layer.name,), (layer.name,))
        return Bound(formula, arrays, "distance", (f"distance from covariances of {layer.name}",) * count)


def moments(xp: Any, activation: Array) -> tuple[Array, Array]:
    """The mean of each channel over a map, and the covariance between channels.

    Args:
        xp: the array namespace of the activation.
        activation: shape (images, ..., channels).

    Returns:
        Shapes (images, channels) and (images, channels, channels).
    """
    flat = xp.reshape(activation, (activation.shape[0], -1, activation.shape[-1]))
    mean = xp.mean(flat, axis=1)
    return mean, gram_matrix(xp, flat - mean[:, None, :])


def gram_matrix(xp: Any, activation: Array) -> Array:
    """The correlations between channels, averaged over a map; shape (images, channels, channels).

    Args:
        xp: the array namespace of the activation.
        activation: shape (images, ..., channels).
    """
    flat = xp.reshape(activation, (activation.shape[0], -1, activation.shape[-1]))
    return xp.matmul(xp.permute_dims(flat, (0, 2, 1)), flat) / flat.shape[1]


def features_of(model: Model, images: NDArray[Any], layers: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """What layers give for images that are ready, under the names asked for; the axis of the images leads.

    Args:
        model: the network.
        images: shape (images, height, width, channels), in the network's bounds.
        layers: names of layers, "scores" or "output".

    Raises:
        LayerError: the network has no such layer.
        NonFiniteError: a layer gives NaN or infinity; the scores may.
    """
    names = {asked: _named(model, asked, images.shape[1:3])[0] for asked in layers}
    found = model.compile(_features_program, tuple(dict.fromkeys(names.values())))(images)
    for name in found.keys() - set(RESERVED):
        if not np.isfinite(found[name]).all():
            raise NonFiniteError(
                f"The layer {name!r} gives NaN or infinity: look for NaN in the network's weights, or for numbers "
                "beyond its dtype."
            )
    return {asked: found[name] for asked, name in names.items()}


def _features_program(model: Model, names: tuple[str, ...], images: Array) -> dict[str, Array]:
    return model.run(images, names)


def _named(model: Model, layer: str, size: Any) -> tuple[str, tuple[int, ...]]:
    """The whole name, and the shape without the images."""
    if layer in RESERVED:
        return layer, model.outline(size).scores
    found: Layer = model.layer(layer, size)
    return found.name, found.shape


def _map_of(model: Model, layer: str, size: Any) -> Layer:
    found = model.layer(layer, size)
    if not found.spatial:
        raise TargetError(f"The layer {found.name!r} has no map whose channels could correlate.")
    return found


def _numbers(given: ArrayLike, what: str) -> NDArray[np.float64]:
    try:
        found = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TargetError(f"The {what} are no array of numbers: {error}.") from error
    if not np.isfinite(found).all():
        raise TargetError(f"The {what} must be finite numbers.")
    return found


def _per_image(found: NDArray[Any], shape: tuple[int, ...], count: int, name: str) -> NDArray[Any]:
    if found.shape not in (shape, (count, *shape)):
        raise TargetError(
            f"Numbers of shape {found.shape} were given for {name!r}: it takes {shape}, or {(count, *shape)} with one "
            "for each image."
        )
    return np.broadcast_to(found, (count, *shape))


def _direction(
    xp: Any, values: Mapping[str, Array], arrays: Mapping[str, Any], name: str, power: float, whole: bool
) -> Array:
    activation = values[name]
    flat = xp.reshape(activation, (activation.shape[0], -1, activation.shape[-1]))
    found = xp.sum(flat * arrays["vector"][:, None, :], axis=2)
    if power > 0:
        squared = xp.sum(flat * flat, axis=2)
        # A root has no slope at 0; a cosine below zero must not turn the product's sign.
        length = xp.sqrt(xp.where(squared > 0, squared, xp.ones_like(squared)))
        found = found * xp.maximum(found / length, xp.full_like(found, 0.1)) ** power
    return xp.mean(found, axis=1) if whole else pick(xp, found, arrays["place"])


def _activity(xp: Any, values: Mapping[str, Array], arrays: Mapping[str, Any], name: str) -> Array:  # noqa: ARG001
    activation = values[name]
    return xp.mean(xp.square(activation), axis=tuple(range(1, len(activation.shape))))


def _distance(xp: Any, values: Mapping[str, Array], arrays: Mapping[str, Any], name: str) -> Array:
    squared = xp.square(values[name] - arrays["features"])
    return xp.sum(squared, axis=tuple(range(1, len(squared.shape)))) / arrays["length"]


def _gram_distance(xp: Any, values: Mapping[str, Array], arrays: Mapping[str, Any], name: str) -> Array:
    return xp.sum(xp.square(gram_matrix(xp, values[name]) - arrays["gram"]), axis=(1, 2)) / arrays["length"]


def _covariance_distance(xp: Any, values: Mapping[str, Array], arrays: Mapping[str, Any], name: str) -> Array:
    mean, covariance = moments(xp, values[name])
    of_mean = xp.sum(xp.square(mean - arrays["mean"]), axis=1) / arrays["mean length"]
    return of_mean + xp.sum(xp.square(covariance - arrays["covariance"]), axis=(1, 2)) / arrays["covariance length"]
