"""ReLU gradients redirected, so that a dead unit comes alive.

Where every gate on the way back is shut for an image, its gradient is zero and ascent stands still. Lucid's way out:
let the gradient through shut gates, but where it would only shut them further.
"""

from typing import Any

from agnoscope.patches import Array


def redirected(xp: Any, x: Array, y: Array, g: Array, plain: Array) -> Array:
    """A rule for `Model.with_relu`, for the gradient of a loss that steps go down.

    An image whose plain gradient is all zero at a ReLU gets what opens its gates; the others their plain gradient.
    """
    zero = xp.zeros_like(g)
    opening = xp.where(x <= 0, xp.minimum(g, zero), xp.where(y < x, xp.maximum(g, zero), g))
    axes = tuple(range(1, len(g.shape)))
    blocked = xp.max(xp.abs(plain), axis=axes, keepdims=True) == 0
    return xp.where(xp.broadcast_to(blocked, g.shape), opening, plain)
