"""What a scan compares images by: of a layer's activation the mean of each channel over the positions."""

from typing import Any

from agnoscope.model import Layer, Model
from agnoscope.patches import Array
from agnoscope.tokens import as_map


def in_positions(xp: Any, activation: Array, layer: Layer) -> Array:
    """A layer's activation as (images, positions, channels); a layer without axes has one position."""
    if layer.grid is not None:
        activation = as_map(xp, activation, layer)
    return xp.reshape(activation, (activation.shape[0], -1, activation.shape[-1]))


def feature_program(model: Model, layer: Layer, images: Array) -> dict[str, Array]:
    """The features of images at a layer, shape (images, channels), and what they are the means of."""
    activation = model.run(images, (layer.name,))[layer.name]
    mean = model.xp.mean(in_positions(model.xp, activation, layer), axis=1)
    return {"mean": mean, "map": as_map(model.xp, activation, layer)}
