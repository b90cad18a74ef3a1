"""Patches: what an explainer puts in the place of a layer's activation, and what it may ask the layer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, final

from agnoscope.errors import CapabilityError

Array: TypeAlias = Any
"""An array of the network's framework; an explainer touches it through `xp` and operators only."""

Patch: TypeAlias = Callable[[Array], Array]
"""Takes a layer's activation and returns the one that the network goes on with; it may change the batch."""

Product: TypeAlias = Callable[[Patch, Patch], Array]
"""`product(of_input, of_kernel)`: what a linear layer makes of its input and kernel, both changed, without its bias."""


@final
@dataclass(frozen=True)
class LinearPatch:
    """A patch for a convolution or dense layer that may ask what the layer makes of something else.

    Attributes:
        function: `function(activation, product)` returns the activation that the network goes on with. In
            `product(of_input, of_kernel)`, `of_input` receives what the layer received, in the framework's order of
            axes, and so works element by element; `of_kernel` receives the kernel as (height, width, channels in,
            channels out) or (in, out), where channels in are those of a group. The product has the activation's shape,
            and gradients go through it to the input.
    """

    function: Callable[[Array, Product], Array]

    def __call__(self, activation: Array) -> Array:
        """Where a backend treats it as any patch.

        Raises:
            CapabilityError: always.
        """
        del activation
        raise unasked()

    def then(self, patch: Patch) -> "LinearPatch":
        """This patch, and another one after it."""
        return LinearPatch(lambda activation, product: patch(self.function(activation, product)))


def patched(patch: Patch, activation: Array, product: Product) -> Array:
    """What a patch of either kind makes of an activation; for backends."""
    return patch.function(activation, product) if isinstance(patch, LinearPatch) else patch(activation)


def unasked() -> CapabilityError:
    """That a layer cannot be asked for its product with something else."""
    return CapabilityError(
        "A layer was asked what it makes of another input or kernel, and it is not one convolution or matrix product "
        "in this backend's sight. Use a method that does not ask: lrp with rule='epsilon', or input-x-gradient."
    )
