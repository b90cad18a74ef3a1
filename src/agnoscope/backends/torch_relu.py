"""Changed gradients of ReLUs in PyTorch, and the softmax at the end: both are seen as operations, not modules.

A function mode sees `F.relu`, `Tensor.relu_`, `clamp(min=0)` and their kin wherever they are called, so that a
functional ReLU is treated like a module.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812
from torch.overrides import TorchFunctionMode

from agnoscope.model import Head, ReluRule

aten = torch.ops.aten

RELU = {
    F.relu,
    F.relu_,
    torch.relu,
    torch.relu_,
    torch.Tensor.relu,
    torch.Tensor.relu_,
    aten.relu.default,
    aten.relu_.default,
}
RELU6 = {F.relu6, aten.relu6.default}
HARDTANH = {F.hardtanh, F.hardtanh_, aten.hardtanh.default, aten.hardtanh_.default}
CLAMP = {
    *(torch.clamp, torch.clamp_, torch.clip, torch.clip_, torch.clamp_min, torch.clamp_min_),
    *(torch.Tensor.clamp, torch.Tensor.clamp_, torch.Tensor.clip, torch.Tensor.clip_),
    *(torch.Tensor.clamp_min, torch.Tensor.clamp_min_),
    *(aten.clamp.default, aten.clamp_.default, aten.clamp_min.default, aten.clamp_min_.default),
}
THRESHOLD = {F.threshold, F.threshold_, torch.threshold}

HEADS: dict[Any, Head] = {
    **dict.fromkeys((F.softmax, torch.softmax, torch.Tensor.softmax, torch.special.softmax), "softmax"),
    **dict.fromkeys((F.log_softmax, torch.log_softmax, torch.Tensor.log_softmax), "softmax"),
    **dict.fromkeys(
        (F.sigmoid, torch.sigmoid, torch.sigmoid_, torch.Tensor.sigmoid, torch.Tensor.sigmoid_), "sigmoid"
    ),
    **dict.fromkeys((torch.special.expit, F.logsigmoid), "sigmoid"),
}
TRANSPARENT = {
    *(
        torch.Tensor.view,
        torch.Tensor.reshape,
        torch.Tensor.squeeze,
        torch.Tensor.flatten,
        torch.Tensor.contiguous,
    ),
    *(torch.Tensor.float, torch.Tensor.double, torch.Tensor.to, torch.Tensor.clone, torch.Tensor.detach),
    *(
        torch.reshape,
        torch.squeeze,
        torch.flatten,
        torch.clone,
        torch.detach,
        F.dropout,
        torch.Tensor.unsqueeze,
    ),
}


class _Relu(torch.autograd.Function):
    """A ReLU, cut off at `high`, that goes backward by a rule."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Any, rule: ReluRule, high: float | None, xp: Any) -> Any:  # noqa: ARG004
        return x.clamp(0, high)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        x, ctx.rule, ctx.high, ctx.xp = inputs
        ctx.save_for_backward(*((x, output) if callable(ctx.rule) else (x,) if ctx.rule == "guided" else ()))

    @staticmethod
    def backward(ctx: Any, g: Any) -> tuple[Any, None, None, None]:
        if ctx.rule == "deconvnet":
            return g.clamp_min(0), None, None, None
        x = ctx.saved_tensors[0]
        if ctx.rule == "guided":
            return _plain(g.clamp_min(0), x, ctx.high), None, None, None
        return ctx.rule(ctx.xp, x, ctx.saved_tensors[1], g, _plain(g, x, ctx.high)), None, None, None


_relu_by_rule: Callable[..., Any] = _Relu.apply  # untyped in torch


def _plain(g: Any, x: Any, high: float | None) -> Any:
    """The gradient of a ReLU on its open window, in one fused operation."""
    return aten.threshold_backward(g, x, 0) if high is None else aten.hardtanh_backward(g, x, 0.0, high)


class ReluMode(TorchFunctionMode):
    """Gives every ReLU that runs the changed rule, and counts them."""

    def __init__(self, rule: ReluRule, xp: Any) -> None:
        super().__init__()
        self.rule, self.xp, self.met = rule, xp, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        cut = relu_of(func, args, kwargs)
        if cut is None:
            return func(*args, **kwargs)
        self.met += 1
        x, high, in_place = cut
        if in_place:
            return x.copy_(_relu_by_rule(x.clone(), self.rule, high, self.xp))
        return _relu_by_rule(x, self.rule, high, self.xp)


def relu_of(func: Any, args: Any, kwargs: Any) -> tuple[Any, float | None, bool] | None:
    """Whether a call is a ReLU: its input, where it is cut off, and whether it works in place."""
    try:
        groups = (
            (RELU, _relu),
            (RELU6, _relu6),
            (HARDTANH, _hardtanh),
            (CLAMP, _clamp),
            (THRESHOLD, _threshold),
        )
        bounds = next((signature(*args, **kwargs) for group, signature in groups if func in group), None)
    except TypeError:  # a call that the operation itself will refuse
        return None
    if bounds is None:
        return None
    x, low, high, in_place = bounds
    numbers = isinstance(low, int | float) and isinstance(high, int | float | None)
    if not numbers or low != 0 or not x.is_floating_point():
        return None
    name = getattr(func, "__name__", "").removesuffix(".default")
    return x, None if high is None else float(high), in_place or name.endswith("_")


def _relu(input: Any, inplace: bool = False) -> tuple[Any, Any, Any, bool]:
    return input, 0, None, inplace


def _relu6(input: Any, inplace: bool = False) -> tuple[Any, Any, Any, bool]:
    return input, 0, 6.0, inplace


def _hardtanh(
    input: Any, min_val: Any = -1.0, max_val: Any = 1.0, inplace: bool = False
) -> tuple[Any, Any, Any, bool]:
    return input, min_val, max_val, inplace


def _clamp(input: Any, min: Any = None, max: Any = None, *, out: Any = None) -> tuple[Any, Any, Any, bool]:
    return input, min if out is None else None, max, False


def _threshold(input: Any, threshold: Any, value: Any, inplace: bool = False) -> tuple[Any, Any, Any, bool]:
    return input, 0 if threshold == value == 0 else None, None, inplace


class HeadMode(TorchFunctionMode):
    """Remembers what went into each softmax and sigmoid, to find the scores of which the output was made."""

    def __init__(self) -> None:
        super().__init__()
        # The results are kept alive beside their identity, which Python would otherwise give away again.
        self._made: dict[int, tuple[Any, Any, Head]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        source = args[0] if args else kwargs.get("input")
        if func in HEADS:
            # An in-place sigmoid would overwrite its own input.
            kept = source.clone() if getattr(func, "__name__", "").endswith("_") else source
            result = func(*args, **kwargs)
            self._made[id(result)] = (result, kept, HEADS[func])
            return result
        result = func(*args, **kwargs)
        if func in TRANSPARENT and id(source) in self._made and isinstance(result, torch.Tensor):
            self._made[id(result)] = (result, *self._made[id(source)][1:])
        return result

    def scores(self, output: Any) -> tuple[Any, Head]:
        """The values before the softmax or sigmoid that made the output, and which it was."""
        _, scores, head = self._made.get(id(output), (None, output, "linear"))
        return scores, head
