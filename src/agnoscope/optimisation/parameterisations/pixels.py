"""The image's own pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.explainers.options import positive
from agnoscope.optimisation.canvas import Canvas
from agnoscope.optimisation.parameterisations.base import Parameterisation, Tree
from agnoscope.patches import Array


@final
@dataclass(frozen=True)
class Pixels(Parameterisation):
    """The pixels themselves, cut off at the bounds after each step.

    Attributes:
        deviation: of the noise around gray to begin with, as a share of the span between the bounds.
        uniform: whether that noise is uniform, between -`deviation` and `deviation`, rather than normal.

    Raises:
        OptionError: the deviation is below 0, or none.
    """

    name = "pixels"

    deviation: float = 0.01
    uniform: bool = False

    def __post_init__(self) -> None:
        positive("deviation", self.deviation, or_zero=True)

    def start(self, canvas: Canvas, generators: Sequence[np.random.Generator]) -> Tree:
        shape = (*canvas.size, canvas.depth)
        noise = np.stack([g.uniform(-1, 1, shape) if self.uniform else g.normal(size=shape) for g in generators])
        return self.of(canvas, canvas.middle + self.deviation * canvas.span * noise)

    def images(self, xp: Any, canvas: Canvas, parameters: Tree, constants: Tree) -> Array:  # noqa: ARG002
        return parameters["pixels"]

    def of(self, canvas: Canvas, images: NDArray[Any]) -> Tree:
        return {"pixels": np.clip(images, *canvas.bounds).astype(canvas.dtype)}

    def kept(self, canvas: Canvas, parameters: Tree) -> Tree:
        return {"pixels": np.clip(parameters["pixels"], *canvas.bounds)}
