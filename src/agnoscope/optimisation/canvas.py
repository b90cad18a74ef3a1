"""What images are painted on."""

from dataclasses import dataclass
from typing import Self, final

from agnoscope.model import Model


@final
@dataclass(frozen=True)
class Canvas:
    """The images of a run: equal ones share compiled programs.

    Attributes:
        size: height and width in pixels.
        depth: how many channels.
        bounds: lowest and highest value of a pixel.
        dtype: "float32" or "float64".
        coloured: whether the channels are red, green and blue.
    """

    size: tuple[int, int]
    depth: int = 3
    bounds: tuple[float, float] = (0.0, 1.0)
    dtype: str = "float32"
    coloured: bool = True

    @classmethod
    def of(cls, model: Model, size: tuple[int, int]) -> Self:
        """The canvas of images of this size for a network."""
        spec = model.spec
        return cls(size, spec.depth, spec.bounds, model.dtype, spec.channels in ("RGB", "BGR"))

    @property
    def middle(self) -> float:
        """Half-way between the bounds: gray."""
        return (self.bounds[0] + self.bounds[1]) / 2

    @property
    def span(self) -> float:
        """From the lowest to the highest value."""
        return self.bounds[1] - self.bounds[0]
