"""One run of a PyTorch network of one thread: what it wants of the layers, and the hook that gets it."""

import copy
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import partial
from typing import Any, Final, final

import torch
from torch import nn

from agnoscope.backends.kinds import kind_of
from agnoscope.backends.torch_linear import product
from agnoscope.backends.torch_relu import ReluMode
from agnoscope.backends.torch_shadow import type_of
from agnoscope.backends.torch_trace import HeadMode, LayoutMode, usual_axis
from agnoscope.model import RESERVED, Layer
from agnoscope.patches import Patch, patched

_thread: Final = threading.local()


class StopRun(BaseException):
    """Ends a run at the last layer that it needs; not an Exception, which a user's code may catch."""


@final
@dataclass
class Run:
    """What one run wants, and what it has met.

    Attributes:
        wanted: layers whose activation is captured.
        patch: layer name to a function of its activation.
        complete: whether the network must run to its end.
        axes: layer name to the axis of its tensor that holds the channels.
        relus: changes the ReLUs, where there is a rule for them.
        heads: looks for the softmax at the end, where there is one.
        layout: tells the axes; in a recorded run only.
        met: layer name to layer; in a recorded run only.
        values: layer name to captured activation, channels last.
        ran: layer name to how often it ran.
    """

    wanted: frozenset[str] = frozenset()
    patch: Mapping[str, Patch] = field(default_factory=dict)
    complete: bool = True
    axes: dict[str, int] = field(default_factory=dict)
    relus: ReluMode | None = None
    heads: HeadMode | None = None
    layout: LayoutMode | None = None
    met: dict[str, Layer] = field(default_factory=dict)
    values: dict[str, torch.Tensor] = field(default_factory=dict)
    ran: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Where the hooks of this thread serve this run; runs nest."""
        outer = getattr(_thread, "run", None)
        _thread.run = self
        try:
            yield
        finally:
            _thread.run = outer

    def named(self, module_name: str) -> str:
        """The layer's name: its module's, and from the second use on which use it is."""
        use = self.ran.get(module_name, 0)
        self.ran[module_name] = use + 1
        # A module may be called "output", which is also a word of the protocol.
        name = f"{module_name}@{use}" if use or module_name in RESERVED else module_name
        self.ran.setdefault(name, 1)
        return name

    def meet(self, name: str, module: nn.Module, tensor: torch.Tensor, layout: LayoutMode) -> None:
        """Note a layer of a recorded run."""
        self.axes[name] = axis = layout.axis(tensor)
        composed = any(child != "parametrizations" for child, _ in module.named_children())
        type_name = type_of(module)
        shape = tuple(channels_last(tensor, axis).shape[1:])
        self.met[name] = Layer(name, kind_of(type_name, composed), shape, type_name)

    def visit(self, name: str, tensor: torch.Tensor, again: Callable[[], Any]) -> torch.Tensor:
        """Patch and capture one activation, which `again` computes anew; returns what the network goes on with."""
        axis = self.axes.get(name, usual_axis(tensor))
        # A no_grad or inference_mode of the network's own must not cut a tap off.
        with torch.inference_mode(False), torch.enable_grad():
            if name in self.patch:
                # What the patch computes is no part of the network, and no ReLU of it.
                with self.relus.aside() if self.relus else nullcontext():
                    changed = patched(self.patch[name], channels_last(tensor, axis), partial(product, again))
                order = torch.contiguous_format if tensor.is_contiguous() else torch.preserve_format
                # A later in-place operation must reach neither a leaf nor anything else that the patch keeps.
                tensor = changed.movedim(-1, axis).clone(memory_format=order)
            if name in self.wanted:
                self.values[name] = wide(channels_last(tensor, axis).clone())  # nor what is captured
                if not self.complete and len(self.values) == len(self.wanted):
                    raise StopRun
        return tensor


def hook(module_name: str, module: nn.Module, args: Any, output: Any) -> Any:
    """The forward hook of every module: does nothing unless its thread is inside a run."""
    run: Run | None = getattr(_thread, "run", None)
    tensor = None if run is None else tensor_of(output)
    if run is None or tensor is None:
        return None
    name = run.named(module_name)
    if run.layout is not None:
        run.meet(name, module, tensor, run.layout)
    if name not in run.wanted and name not in run.patch:
        return None
    changed = run.visit(name, tensor, partial(module.forward, *args))
    if changed is tensor:
        return None
    if run.heads is not None:
        run.heads.follow(tensor, changed)
    return with_tensor(output, changed)


def channels_last(tensor: torch.Tensor, axis: int) -> torch.Tensor:
    """The tensor with its channels moved to the last axis."""
    return tensor.movedim(axis, -1)


def wide(tensor: torch.Tensor) -> torch.Tensor:
    """Half-precision values as float32: NumPy knows no bfloat16, and scores deserve it."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def tensor_of(output: Any) -> torch.Tensor | None:
    """The tensor of an output: itself, "logits", or the first one in a tuple, dictionary or dataclass."""
    if isinstance(output, torch.Tensor):
        return output
    items = _items(output)
    if "logits" in items:
        return tensor_of(items["logits"])
    return next((tensor for item in items.values() if (tensor := tensor_of(item)) is not None), None)


def with_tensor(output: Any, tensor: torch.Tensor) -> Any:
    """The same output with its tensor replaced, wherever it stands."""
    old = tensor_of(output)
    if output is old:
        return tensor
    changed = {key: with_tensor(item, tensor) for key, item in _items(output).items() if tensor_of(item) is old}
    if isinstance(output, Mapping):
        whole: Any = copy.copy(output)  # whatever kind of mapping it is
        for key, item in changed.items():
            whole[key] = item
        return whole
    if isinstance(output, tuple | list):
        items = [changed.get(i, item) for i, item in enumerate(output)]
        return type(output)(*items) if hasattr(output, "_fields") else type(output)(items)
    return replace(output, **changed)


def _items(output: Any) -> Mapping[Any, Any]:
    if isinstance(output, Mapping):
        return output
    if isinstance(output, tuple | list):
        return dict(enumerate(output))
    if is_dataclass(output):
        return {each.name: getattr(output, each.name) for each in fields(output)}
    return {}
