"""The size of the images that a method makes."""

from typing import Any, Final

from agnoscope.explainers.options import whole
from agnoscope.model import Model

USUAL: Final = 224
"""Side of the images where neither the user nor the network says, in pixels."""


def size_of(model: Model, size: Any) -> tuple[int, int]:
    """Height and width in pixels: those asked for, else the network's own, else 224 × 224.

    Args:
        model: the network.
        size: a whole number for a square, height and width, or None.

    Raises:
        OptionError: it is none of these.
    """
    if size is None:
        return model.spec.size or (USUAL, USUAL)
    height, width = (size, size) if not isinstance(size, tuple | list) or len(size) != 2 else size
    return whole("size", height), whole("size", width)
