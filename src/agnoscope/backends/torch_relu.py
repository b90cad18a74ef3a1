"""Changed gradients of ReLUs in PyTorch, seen as operations and not as modules.

A function mode sees `F.relu`, `Tensor.relu_`, `clamp(min=0)` and their kin wherever they are called, so that a
functional ReLU is treated like a module.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, TypeAlias

import torch
from torch.overrides import TorchFunctionMode

from agnoscope.model import ReluRule

aten = torch.ops.aten


def operation(function: Any) -> tuple[str, bool]:
    """The name that an operation has in every dress, and whether it works in place.

    `F.relu`, `torch.relu_`, `Tensor.relu` and `aten.relu.default` are all "relu".
    """
    name = getattr(function, "__name__", "").partition(".")[0]
    return name.strip("_"), name.endswith("_") and not name.endswith("__")


class Cut(NamedTuple):
    """What a call of a ReLU does: cut `x` off below at 0 and above at `high`, and write that `into` a tensor."""

    x: torch.Tensor
    high: float | None
    into: torch.Tensor | None


_Bounds: TypeAlias = tuple[Any, Any, Any, Any]
"""What is cut off, its lowest and highest value, and the tensor written to."""


def _relu(input: Any, inplace: bool = False) -> _Bounds:
    return input, 0, None, input if inplace else None


def _relu6(input: Any, inplace: bool = False) -> _Bounds:
    return input, 0, 6, input if inplace else None


def _hardtanh(input: Any, min_val: Any = -1, max_val: Any = 1, inplace: bool = False) -> _Bounds:
    return input, min_val, max_val, input if inplace else None


def _threshold(input: Any, threshold: Any, value: Any, inplace: bool = False) -> _Bounds:
    return input, 0 if threshold == value == 0 else None, None, input if inplace else None


def _clamp(input: Any, min: Any = None, max: Any = None, *, out: Any = None) -> _Bounds:
    return input, min, max, out


def _maximum(input: Any, other: Any, *, out: Any = None) -> _Bounds:
    zeros = isinstance(other, torch.Tensor) and other.shape in ((), input.shape) and not other.any()
    return input, 0 if zeros else None, None, out


SIGNATURES: Final[dict[str, Callable[..., _Bounds]]] = {
    "relu": _relu,
    "relu6": _relu6,
    "hardtanh": _hardtanh,
    "threshold": _threshold,
    **dict.fromkeys(("clamp", "clip", "clamp_min"), _clamp),
    **dict.fromkeys(("maximum", "fmax", "max"), _maximum),
}


def cut_of(function: Any, args: Any, kwargs: Any) -> Cut | None:
    """What a call cuts off, or None where it is no ReLU."""
    name, in_place = operation(function)
    if name not in SIGNATURES:
        return None
    try:
        x, low, high, into = SIGNATURES[name](*args, **kwargs)
    except TypeError:  # a call of another kind, or one that the operation itself will refuse
        return None
    low, high = _number(low), _number(high)
    if low != 0 or not (high is None or (isinstance(high, float) and high > 0)) or not x.is_floating_point():
        return None
    return Cut(x, high, x if in_place else into)


def _number(bound: Any) -> Any:
    """A bound as a number, if it is one: 6, or a tensor of one element."""
    single = isinstance(bound, int | float) or (isinstance(bound, torch.Tensor) and bound.numel() == 1)
    return float(bound) if single else bound


class ReluMode(TorchFunctionMode):
    """Gives every ReLU that runs the changed rule, and counts them."""

    def __init__(self, rule: ReluRule, xp: Any) -> None:
        super().__init__()
        self.rule, self.xp, self.met, self._aside = rule, xp, 0, False

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Where operations are no part of the network, as those of a patch."""
        self._aside = True
        try:
            yield
        finally:
            self._aside = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        cut = None if self._aside else cut_of(func, args, kwargs)
        if cut is None:
            return func(*args, **kwargs)
        self.met += 1
        x, high, into = cut
        # A callable rule reads what went in, which may be about to be overwritten.
        before = x.detach().clone() if into is x and callable(self.rule) else None
        if into is None or into is x:
            return _relu_by_rule(x, self.rule, high, self.xp, into is x, before)
        y = _relu_by_rule(x, self.rule, high, self.xp, False, None)
        return (into if into.shape == y.shape else into.resize_(y.shape)).copy_(y)


class _Relu(torch.autograd.Function):
    """A ReLU, cut off at `high`, that goes backward by a rule; a named one needs to know its output only."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Any, rule: ReluRule, high: float | None, xp: Any, in_place: bool, before: Any) -> Any:  # noqa: ARG004
        return x.clamp_(0, high) if in_place else x.clamp(0, high)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        x, ctx.rule, ctx.high, ctx.xp, in_place, before = inputs
        if in_place:
            ctx.mark_dirty(x)
        if callable(ctx.rule):
            ctx.save_for_backward(x if before is None else before, output)
        elif ctx.rule == "guided":
            ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, g: Any) -> tuple[Any, None, None, None, None, None]:
        if ctx.rule == "deconvnet":
            passed = g.clamp_min(0)
        elif ctx.rule == "guided":
            passed = _plain(g.clamp_min(0), ctx.saved_tensors[0], ctx.high)
        else:
            x, y = ctx.saved_tensors
            passed = ctx.rule(ctx.xp, x, y, g, _plain(g, x, ctx.high))
        return passed, None, None, None, None, None


_relu_by_rule: Callable[..., Any] = _Relu.apply  # untyped in torch


def _plain(g: Any, x: Any, high: float | None) -> Any:
    """The gradient of a ReLU on its open window, in one fused operation; its output tells it as its input does."""
    return aten.threshold_backward(g, x, 0) if high is None else aten.hardtanh_backward(g, x, 0.0, high)
