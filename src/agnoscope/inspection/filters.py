"""Filters: the weights with which a layer looks at what it is given, as pictures.

The first layer of a network looks at colours, so its kernels are pictures themselves (Krizhevsky, Sutskever and
Hinton, "ImageNet Classification with Deep Convolutional Neural Networks", NeurIPS 2012, figure 3). A deeper kernel has
a slice for every channel that it is given; a slice is drawn in two colours around a white zero.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import LayerError
from agnoscope.explainers.options import whole
from agnoscope.explanation import save_picture
from agnoscope.inspection.kernels import kernel
from agnoscope.inspection.sheets import Sheet, Tile, as_html, as_png, one_of, strongest
from agnoscope.model import Model
from agnoscope.render.colour import Scale, paint, table
from agnoscope.render.look import SCALES, ScaleMode, check_number
from agnoscope.render.panels import Bar, readable
from agnoscope.render.text import Face

if TYPE_CHECKING:
    from PIL import Image

MOST: Final = 64
"""Filters that a picture shows; 12 of those that have slices."""

SLICED: Final = 12
"""Filters, one in a row, and slices of each that a picture of a deeper layer shows."""

MATRIX: Final = 768
"""Longer side in units of the picture of a kernel without height and width."""


@final
@dataclass(frozen=True, eq=False)
class Filters:
    """The kernel of one layer.

    Attributes:
        layer: its name.
        kernel: shape (height, width, channels in, channels out), or (in, out) of a dense layer; where a convolution has
            groups, channels in are those of a group.
        colours: whether it looks at red, green and blue, in this order.
    """

    layer: str
    kernel: NDArray[Any] = field(repr=False)
    colours: bool = False

    def __repr__(self) -> str:
        return f"Filters(of {self.layer}; {' × '.join(map(str, self.kernel.shape))}{', RGB' if self.colours else ''})"

    def __len__(self) -> int:
        return int(self.kernel.shape[-1])

    def draw(
        self, *, most: int | None = None, scale: ScaleMode = "shared", side: int | None = None, density: float = 1
    ) -> "Image.Image":
        """Draw the filters.

        Kernels that look at colours are pictures: -high becomes 0, 0 becomes 127.5 (gray) and high becomes 255, where
        high is the largest absolute weight. Depthwise and other kernels of one slice are drawn from blue over white
        (0) to red. Those of several slices get a row of slices each, and dense ones and those of 1 × 1 are one matrix,
        a row for each output.

        Args:
            most: how many filters are shown, those with the largest norms; by default 64, and 12 of those with
                slices, of which as many are shown, those with the largest norms over all filters. A matrix is shown
                whole.
            scale: "shared" is one scale for all filters, so that they can be compared; "own" one for each filter.
            side: longer side of a filter or slice in units, 8 to 512; by default 64, and 40 of slices.
            density: pixels per unit, 0.5 to 4.

        Raises:
            OptionError: an option is out of range.
        """
        one_of("scale", scale, SCALES)
        check_number("density", density, 0.5, 4)
        if side is not None:
            check_number("side", side, 8, 512)
        count = None if most is None else whole("most", most)
        if self._flat:
            sheet = self._matrix(scale, side)
        elif self.colours or self.kernel.shape[2] == 1:
            sheet = self._pictures(count or MOST, scale, side or 64)
        else:
            sheet = self._slices(count or SLICED, scale, side or 40)
        return sheet.draw(Face(density))

    def save(self, path: str | Path, **options: Any) -> Path:
        """Write the picture, whole or not at all.

        Args:
            path: ends in .png, .jpg or .webp.
            **options: of `draw`.

        Raises:
            FileError: the ending is another one, or the file cannot be written.
        """
        return save_picture(self.draw(**options), path)

    def _repr_png_(self) -> bytes:
        return as_png(self.draw())

    def _repr_html_(self) -> str:
        return as_html(self._repr_png_(), f"Filters of {self.layer}")

    @property
    def _flat(self) -> bool:
        """Whether the kernel has no height and width to draw."""
        return self.kernel.ndim == 2 or (self.kernel.shape[:2] == (1, 1) and not self.colours)

    @property
    def _kind(self) -> str:
        """The kernel's shape in words."""
        if self.kernel.ndim == 2:
            return f"dense, {len(self)} outputs of {self.kernel.shape[0]} inputs"
        height, width, inputs, outputs = self.kernel.shape
        return f"{outputs} filters of {height} × {width}, {inputs} {'channel' if inputs == 1 else 'channels'} in each"

    def _scale(self, number: int | None = None) -> Scale:
        """The scale of one filter or of all of them, equally far to both sides of 0."""
        high = float(np.abs(self.kernel if number is None else self.kernel[..., number]).max()) or 1.0  # all are 0
        return Scale(-high, high)

    def _tile(self, number: int, picture: NDArray[np.uint8], mode: ScaleMode) -> Tile:
        """A filter that is a picture; one of zeros is crossed out."""
        if not self.kernel[..., number].any():
            return Tile(picture, f"{number} zero", dead=True)
        return Tile(picture, f"{number}" if mode == "shared" else f"{number}: {readable(self._scale(number).high)}")

    def _picked(self, most: int) -> NDArray[np.intp]:
        """The filters that are shown: those with the largest norms, in order."""
        return np.sort(strongest(np.linalg.norm(self.kernel.reshape(-1, len(self)).astype(float), axis=0), most))

    def _shown(self, shown: int) -> str:
        return f"all {shown}" if shown == len(self) else f"the {shown} with the largest weights"

    def _pictures(self, most: int, mode: ScaleMode, side: int) -> Sheet:
        """Filters that are a picture each."""
        picked, colours = self._picked(most), table(diverging=True)
        tiles = []
        for number in picked.tolist():
            scale = self._scale(number if mode == "own" else None)
            one = self.kernel[..., number]
            painted = _as_colours(one, scale) if self.colours else paint(one[..., 0], scale, colours)
            tiles.append(self._tile(number, painted, mode))
        about = f"{self._kind} · {self._shown(len(picked))}"
        if zeros := sum(tile.dead for tile in tiles):
            about += f" · {zeros} of them {'is' if zeros == 1 else 'are'} zero everywhere"
        scale = self._scale()
        if mode == "own":
            middle = "gray" if self.colours else "white"
            about += f" · each on its own scale: {middle} is 0, and the ends are the number above it to both sides"
            return Sheet(tiles, self.layer, about, columns=12, side=side)
        if self.colours:
            high = readable(scale.high)
            about += f" · weights from -{high} to {high} drawn as 0 to 255, red, green and blue apart; gray is 0"
            ramp = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
            return Sheet(tiles, self.layer, about, Bar(ramp, scale, "weight, in each colour"), 12, side)
        return Sheet(tiles, self.layer, about, Bar(colours, scale, "weight; one scale for all"), 12, side)

    def _slices(self, most: int, mode: ScaleMode, side: int) -> Sheet:
        """A row for each filter, a column for each of the channels that it is given."""
        picked, colours = self._picked(most), table(diverging=True)
        inputs = self.kernel.shape[2]
        sizes = np.linalg.norm(np.moveaxis(self.kernel, 2, -1).reshape(-1, inputs).astype(float), axis=0)
        columns = np.sort(strongest(sizes, most)).tolist()
        tiles: list[Tile] = []
        for number in picked.tolist():
            scale = self._scale(number if mode == "own" else None)
            slices = [(channel, self.kernel[:, :, channel, number]) for channel in columns]
            tiles += [Tile(paint(one, scale, colours), f"{number}·{channel}") for channel, one in slices]
        given = f"all {inputs}" if len(columns) == inputs else f"the {len(columns)} largest of {inputs}"
        about = f"{self._kind} · {self._shown(len(picked))}, one in a row, with {given} slices: filter·channel"
        if mode == "own":
            return Sheet(tiles, self.layer, f"{about} · each filter on its own scale", columns=len(columns), side=side)
        bar = Bar(colours, self._scale(), "weight; one scale for all")
        return Sheet(tiles, self.layer, about, bar, len(columns), side)

    def _matrix(self, mode: ScaleMode, side: int | None) -> Sheet:
        """One picture, a row for each output and a column for each input."""
        matrix = self.kernel.reshape(-1, len(self)).T
        scale, colours = self._scale(), table(diverging=True)
        if mode == "own":
            highs = np.abs(matrix).max(axis=1, keepdims=True)
            matrix, scale = matrix / np.where(highs > 0, highs, 1), Scale(-1.0, 1.0)
        label = "weight; one scale for all" if mode == "shared" else "share of the row's largest weight"
        about = f"{self._kind} · a row for each output, from above, and a column for each input"
        longer = side or min(MATRIX, max(8 * max(matrix.shape), 64))
        if longer < max(matrix.shape):
            about += " · reduced: a pixel is the mean of several weights"
        tile = Tile(paint(matrix, scale, colours), "")
        return Sheet([tile], self.layer, about, Bar(colours, scale, label), 1, longer)


