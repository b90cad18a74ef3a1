"""A generator prior: the code of a generator network is what steps move, and the images are what it makes of codes.

Whatever the steps do, the images look like those that the generator was trained to make (Nguyen et al., NIPS 2016,
DGN-AM). Any network that `agnoscope.wrap` takes will do: its "image" is the code, and its output the picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from agnoscope.errors import OptionError
from agnoscope.explainers.options import positive
from agnoscope.model import Model
from agnoscope.optimisation.canvas import Canvas
from agnoscope.optimisation.parameterisations.base import Parameterisation, Tree, resized_planes
from agnoscope.patches import Array


@final
@dataclass(frozen=True)
class Generator(Parameterisation):
    """The code of a generator network (Nguyen et al., NIPS 2016).

    For a decoder of 128 numbers between -3 and 3:
    `Generator(ag.wrap(decoder, input_size=(1, 1), channels=128, bounds=(-3, 3)))`. As the authors do, take steps along
    the gradient divided by its size, such as `Ascent(0.02, momentum=0.9)`; starts differ in how far they get.

    Attributes:
        network: a wrapped network of the same framework as the explained one, from codes of its own input size and
            channels, within its own bounds, to pictures; an image of red, green and blue where those are explained. Its
            pictures are resized to the canvas.
        range: lowest and highest value of its pictures; what lies beyond is cut off.
        deviation: of the normally distributed code to begin with.
        decay: by which the code is multiplied after each step, above 0 and at most 1; so it stays near its mean.

    Raises:
        OptionError: `network` is not wrapped or makes no pictures, or an option is out of range.
    """

    name = "generator"

    network: Model
    range: tuple[float, float] = (0.0, 1.0)
    deviation: float = 1.0
    decay: float = 0.99

    def __post_init__(self) -> None:
        if not isinstance(self.network, Model) or self.network.spec.size is None:
            raise OptionError(
                "Generator(network) takes a wrapped network whose image is the code: "
                "ag.wrap(decoder, input_size=(1, 1), channels=128, bounds=(-3, 3)) for a code of 128 numbers."
            )
        if len(self._picture) != 3:
            raise OptionError(
                f"The generator's output has the shape {self._picture}, which is no picture of height, width, channels."
            )
        if not (np.isfinite(self.range).all() and self.range[0] < self.range[1]):
            raise OptionError(f"range={self.range!r} must hold the lowest and the highest value of a picture.")
        positive("deviation", self.deviation, or_zero=True)
        if not 0 < positive("decay", self.decay) <= 1:
            raise OptionError(f"decay={self.decay!r} must lie above 0, and be at most 1.")

    @property
    def _picture(self) -> tuple[int, ...]:
        """The shape of its output without the batch."""
        return self.network.outline().scores

    def start(self, canvas: Canvas, generators: Sequence[np.random.Generator]) -> Tree:
        if self._picture[-1] != canvas.depth:
            raise OptionError(
                f"The generator's pictures have {self._picture[-1]} channels, and the explained network takes "
                f"{canvas.depth}."
            )
        shape = (*self.network.spec.size_or(None), self.network.spec.depth)
        code = self.deviation * np.stack([g.normal(size=shape) for g in generators])
        return {"code": np.clip(code, *self.network.spec.bounds).astype(canvas.dtype)}

    def images(self, xp: Any, canvas: Canvas, parameters: Tree, constants: Tree) -> Array:  # noqa: ARG002
        if xp is not self.network.xp:
            raise OptionError(
                f"The generator is a {self.network.backend} network, and the explained one is of another framework: "
                "both must be of the same."
            )
        low, high = self.range
        code = parameters["code"]
        pictures = xp.astype(self.network.run(code, ("output",))["output"], code.dtype)
        planes = resized_planes(xp, xp.permute_dims(pictures, (0, 3, 1, 2)), canvas.size)
        share = xp.maximum(xp.minimum((planes - low) / (high - low), xp.ones_like(planes)), xp.zeros_like(planes))
        return xp.permute_dims(canvas.bounds[0] + canvas.span * share, (0, 2, 3, 1))

    def kept(self, canvas: Canvas, parameters: Tree) -> Tree:
        return {"code": np.clip(self.decay * parameters["code"], *self.network.spec.bounds).astype(canvas.dtype)}
