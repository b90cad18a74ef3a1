"""What the tests of parameterisations run: images and their gradients, in any framework."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

import agnoscope as ag
from agnoscope.backends.reference import Conv, Network, Sigmoid
from agnoscope.optimisation.canvas import Canvas
from agnoscope.optimisation.parameterisations.base import Parameterisation
from agnoscope.optimisation.parameterisations.cppn import CPPN
from agnoscope.optimisation.parameterisations.fixed_magnitude import FixedMagnitude
from agnoscope.optimisation.parameterisations.fourier import Fourier
from agnoscope.optimisation.parameterisations.generator import Generator
from agnoscope.optimisation.parameterisations.pixels import Pixels
from agnoscope.optimisation.parameterisations.pyramid import Pyramid
from agnoscope.trees import mapped
from tests.explainers.synthesis.frameworks import demo, demo64

EACH: tuple[Parameterisation, ...] = (
    Pixels(deviation=0.1),
    Fourier(deviation=0.1),
    Fourier(deviation=0.1, decay=0.5, decorrelated=False),
    Pyramid(deviation=0.5),
    Pyramid(levels=2, deviation=0.5, decorrelated=False),
    CPPN(layers=3, width=8),
    FixedMagnitude(),
    FixedMagnitude(decay=0.5, contrast=2.0, decorrelated=False),
)
NAMES = [f"{each.name} {n}" for n, each in enumerate(EACH)]

CANVASES = (
    Canvas((8, 8)),
    Canvas((7, 5)),
    Canvas((6, 9), bounds=(-1.0, 2.0)),
    Canvas((9, 4), depth=1, coloured=False),
    Canvas((5, 6), depth=4, bounds=(0.0, 255.0), dtype="float64", coloured=False),
)
SHAPES = [f"{c.size[0]}x{c.size[1]}x{c.depth}" for c in CANVASES]


def generators(count: int, seed: int = 0) -> list[np.random.Generator]:
    return [np.random.default_rng([seed, i]) for i in range(count)]


def images(parameterisation: Parameterisation, canvas: Canvas, parameters: Any, model: ag.Model | None = None) -> Any:
    """The images of parameters, in a framework; by default the reference, in the canvas' dtype."""
    model = model or (demo() if canvas.dtype == "float32" else demo64())
    compiled = model.compile(_images, (parameterisation, canvas))
    return compiled(parameters, parameterisation.constants(canvas))["images"]


def gradient(parameterisation: Parameterisation, canvas: Canvas, parameters: Any, weights: Any) -> Any:
    """The gradient of the images' weighted sum, on the reference backend in float64."""
    compiled = demo64().compile(_gradient, (parameterisation, canvas))
    return compiled(parameters, {"weights": weights, "constants": parameterisation.constants(canvas)})


def moved(tree: Any, path: tuple[str, ...], place: tuple[int, ...], step: float) -> Any:
    """The tree with one number of one leaf changed."""
    if path:
        return {**tree, path[0]: moved(tree[path[0]], path[1:], place, step)}
    changed = np.array(tree)
    changed[place] += step
    return changed


def paths(tree: Any, before: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The ways to the leaves."""
    if isinstance(tree, Mapping):
        return [path for name, branch in tree.items() for path in paths(branch, (*before, name))]
    return [before]


def leaf(tree: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        tree = tree[name]
    return tree


@cache
def painter(depth: int = 3, dtype: str = "float32") -> Generator:
    """A generator in NumPy: of codes of 4 numbers, pictures of 3 × 3 pixels."""
    random = np.random.default_rng(7)
    kernel = random.normal(size=(3, 3, 4, depth)).astype(dtype)
    network = Network({"paint": Conv(kernel, random.normal(size=depth).astype(dtype), padding=2), "head": Sigmoid()})
    return Generator(ag.wrap(network, input_size=(1, 1), channels=4, bounds=(-2, 2)))


def taken(tree: Any, row: int) -> Any:
    """The parameters of one image."""
    return mapped(tree, lambda array: array[row : row + 1])


def _images(model: ag.Model, recipe: Any, parameters: Any, constants: Any) -> dict[str, Any]:
    parameterisation, canvas = recipe
    return {"images": parameterisation.images(model.xp, canvas, parameters, constants)}


def _gradient(model: ag.Model, recipe: Any, parameters: Any, given: Any) -> dict[str, Any]:
    parameterisation, canvas = recipe

    def total(tree: Any) -> tuple[Any, Any]:
        made = parameterisation.images(model.xp, canvas, tree, given["constants"])
        return model.xp.sum(made * given["weights"]), {}

    return model.value_and_grad(total)(parameters)[1]
