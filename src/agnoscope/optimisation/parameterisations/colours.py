"""From planes of uncorrelated colours to images within the bounds, and back: what several parameterisations end with.

Red, green and blue go together in photos, so that a step on one of them alone makes a colour that is rare. Steps on
uncorrelated channels do not (Olah, Mordvintsev and Schubert, Distill 2017).
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agnoscope.optimisation.canvas import Canvas
from agnoscope.patches import Array

COLOURS: Final = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
"""A root of the covariance of red, green and blue over ImageNet, as Lucid published it; a row for each colour."""

EDGE: Final = 1e-3
"""How near to the bounds, as a share of the span, an image may come to have a finite inverse of the sigmoid."""


def painted(xp: Any, canvas: Canvas, planes: Array, decorrelated: bool) -> Array:
    """The images of planes; compiled.

    Args:
        xp: the array namespace.
        canvas: what the images are painted on.
        planes: shape (images, channels, height, width), any values.
        decorrelated: whether the channels of a coloured canvas are uncorrelated ones.

    Returns:
        Shape (images, height, width, channels), within the bounds.
    """
    if decorrelated and canvas.coloured:
        flat = xp.reshape(planes, (*planes.shape[:2], -1))
        planes = xp.reshape(xp.matmul(xp.asarray(colour_matrix(), dtype=planes.dtype), flat), planes.shape)
    return xp.permute_dims(squashed(xp, canvas, planes), (0, 2, 3, 1))


def unpainted(canvas: Canvas, images: NDArray[Any], decorrelated: bool) -> NDArray[np.float64]:
    """The planes that `painted` makes these images of, on the host; shape (images, channels, height, width)."""
    values = unsquashed(canvas, images.astype(np.float64))
    if decorrelated and canvas.coloured:
        values = values @ np.linalg.inv(colour_matrix().T)
    return values.transpose(0, 3, 1, 2)


def colour_matrix() -> NDArray[np.float64]:
    """The matrix that makes colours of uncorrelated channels, shape (3, 3), its longest column of length 1."""
    return COLOURS / np.linalg.norm(COLOURS, axis=0).max()


def squashed(xp: Any, canvas: Canvas, values: Array) -> Array:
    """Values in the bounds, by a sigmoid: 0 becomes gray."""
    return canvas.middle + 0.5 * canvas.span * xp.tanh(0.5 * values)


def unsquashed(canvas: Canvas, images: NDArray[Any]) -> NDArray[Any]:
    """What `squashed` makes these images of; those at the bounds are taken a thousandth of the span inside."""
    share = np.clip((images - canvas.bounds[0]) / canvas.span, EDGE, 1 - EDGE)
    return np.log(share) - np.log1p(-share)