def filters(network: Any, layer: str | None = None) -> Filters:
    """Read the weights of a convolution or dense layer.

    Args:
        network: what `agnoscope.wrap` returned, or a network that it can wrap by itself.
        layer: name, or an ending of it; by default the first convolution.

    Raises:
        LayerError: there is no such layer, no convolution, or its kernel has not two or four axes.
        CapabilityError: the layer has no kernel, or the network does not show it.
        NonFiniteError: NaN or infinity among the weights.
        OptionError: the size of the network's images is not known.
    """
    from agnoscope.api import wrap

    model: Model = wrap(network)
    convolutions = [known.name for known in model.layers().values() if known.kind == "conv"]
    if layer is None and not convolutions:
        raise LayerError("This network has no convolution among its layers. Name a layer: filters(model, 'dense').")
    name = convolutions[0] if layer is None else model.layer(layer).name
    weights = kernel(model, name)
    if weights.ndim not in (2, 4):
        raise LayerError(f"The kernel of {name!r} has the shape {weights.shape}, which is not one of pictures.")
    sees_image = name in convolutions[:1] and weights.ndim == 4 and weights.shape[2] == model.spec.depth == 3
    if sees_image and model.spec.channels == "BGR":
        weights = weights[:, :, ::-1]
    return Filters(name, weights, sees_image)


def _as_colours(weights: NDArray[Any], scale: Scale) -> NDArray[np.uint8]:
    """A kernel (height, width, 3) as a picture: the scale's ends are 0 and 255, and 0 is gray."""
    return np.rint(255 * scale.position(weights)).astype(np.uint8)
