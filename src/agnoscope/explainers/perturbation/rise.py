"""RISE: show the image through random masks and add up the masks, each by the score it lets through."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.arrays import resize_matrix
from agnoscope.batches import chunks
from agnoscope.errors import OptionError
from agnoscope.explainers.base import Attribution, ImageByImage, OneImage
from agnoscope.explainers.fillings import Fill, check_fill, filling, hashable
from agnoscope.explainers.options import generator, share, whole
from agnoscope.model import Model
from agnoscope.patches import Array
from agnoscope.target import Formula


@final
@dataclass(frozen=True)
class RISE(ImageByImage):
    """Randomised input sampling for explanation (Petsiuk, Das and Saenko, BMVC 2018).

    A mask is a small grid of zeros and ones, drawn at random, enlarged bilinearly and shifted at random within a cell.
    The values are Σ score · mask / (samples · keep), the score to be expected where a pixel is shown; so only their
    differences within an image tell, and they are drawn less their mean. They have the shape (images, height, width).
    All images are seen through the same masks.

    Samples, grid and share are the paper's for VGG-16; it takes 8000 samples for ResNet-50, and explains a probability,
    which is `ClassScore(space="probability")` here.

    Attributes:
        samples: how many masks.
        grid: rows and columns of the small grid.
        keep: how likely a cell of it is shown, between 0 and 1.
        fill: what hides: "black", or whatever `agnoscope.explainers.fillings` knows.
        seed: of the masks.
    """

    name = "rise"
    reduction = "centred"

    samples: int = 4000
    grid: int = 7
    keep: float = 0.5
    fill: Fill = "black"
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "fill", hashable(self.fill))

    def settle(self, model: Model, size: tuple[int, int]) -> Self:
        whole("samples", self.samples)
        share("keep", self.keep)
        if whole("grid", self.grid) > min(size):
            raise OptionError(f"grid={self.grid} is more than the image {size} has pixels: make it smaller.")
        check_fill("fill", self.fill, model.spec, size)
        return self

    def looks(self, model: Model, size: tuple[int, int]) -> int:  # noqa: ARG002
        return self.samples

    def attribute_one(self, one: OneImage) -> Attribution:
        program = one.model.compile(_rise_program, one.target.formula)
        shown = filling(self.fill, one.image, one.model.spec)
        grids, shifts = self.draw(one.size)
        total = np.zeros(one.size)
        for rows, kept in chunks(self.samples, one.batch_size):
            counted = (np.arange(len(rows)) < kept).astype(np.float32)
            found = program(one.image[None], shown[None], grids[rows], shifts[rows], counted, one.arrays(len(rows)))
            total += found["total"]
            one.tick(int(rows[kept - 1]) + 1)
        return Attribution(total / (self.samples * self.keep), np.array(one.score))

    def draw(self, size: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The grids, shape (samples, grid, grid), and how far each is shifted up and left, shape (samples, 2)."""
        rng = generator(self.seed)
        shown = rng.random((self.samples, self.grid, self.grid), dtype=np.float32) < self.keep
        return shown.astype(np.float32), rng.integers(0, [ceil(n / self.grid) for n in size], (self.samples, 2))


def _rise_program(
    model: Model,
    formula: Formula,
    image: Array,
    filling: Array,
    grids: Array,
    shifts: Array,
    counted: Array,
    arrays: Mapping[str, Any],
) -> dict[str, Array]:
    xp = model.xp
    _, height, width, depth = image.shape
    count = grids.shape[0]
    # Rows of width × channels numbers: a mask that must be spread over the channels costs more than the network's
    # first layers.
    down, across = _enlarging(xp, grids, shifts[:, 0], height, 1), _enlarging(xp, grids, shifts[:, 1], width, depth)
    masks = xp.matmul(xp.matmul(down, grids), xp.matrix_transpose(across))
    shown, hidden = (xp.reshape(picture, (1, height, width * depth)) for picture in (image, filling))
    images = xp.reshape(hidden + masks * (shown - hidden), (count, height, width, depth))
    scores = counted * formula(xp, model.run(images, formula.needs), arrays)
    total = xp.matmul(xp.reshape(scores, (1, count)), xp.reshape(masks, (count, -1)))
    return {"total": xp.reshape(total, (height, width, depth))[..., 0]}


def _enlarging(xp: Any, grids: Array, shifts: Array, length: int, depth: int) -> Array:
    """For each grid the matrix that enlarges its rows to one cell more than an image of this length, and shifts them.

    Returns:
        Shape (samples, length · depth, grid), every row `depth` times.
    """
    cells = grids.shape[1]
    matrix = np.repeat(resize_matrix(cells, (cells + 1) * ceil(length / cells)), depth, axis=0)
    places = shifts[:, None] * depth + xp.arange(length * depth, dtype=shifts.dtype)[None, :]
    rows = xp.take(xp.asarray(matrix, dtype=grids.dtype), xp.reshape(places, (-1,)), axis=0)
    return xp.reshape(rows, (grids.shape[0], length * depth, cells))
