"""The network that turns a photo into a picture: down to a quarter, through residual blocks, and up again.

    in → down1 → down2 → blocks → up1 → up2 → out          (Johnson, Alahi and Fei-Fei, ECCV 2016)

Every convolution has a mirrored border and is followed by instance normalisation (Ulyanov, Vedaldi and Lempitsky,
2016), whose scale and shift are all that styles differ in (Dumoulin, Shlens and Kudlur, ICLR 2017): pictures between
styles are made by numbers between theirs. Enlarging repeats pixels before a convolution, which leaves no chequerboard.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.model import Model
from agnoscope.patches import Array

SMALLEST: Final = 8
"""Side of the smallest photo in pixels: a quarter of it must have a neighbour to be mirrored."""

BLOCK: Final = 4
"""Side of the blocks of pixels that are worked out at once where there are few channels."""

EPSILON: Final = 1e-5
"""Added to the variance, for maps that are the same everywhere."""


class Convolution(NamedTuple):
    """One convolution with its normalisation: name, channels, side of the kernel, stride."""

    name: str
    inputs: int
    outputs: int
    side: int
    stride: int = 1

    @property
    def kernel(self) -> tuple[int, int, int, int]:
        """Shape of the kernel."""
        return self.side, self.side, self.inputs, self.outputs


@final
@dataclass(frozen=True)
class Form:
    """Which network: equal ones share compiled programs.

    Attributes:
        width: channels of the first convolution; a map of half the size has twice as many. 32 in the paper.
        blocks: how many residual blocks; 5 in the paper.
        styles: how many.
        depth: channels of a photo.
        bounds: lowest and highest value of a pixel.
    """

    width: int
    blocks: int
    styles: int
    depth: int = 3
    bounds: tuple[float, float] = (0.0, 1.0)

    @property
    def convolutions(self) -> Iterator[Convolution]:
        """In the order in which they run."""
        full, half, quarter = self.width, 2 * self.width, 4 * self.width
        yield Convolution("in", self.depth, full, 9)
        yield Convolution("down1", full, half, 3, 2)
        yield Convolution("down2", half, quarter, 3, 2)
        for number in range(1, self.blocks + 1):
            yield Convolution(f"block{number}a", quarter, quarter, 3)
            yield Convolution(f"block{number}b", quarter, quarter, 3)
        yield Convolution("up1", quarter, half, 3)
        yield Convolution("up2", half, full, 3)
        yield Convolution("out", full, self.depth, 9)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name of each parameter to its shape."""
        shapes: dict[str, tuple[int, ...]] = {}
        for each in self.convolutions:
            norm = (self.styles, each.outputs)
            shapes |= {f"{each.name}.kernel": each.kernel, f"{each.name}.scale": norm, f"{each.name}.shift": norm}
        return shapes

    def start(self, seed: int) -> dict[str, NDArray[np.float64]]:
        """Parameters to begin with: random kernels, scales of 1 and shifts of 0."""
        random = np.random.default_rng([seed, 0])
        parameters = {}
        for name, shape in self.shapes.items():
            if name.endswith(".kernel"):
                parameters[name] = random.normal(scale=np.sqrt(2 / np.prod(shape[:3])), size=shape)
            else:
                parameters[name] = np.full(shape, float(name.endswith(".scale")))
        return parameters


