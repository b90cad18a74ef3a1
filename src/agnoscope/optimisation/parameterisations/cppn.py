"""A compositional pattern-producing network: a small network that paints, pixel by pixel, from coordinates alone.

Its weights are what steps move. Since it knows nothing of pixels, its pictures are smooth, of any size, and have the
look of light painting (Stanley, 2007; Mordvintsev et al., Differentiable Image Parameterizations, Distill 2018).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.explainers.options import positive, whole
from agnoscope.optimisation.canvas import Canvas
from agnoscope.optimisation.parameterisations.base import Parameterisation, Tree
from agnoscope.optimisation.parameterisations.colours import squashed
from agnoscope.patches import Array

SIZES: Final = (0.628, 0.503)
"""Root mean squares of tanh and of its square over a normal distribution, which the layers divide by."""


@final
@dataclass(frozen=True)
class CPPN(Parameterisation):
    """Weights of a network from a pixel's coordinates to its colour (Mordvintsev et al., Distill 2018).

    Each layer is a product with a matrix of each image's own, then tanh and its square side by side; the last one ends
    in a sigmoid into the bounds. Layers and width are Lucid's, whose activation is the arc tangent, and whose images
    begin gray. Small steps suit it, such as `Adam(0.002)`; long ones end in a single colour.

    The weights paint at any size: `CPPN().images(np, replace(canvas, size=(2048, 2048)), run.parameters, {})`.

    Attributes:
        layers: hidden ones.
        width: of each, in numbers before the activation, which doubles them.
        deviation: of the values before the sigmoid to begin with; 0 is gray.

    Raises:
        OptionError: an option is out of range.
    """

    name = "cppn"

    layers: int = 8
    width: int = 24
    deviation: float = 1.0

    def __post_init__(self) -> None:
        whole("layers", self.layers)
        whole("width", self.width)
        positive("deviation", self.deviation, or_zero=True)

    def start(self, canvas: Canvas, generators: Sequence[np.random.Generator]) -> Tree:
        def layer(inputs: int, outputs: int, deviation: float) -> Tree:
            kernel = np.stack([g.normal(size=(inputs, outputs)) for g in generators]) * (deviation / np.sqrt(inputs))
            bias = np.zeros((len(generators), 1, outputs))
            return {"kernel": kernel.astype(canvas.dtype), "bias": bias.astype(canvas.dtype)}

        hidden = {f"layer {n}": layer(2 * self.width if n else 2, self.width, 1.0) for n in range(self.layers)}
        return {**hidden, "last": layer(2 * self.width, canvas.depth, self.deviation)}

    def images(self, xp: Any, canvas: Canvas, parameters: Tree, constants: Tree) -> Array:  # noqa: ARG002
        last = parameters["last"]
        x = xp.asarray(coordinates(canvas.size), dtype=last["bias"].dtype)[None, ...]
        for n in range(self.layers):
            layer = parameters[f"layer {n}"]
            x = xp.tanh(xp.matmul(x, layer["kernel"]) + layer["bias"])
            x = xp.concat([x / SIZES[0], x * x / SIZES[1]], axis=-1)
        values = xp.matmul(x, last["kernel"]) + last["bias"]
        return squashed(xp, canvas, xp.reshape(values, (-1, *canvas.size, canvas.depth)))


def coordinates(size: tuple[int, int]) -> NDArray[np.float64]:
    """Column and row of each pixel's centre, counted from the middle, shape (pixels, 2).

    The longer side goes from -√3 to √3, so that its coordinates have a deviation of 1.
    """
    row, column = (np.sqrt(3) * (2 * np.arange(side) + 1 - side) / max(size) for side in size)
    return np.stack(np.meshgrid(column, row), axis=-1).reshape(-1, 2)
