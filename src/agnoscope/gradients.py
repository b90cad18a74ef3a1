"""Gradients of a score with respect to the image or to layers: the one helper above the protocol."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from agnoscope.model import Model
from agnoscope.patches import Array, LinearPatch, Patch


@dataclass(frozen=True)
class Gradients:
    """What one forward and backward pass gives.

    Attributes:
        scores: shape (images,), the target's value for each image.
        values: name to captured value.
        images: gradient with respect to the images, or None.
        layers: layer name to the gradient with respect to its activation.
    """

    scores: Array
    values: dict[str, Array]
    images: Array | None
    layers: dict[str, Array]


def gradients(
    model: Model,
    images: Array,
    target: Callable[[Any, Mapping[str, Array]], Array],
    *,
    needs: Sequence[str],
    at: Sequence[str] = (),
    capture: Sequence[str] = (),
    wrt_images: bool = False,
    patch: Mapping[str, Patch] = MappingProxyType({}),
) -> Gradients:
    """Gradients of each image's score with respect to the image or to layers, in one pass.

    A gradient at a layer is a patch: a tap of zeros is added to the activation and differentiated.
    The scores are summed over the batch, which is right as long as the network does not mix its images.

    Args:
        model: the network. To be called inside a compiled program.
        images: shape (images, height, width, channels).
        target: `target(xp, values)` gives the scores, shape (images,), from the captured values.
        needs: names that the target reads.
        at: layers whose gradient is wanted.
        capture: names whose value is wanted besides.
        wrt_images: whether the gradient with respect to the images is wanted.
        patch: layer name to a function of its activation, applied before a gradient is taken there.
    """
    xp = model.xp
    shapes = {name: model.layers(images.shape[1:3])[name].shape for name in at}
    taps = {name: xp.zeros((images.shape[0], *shape), dtype=images.dtype) for name, shape in shapes.items()}
    names = tuple(dict.fromkeys((*needs, *capture)))

    def tapped(name: str, tap: Array) -> Patch:
        def added(activation: Array) -> Array:
            return activation + xp.astype(tap, activation.dtype)

        changed = patch.get(name)
        if changed is None:
            return added
        return changed.then(added) if isinstance(changed, LinearPatch) else lambda x: added(changed(x))

    def total(leaves: dict[str, Any]) -> tuple[Array, Any]:
        taps = {name: tapped(name, tap) for name, tap in leaves["layers"].items()}
        values = model.run(leaves.get("images", images), names, {**patch, **taps})
        scores = target(xp, values)
        return xp.sum(scores), {"scores": scores, "values": values}

    leaves = {"layers": taps, **({"images": images} if wrt_images else {})}
    (_, aux), slopes = model.value_and_grad(total)(leaves)
    return Gradients(aux["scores"], aux["values"], slopes.get("images"), slopes["layers"])