def stylised(model: Model, form: Form, parameters: Mapping[str, Array], photos: Array, mix: Array) -> Array:
    """The pictures that the network makes; to be called inside a compiled program of any model.

    Args:
        model: computes; its own network does not run.
        form: of the network.
        parameters: as `Form.shapes` has them.
        photos: shape (images, height, width, channels), within the bounds, 8 × 8 pixels at the least.
        mix: how much of each style each image gets, shape (images, styles).

    Returns:
        Shape and bounds of the photos.
    """
    xp, (low, high) = model.xp, form.bounds
    convolutions = {each.name: each for each in form.convolutions}
    height, width = photos.shape[1:3]

    def layer(x: Array, name: str) -> Array:
        convolution = convolutions[name]
        x = mirrored(xp, x, *[convolution.side // 2] * 4)
        kernel = parameters[f"{name}.kernel"]
        x = in_blocks(model, x, kernel) if name == "out" else model.conv2d(x, kernel, convolution.stride)
        scale, shift = (xp.matmul(mix, parameters[f"{name}.{own}"])[:, None, None, :] for own in ("scale", "shift"))
        return normalised(xp, x) * scale + shift

    def relu(x: Array) -> Array:
        return xp.maximum(x, xp.zeros_like(x))

    x = (photos - (low + high) / 2) * (2 / (high - low))
    x = mirrored(xp, x, 0, -height % 4, 0, -width % 4)
    for name in ("in", "down1", "down2"):
        x = relu(layer(x, name))
    for number in range(1, form.blocks + 1):
        x = x + layer(relu(layer(x, f"block{number}a")), f"block{number}b")
    for name in ("up1", "up2"):
        x = relu(layer(doubled(xp, x), name))
    x = xp.tanh(layer(x, "out"))
    return (x * ((high - low) / 2) + (low + high) / 2)[:, :height, :width, :]


def in_blocks(model: Model, images: Array, kernel: Array) -> Array:
    """What `model.conv2d` gives, worked out on blocks of 4 × 4 pixels: faster where a kernel has few outputs.

    Processors multiply many channels at once, and a picture has three. Here it has 48, those of a block; the kernel is
    laid into a larger one at each of the block's 16 places, with zeros around it.

    Args:
        model: computes.
        images: shape (images, height, width, channels in), the sides multiples of 4.
        kernel: shape (side, side, channels in, channels out), the side one more than a multiple of 4.

    Returns:
        Shape (images, rows, columns, channels out).
    """
    xp, places = model.xp, range(BLOCK)
    zeros = xp.zeros_like(kernel)
    lower = [xp.concat([zeros[:p, ...], kernel, zeros[: BLOCK - 1 - p, ...]], axis=0) for p in places]
    zeros = xp.zeros_like(lower[0])
    laid = [xp.concat([zeros[:, :p, ...], k, zeros[:, : BLOCK - 1 - p, ...]], axis=1) for k in lower for p in places]
    kernel = blocks(xp, xp.permute_dims(xp.concat(laid, axis=3), (3, 0, 1, 2)))  # as if the outputs were images
    found = model.conv2d(blocks(xp, images), xp.permute_dims(kernel, (1, 2, 3, 0)))
    count, rows, columns, outputs = found.shape
    parts = xp.reshape(found, (count, rows, columns, BLOCK, BLOCK, outputs // BLOCK**2))
    return xp.reshape(xp.permute_dims(parts, (0, 1, 3, 2, 4, 5)), (count, rows * BLOCK, columns * BLOCK, -1))


def blocks(xp: Any, x: Array) -> Array:
    """The pixels of each block, side by side, as channels of one."""
    count, height, width, channels = x.shape
    parts = xp.reshape(x, (count, height // BLOCK, BLOCK, width // BLOCK, BLOCK, channels))
    shape = (count, height // BLOCK, width // BLOCK, BLOCK**2 * channels)
    return xp.reshape(xp.permute_dims(parts, (0, 1, 3, 2, 4, 5)), shape)


def normalised(xp: Any, x: Array) -> Array:
    """Every map of every image with mean 0 and variance 1."""
    centred = x - xp.mean(x, axis=(1, 2), keepdims=True)
    return centred / xp.sqrt(xp.mean(centred * centred, axis=(1, 2), keepdims=True) + EPSILON)


def doubled(xp: Any, x: Array) -> Array:
    """Twice as high and wide, each pixel repeated."""
    n, h, w, c = x.shape
    return xp.reshape(xp.broadcast_to(x[:, :, None, :, None, :], (n, h, 2, w, 2, c)), (n, 2 * h, 2 * w, c))


def mirrored(xp: Any, x: Array, top: int, bottom: int, left: int, right: int) -> Array:
    """Maps with so many rows and columns more, mirrored at the border's pixels, which are not repeated."""
    h, w = x.shape[1:3]
    above, below = x[:, 1 : top + 1, :, :], x[:, h - 1 - bottom : h - 1, :, :]
    x = _joined(xp, x, above, below, axis=1)
    before, after = x[:, :, 1 : left + 1, :], x[:, :, w - 1 - right : w - 1, :]
    return _joined(xp, x, before, after, axis=2)


def _joined(xp: Any, x: Array, before: Array, after: Array, axis: int) -> Array:
    sides = [xp.flip(side, axis=axis) if side.shape[axis] else None for side in (before, after)]
    parts = [part for part in (sides[0], x, sides[1]) if part is not None]
    return xp.concat(parts, axis=axis) if len(parts) > 1 else x
