"""A Laplacian pyramid: steps that move coarse structure as easily as fine one.

The image is a sum of images of falling size, each enlarged to the whole. A step on a pixel of a coarse level moves a
whole region, so that colours and shapes settle as fast as texture (Burt and Adelson, 1983, for coding; Lucid for
visualisation).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import array_api_compat.numpy as host
import numpy as np
from numpy.typing import NDArray

from agnoscope.explainers.options import positive, whole
from agnoscope.optimisation.canvas import Canvas
from agnoscope.optimisation.parameterisations.base import Parameterisation, Tree, resized_planes
from agnoscope.optimisation.parameterisations.colours import painted, unpainted
from agnoscope.patches import Array


@final
@dataclass(frozen=True)
class Pyramid(Parameterisation):
    """A sum of enlarged levels, colours decorrelated, a sigmoid into the bounds. The defaults are Lucid's.

    Attributes:
        levels: how many, each half as high and wide as the one before, and at least one pixel; the first one has the
            size of the canvas.
        deviation: of the noise in each level to begin with.
        decorrelated: whether the colours are; of images of three colours only.

    Raises:
        OptionError: an option is out of range.
    """

    name = "pyramid"

    levels: int = 4
    deviation: float = 0.01
    decorrelated: bool = True

    def __post_init__(self) -> None:
        whole("levels", self.levels)
        positive("deviation", self.deviation, or_zero=True)

    def start(self, canvas: Canvas, generators: Sequence[np.random.Generator]) -> Tree:
        def noise(size: tuple[int, int]) -> NDArray[Any]:
            drawn = np.stack([g.normal(size=(canvas.depth, *size)) for g in generators])
            return (self.deviation * drawn).astype(canvas.dtype)

        return {name: noise(size) for name, size in self._sizes(canvas).items()}

    def images(self, xp: Any, canvas: Canvas, parameters: Tree, constants: Tree) -> Array:  # noqa: ARG002
        levels = [resized_planes(xp, parameters[name], canvas.size) for name in self._sizes(canvas)]
        return painted(xp, canvas, sum(levels[1:], start=levels[0]), self.decorrelated)

    def of(self, canvas: Canvas, images: NDArray[Any]) -> Tree:
        rest = unpainted(canvas, images, self.decorrelated)
        levels = {}
        for name, size in reversed(self._sizes(canvas).items()):
            # What the coarse level cannot hold is left to the finer ones; the first one holds everything.
            levels[name] = resized_planes(host, rest, size)
            rest = rest - resized_planes(host, levels[name], canvas.size)
        return {name: levels[name].astype(canvas.dtype) for name in self._sizes(canvas)}

    def _sizes(self, canvas: Canvas) -> dict[str, tuple[int, int]]:
        """Name to height and width of each level, from the finest one on."""
        height, width = canvas.size
        return {f"level {n}": (max(height >> n, 1), max(width >> n, 1)) for n in range(self.levels)}
