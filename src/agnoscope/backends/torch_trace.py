"""What only operations tell of a run in PyTorch: the softmax at the end, and which axis holds the channels."""

import re
from typing import Any, Final

import torch
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from agnoscope.backends.torch_relu import operation
from agnoscope.model import Head

HEADS: Final[dict[str, Head]] = {
    **dict.fromkeys(("softmax", "log_softmax", "special_softmax", "special_log_softmax"), "softmax"),
    **dict.fromkeys(("sigmoid", "special_expit", "log_sigmoid", "logsigmoid"), "sigmoid"),
}
TRANSPARENT: Final = {
    *("view", "reshape", "squeeze", "unsqueeze", "flatten", "permute", "transpose", "movedim", "contiguous", "alias"),
    *("clone", "detach", "dropout", "to", "to_copy", "type", "float", "double", "half", "bfloat16", "exp", "log"),
}
"""What may follow a softmax without making other answers of it; `exp` undoes a logarithm."""


class HeadMode(TorchFunctionMode):
    """Remembers what went into each softmax and sigmoid, to find the scores of which the output was made."""

    def __init__(self) -> None:
        super().__init__()
        self._made: Any = WeakTensorKeyDictionary()  # untyped in torch

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name, in_place = operation(func)
        if name not in HEADS and name not in TRANSPARENT:
            return func(*args, **kwargs)
        source = args[0] if args else kwargs.get("input")
        kept = source.clone() if source is not None and in_place and name in HEADS else source
        result = func(*args, **kwargs)
        if name in HEADS:
            self._made[result] = (kept, HEADS[name])
        elif isinstance(source, torch.Tensor) and isinstance(result, torch.Tensor):
            self.follow(source, result)
        return result

    def follow(self, old: torch.Tensor, new: torch.Tensor) -> None:
        """Let a tensor that takes another one's place keep its scores."""
        if old is not new and (made := self._made.get(old)) is not None:
            self._made[new] = made

    def scores(self, output: torch.Tensor) -> tuple[torch.Tensor, Head]:
        """The values before the softmax or sigmoid that made the output, and which it was."""
        made: tuple[torch.Tensor, Head] = self._made.get(output, (output, "linear"))
        return made


FIRST: Final = re.compile(
    "conv|batch_norm|group_norm|instance_norm|max_pool|avg_pool|adaptive|interpolate|upsample|pixel"
)
LAST: Final = ("linear", "layer_norm")
MOVES: Final = ("permute", "transpose", "movedim", "moveaxis", "swapaxes", "swapdims", "t", "get")


class LayoutMode(TorchFunctionMode):
    """Follows the axis of the channels from operation to operation: PyTorch has networks of both layouts."""

    def __init__(self) -> None:
        super().__init__()
        self._axes: Any = WeakTensorKeyDictionary()

    def axis(self, tensor: torch.Tensor) -> int:
        """Which axis holds the channels; where nothing tells, the second of four, else the last one."""
        axis: int = self._axes.get(tensor, usual_axis(tensor))
        return axis

    def follow(self, tensor: torch.Tensor, axis: int) -> None:
        """Say which axis of a tensor holds the channels."""
        self._axes[tensor] = axis

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) or type(result) in (tuple, list):
            given = _tensors([*args, *(kwargs or {}).values()])
            source = next((tensor for tensor in given if tensor in self._axes), None)
            for tensor in _tensors([result]):
                axis = self._found(func, args, kwargs or {}, source, tensor)
                if axis is not None:
                    self._axes[tensor] = axis
        return result

    def _found(self, func: Any, args: Any, kwargs: Any, source: Any, result: torch.Tensor) -> int | None:
        name, _ = operation(func)
        if result.ndim == 4 and FIRST.match(name):
            return 1
        if source is None:
            return result.ndim - 1 if name in LAST else None
        axis = self._axes[source]
        if name in MOVES and args and args[0] is source and result.ndim == source.ndim:
            # The axes of a probe have different lengths, by which the channels' one is found again.
            probe = torch.empty(*range(1, source.ndim + 1), device="meta")
            return int(func(probe, *args[1:], **kwargs).shape.index(axis + 1))
        if result.ndim == source.ndim:
            return axis
        # Split or joined, what lies in the last axis stays there; of (images, features) nothing can be told.
        if axis == source.ndim - 1 and (source.ndim > 2 or result.shape[-1:] == source.shape[-1:]):
            return result.ndim - 1
        kept = axis == 1 < result.ndim and result.shape[1] == source.shape[1]
        return 1 if kept else result.ndim - 1 if name in LAST else None


def usual_axis(tensor: torch.Tensor) -> int:
    """The axis of the channels where nothing tells: the second of four, else the last one."""
    return 1 if tensor.ndim == 4 else tensor.ndim - 1


def _tensors(items: Any) -> list[torch.Tensor]:
    """The tensors among some items, those in tuples and lists included."""
    found = []
    for item in items:
        if isinstance(item, torch.Tensor):
            found.append(item)
        elif type(item) in (tuple, list):
            found += _tensors(item)
    return found
