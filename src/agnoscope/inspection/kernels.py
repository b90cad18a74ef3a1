"""Kernels: the weights with which a convolution or dense layer multiplies, with the same axes in every framework.

They are read where the layer uses them, in a run: so they are what it computes with, whatever they are made of, such
as a norm and a direction, and they need no name.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import NonFiniteError
from agnoscope.model import Model
from agnoscope.patches import Array, LinearPatch, Product


def kernel(model: Model, layer: str, size: tuple[int, int] | None = None) -> NDArray[Any]:
    """The kernel of a convolution or dense layer.

    Args:
        model: the network.
        layer: its name, or an ending of it.
        size: height and width of the image in pixels for which the network runs; by default its own.

    Returns:
        Shape (height, width, channels in, channels out), or (in, out) of a dense layer. Where a convolution has groups,
        as a depthwise one, channels in are those of a group.

    Raises:
        LayerError: there is no such layer.
        CapabilityError: it is no convolution or product with a kernel, or the network does not show it.
        NonFiniteError: NaN or infinity in the kernel.
        OptionError: the size of the image is not known.
    """
    model.require("patch", "reading a kernel")
    size = model.spec.size_or(size)
    name = model.layer(layer, size).name
    low, high = np.clip(model.spec.bounds, -1.0, 1.0)
    image = np.full((1, *size, model.spec.depth), (low + high) / 2, model.dtype)
    found: NDArray[Any] = model.compile(_kernel_program, name)(image)["kernel"]
    if not np.isfinite(found).all():
        raise NonFiniteError(f"The kernel of the layer {name!r} has NaN or infinity in it.")
    return found


def _kernel_program(model: Model, layer: str, images: Array) -> dict[str, Array]:
    """The kernel that one layer uses."""
    met: list[Array] = []

    def look(activation: Array, product: Product) -> Array:
        def keep(kernel: Array) -> Array:
            met.append(kernel)
            return kernel

        product(lambda given: given, keep)
        return activation

    model.run(images, (layer,), {layer: LinearPatch(look)})
    return {"kernel": met[-1]}
