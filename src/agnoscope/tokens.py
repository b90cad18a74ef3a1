"""Vision transformers: which layers are lists of tokens, where each lies in the image, and which layer matters.

A layer of shape (tokens, channels) is a map if its tokens are the patches of the image, row by row, after a few that
stand for no place: the class token and registers. Shapes alone tell: no framework and no architecture is looked at.
"""

from collections.abc import Iterator
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from agnoscope.model import Layer, Model, Outline
    from agnoscope.patches import Array

MOST_SKIPPED: Final = 16
"""A class token, one for distillation and registers are fewer."""

PATCHES: Final = range(4, 65)
"""Sides of a patch in pixels, for networks that cut the image without a convolution."""

PROBED: Final = 8
"""How many of the last layers are tried for whether the answer depends on their patches."""

MOVED: Final = 1e-4
"""A change of the scores, as a share of the largest, that is no rounding."""


def with_grids(outline: "Outline", size: tuple[int, int]) -> "Outline":
    """The outline with the grid of every layer of tokens filled in.

    A layer of shape (tokens, channels) has the grid of an earlier map of a convolution (the patch embedding) if its
    tokens are as many, after at most 16 that stand for no place. Without such a map the grid is that of square
    patches of 4 to 64 pixels, by which both sides of the image can be divided. The fewest skipped tokens win.

    Args:
        outline: as a backend recorded it.
        size: height and width of the image in pixels.
    """
    patches = [(size[0] // p, size[1] // p) for p in PATCHES if size[0] % p == size[1] % p == 0]
    maps: list[tuple[int, int]] = []  # the latest first
    layers = {}
    for name, layer in outline.layers.items():
        if layer.kind == "conv" and layer.spatial:
            maps.insert(0, layer.shape[:2])  # type: ignore[arg-type]
        grid = (_fit(layer.shape[0], maps) or _fit(layer.shape[0], patches)) if len(layer.shape) == 2 else None
        layers[name] = layer if grid is None else replace(layer, grid=grid)
    return replace(outline, layers=MappingProxyType(layers))


def _fit(tokens: int, maps: list[tuple[int, int]]) -> tuple[int, int, int] | None:
    """The first of the maps that leaves the fewest tokens over, as (height, width, tokens skipped)."""
    fitting = [(h, w, tokens - h * w) for h, w in maps if h * w > 1 and 0 <= tokens - h * w <= MOST_SKIPPED]
    return min(fitting, key=lambda grid: grid[2], default=None)


def as_map(xp: Any, activation: "Array", layer: "Layer") -> "Array":
    """A layer's activation, or what has its shape, as maps.

    Args:
        xp: the array namespace of the activation.
        activation: shape (images, height, width, channels), or (images, tokens, channels) at a layer with a grid.
        layer: whose it is.

    Returns:
        Shape (images, height, width, channels); the tokens that stand for no place are left out.
    """
    if layer.grid is None:
        return activation
    height, width, skipped = layer.grid
    return xp.reshape(activation[:, skipped:, :], (activation.shape[0], height, width, activation.shape[-1]))


def last_tokens(model: "Model", size: tuple[int, int]) -> "Layer | None":
    """The last normalised list of tokens on whose patches the answer depends; None if the network ends in maps.

    Where a class token gives the answer, what the last block makes of the other tokens is never read; the
    normalisation at its entry is then the last layer that matters.

    Args:
        model: the network.
        size: height and width of the image in pixels.
    """
    layers = list(model.layers(size).values())
    tokens = [layer for layer in layers if layer.grid is not None]
    last_conv = max((i for i, layer in enumerate(layers) if layer.kind == "conv" and layer.spatial), default=-1)
    if not tokens or layers.index(tokens[-1]) < last_conv:
        return None
    tokens = [layer for layer in tokens if layer.kind == "norm"] or tokens
    tokens = [layer for layer in tokens if layer.grid == tokens[-1].grid][-PROBED:]
    if "patch" not in model.can:
        return tokens[-1]
    low, high = np.clip(model.spec.bounds, -1e3, 1e3)  # bounds may be infinite
    image = np.random.default_rng(0).uniform(low, high, (1, *size, model.spec.depth))
    scores = model.compile(_probe_program, tuple(tokens))(np.repeat(image, len(tokens) + 1, axis=0))["scores"]
    scores = scores.reshape(len(scores), -1)
    moved = np.abs(scores[1:] - scores[0]).max(axis=1) > MOVED * np.abs(scores[0]).max()
    return next((layer for layer, moves in zip(tokens[::-1], moved[::-1], strict=True) if moves), tokens[0])


def _probe_program(model: "Model", layers: tuple["Layer", ...], images: "Array") -> dict[str, "Array"]:
    """Scores of one image as it is, and once for each layer with the patches of that layer negated."""
    return model.run(images, ("scores",), dict(_probes(model.xp, layers)))


def _probes(xp: Any, layers: tuple["Layer", ...]) -> Iterator[tuple[str, Any]]:
    for i, layer in enumerate(layers, start=1):
        assert layer.grid is not None  # noqa: S101

        def negated(activation: "Array", i: int = i, skipped: int = layer.grid[2]) -> "Array":
            mine = xp.arange(activation.shape[0])[:, None, None] == i
            patches = xp.arange(activation.shape[1])[None, :, None] >= skipped
            return xp.where(xp.logical_and(mine, patches), -activation, activation)

        yield layer.name, negated
