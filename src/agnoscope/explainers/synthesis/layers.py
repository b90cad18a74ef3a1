"""Layers that methods choose by themselves, and how far a layer's map allows a photo to be moved."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from agnoscope.errors import LayerError, OptionError
from agnoscope.model import Layer, Model
from agnoscope.optimisation.transformations import Jitter, Scale, Views

LATE: Final = 0.8
"""How far through the network a late layer lies, which knows things rather than textures."""

COARSEST: Final = 7
"""A map of fewer places a side, or no map at all, allows for no larger shifts than one of so many."""


def dream_layer(model: Model, size: tuple[int, int]) -> str:
    """Name of the layer two thirds of the way through the ReLUs with a map, or else through all maps.

    Raises:
        LayerError: no layer has a map.
    """
    maps = _maps(model, size)
    chosen = [layer for layer in maps if layer.kind == "relu"] or maps
    return chosen[len(chosen) * 2 // 3].name


def layer_at(model: Model, size: tuple[int, int], share: float) -> str:
    """Name of the layer this far through the blocks, or else the ReLUs, or else all maps.

    Args:
        model: the network.
        size: height and width of the image.
        share: from 0, the first one, to below 1.

    Raises:
        LayerError: no layer has a map.
    """
    wholes = _wholes(_maps(model, size))
    return wholes[int(len(wholes) * share)].name


def spread_layers(model: Model, size: tuple[int, int], count: int = 5) -> tuple[str, ...]:
    """Names of blocks, or else ReLUs, or else maps, evenly far apart up to the end of the last convolutional stage.

    Raises:
        LayerError: no layer has a map.
    """
    maps, last = _maps(model, size), model.last_map(size).name
    names = [layer.name for layer in _wholes(maps[: [layer.name for layer in maps].index(last) + 1])]
    return tuple(dict.fromkeys(names[i] for i in np.linspace(0, len(names) - 1, count).round().astype(int)))


def views_of(asked: Any, model: Model, layers: Sequence[str], size: tuple[int, int]) -> Views | None:
    """The views asked for; those of `fitting_views` for "fitting".

    Raises:
        OptionError: they are neither `Views`, "fitting" nor None.
    """
    if isinstance(asked, str) and asked == "fitting":
        return fitting_views(model, layers, size)
    if asked is None or isinstance(asked, Views):
        return asked
    raise OptionError(f"views={asked!r} must be Views(...), 'fitting', or None for the image as it is.")


def fitting_views(model: Model, layers: Sequence[str], size: tuple[int, int]) -> Views:
    """Random views, shifted and scaled by up to a quarter of the distance between two places of a layer's map.

    The map of a photo that is not moved still holds for them.

    Args:
        model: the network.
        layers: names of layers, "scores" or "output"; the finest map counts.
        size: height and width of the image.
    """
    known = model.layers(size)
    maps = [known[name] for name in layers if name in known and known[name].spatial]
    places = max([COARSEST, *((layer.grid or layer.shape)[0] for layer in maps)])
    reach = size[0] / places / 4
    magnified = 2 * reach / max(size)
    return Views((Jitter(2 * int(reach)), Scale(1 - magnified, 1 + magnified)), border="mirror", sampling="linear")


def _maps(model: Model, size: tuple[int, int]) -> list[Layer]:
    maps = [layer for layer in model.layers(size).values() if layer.spatial and layer.kind != "pool"]
    if not maps:
        raise LayerError(
            "No layer of this network has a map (height, width, channels) of which one could be chosen: name a layer; "
            "model.layers() lists them."
        )
    return maps


def _wholes(maps: Sequence[Layer]) -> list[Layer]:
    """The blocks among layers, or else the ReLUs, or else all of them."""
    for kind in ("block", "relu"):
        if found := [layer for layer in maps if layer.kind == kind]:
            return found
    return list(maps)
