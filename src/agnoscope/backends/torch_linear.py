"""What a linear layer in PyTorch makes of another input or kernel: its `forward` once more, with them exchanged."""

from collections.abc import Callable
from typing import Any, Final

import torch
from torch.overrides import TorchFunctionMode

from agnoscope.backends.torch_relu import operation
from agnoscope.patches import Patch, unasked

LINEAR: Final = ("linear", "conv1d", "conv2d", "conv3d")
"""Operations whose kernel has its output channels first, then its input channels."""


def product(again: Callable[[], Any], of_input: Patch, of_kernel: Patch) -> torch.Tensor:
    """What a module makes of its input and kernel, both changed, without its bias; channels last.

    Args:
        again: runs the module on what it received.
        of_input: changes what the operation inside it receives, element by element.
        of_kernel: changes its kernel, which comes as (height, width, in, out) or (in, out).

    Raises:
        CapabilityError: the module is not one convolution or product.
    """
    with _Exchange(of_input, of_kernel) as exchange:
        again()
    if len(exchange.found) != 1:
        raise unasked()
    return exchange.found[0]


class _Exchange(TorchFunctionMode):
    """Exchanges input and kernel of convolutions and products, and keeps what they give."""

    def __init__(self, of_input: Patch, of_kernel: Patch) -> None:
        super().__init__()
        self._of_input, self._of_kernel = of_input, of_kernel
        self.found: list[torch.Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, _ = operation(func)
        if name not in LINEAR:
            return func(*args, **(kwargs or {}))
        given = {**(kwargs or {}), **dict(zip(("input", "weight"), args, strict=False)), "bias": None}
        kernel = given["weight"]
        given["input"] = self._of_input(given["input"])
        changed = self._of_kernel(kernel.movedim((0, 1), (-1, -2)))
        given["weight"] = changed.movedim((-1, -2), (0, 1)).to(kernel.dtype)
        result = func(given.pop("input"), given.pop("weight"), given.pop("bias"), *args[3:], **given)
        self.found.append(result if name == "linear" else result.movedim(1, -1))
        return result
