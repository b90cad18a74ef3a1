"""A shadow of the user's module: a copy that shares its weights and carries our hooks, so that theirs never does.

Parameters and buffers of the shadow are detached views of the user's tensors: updates in place are followed,
nothing is stored twice, and no gradient can reach the user's `.grad`. What is not an update in place, such as
`.double()` or another layer put in, makes the shadow stale, and it is cast again.
"""

import copy
import operator
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType, NoneType
from typing import Any, Final, TypeAlias, final

import torch
from torch import nn
from torch.export.unflatten import InterpreterModule
from torch.nn.utils import parametrize

from agnoscope.errors import ModelError

Hook: TypeAlias = Callable[[str, nn.Module, Any, Any], Any]
"""A forward hook that is told the module's name, too."""

HARMLESS: Final = (int, float, str, type, NoneType, BuiltinFunctionType, torch.dtype)
"""What a function may hold on to without making a copy of its module depend on the original."""

_BORROWING: Final = threading.RLock()


def unwrap(network: nn.Module) -> nn.Module:
    """The module inside `torch.compile`, DataParallel and DistributedDataParallel wrappers."""
    while True:
        if isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
            network = network.module
        elif isinstance(inner := getattr(network, "_orig_mod", None), nn.Module):
            network = inner
        else:
            return network


@final
class Shadow:
    """What runs in place of the user's module.

    A module that cannot be copied is borrowed instead: it gets our hooks for as long as a run takes.

    Attributes:
        contiguous: whether the module relies on PyTorch's own order in memory, as one does that calls `view`.
    """

    def __init__(self, network: nn.Module, hook: Hook, ours: bool) -> None:
        """Cast the shadow.

        Args:
            network: the user's module.
            hook: to be called after each module inside, where it can be.
            ours: whether the module was made for us alone, so that it needs no shadow.

        Raises:
            ModelError: it has no weights yet.
        """
        self._network, self._hook, self._ours = network, hook, ours
        self.contiguous = False
        self._cast()

    def refresh(self) -> bool:
        """Cast the shadow again if the user's module is no longer what was copied; tells whether it did."""
        if self._stamp is None or self._stamp.still_fits():
            return False
        self._cast()
        return True

    def ready(self) -> AbstractContextManager[nn.Module]:
        """The module, in evaluation mode and with the hooks that were asked for."""
        return _borrowed(self._network, self._hook) if self._module is None else nullcontext(self._module)

    def watch(self, layers: Iterable[str]) -> None:
        """Hook the modules of these layers, from now on; a hook on every module would cost a small network dearly."""
        wanted = {layer.partition("@")[0] for layer in layers}
        if self._module is not None and wanted - self._hooked.keys():
            with _BORROWING:
                self._add_hooks(self._module, wanted)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Where every module is hooked, for a recorded run."""
        if self._module is None:
            yield
            return
        with _BORROWING:
            before = set(self._hooked)
            self._add_hooks(self._module, None)
            try:
                yield
            finally:
                for name in self._hooked.keys() - before:
                    self._hooked.pop(name).remove()

    def _add_hooks(self, network: nn.Module, wanted: set[str] | None) -> None:
        for name, module in _hookable(network):
            if name not in self._hooked and (wanted is None or name in wanted):
                self._hooked[name] = module.register_forward_hook(partial(self._hook, name))

    def _cast(self) -> None:
        _check(self._network)
        # Before the copy, so that a change during it shows.
        stamp = _Stamp(self._network) if not self._ours else None
        with torch.inference_mode(False), torch.no_grad():
            copied = self._network.requires_grad_(False) if self._ours else _copy(self._network, _view)
        self._module, self._stamp = copied, None if copied is None else stamp
        self._hooked: dict[str, Any] = {}


class _Stamp:
    """By what one sees that a module was changed otherwise than in place: its parts, and where the weights lie."""

    def __init__(self, network: nn.Module) -> None:
        self._modules = list(network.modules())
        self._parts, self._places = self._seen()
        # Weights made under inference_mode are copied, so that no update of theirs can be followed.
        self._copied = any(isinstance(part, torch.Tensor) and part.is_inference() for part in self._parts)

    def still_fits(self) -> bool:
        """Whether the module has the same parts, and its weights at the same places."""
        parts, places = self._seen()
        same = len(parts) == len(self._parts) and all(map(operator.is_, parts, self._parts))
        return same and places == self._places and not self._copied

    def _seen(self) -> tuple[list[Any], list[int]]:
        parts: list[Any] = []
        places = []
        for module in self._modules:
            # The mode, too: casting again after a change of it is cheap beside looking for it at every call.
            parts += vars(module).values()
            weights = (*module._parameters.values(), *module._buffers.values())
            parts += (*module._modules.values(), *module._forward_hooks.values(), *module._forward_pre_hooks.values())
            parts += weights
            places += [weight.data_ptr() for weight in weights if weight is not None]
        return parts, places


def copied(network: nn.Module) -> nn.Module | None:
    """A copy in evaluation mode with weights of its own, tied ones tied, or None where a module cannot be copied."""
    return _copy(network, _clone)


def _copy(network: nn.Module, taken: Callable[[torch.Tensor], torch.Tensor]) -> nn.Module | None:
    """A copy in evaluation mode with the weights as `taken`, or None where a module cannot be copied."""
    wrappers = [module for module in network.modules() if unwrap(module) is not module]
    modules = [module for module in network.modules() if module not in wrappers]
    if any(isinstance(module, torch.jit.ScriptModule) or _holds_on(module) for module in modules):
        return None
    memo: dict[int, Any] = {}
    for module in modules:
        # Parameters and buffers, and derived tensors such as weight_norm leaves behind, which refuse a deep copy.
        for tensor in [*module._parameters.values(), *module._buffers.values(), *vars(module).values()]:
            if isinstance(tensor, torch.Tensor):
                memo[id(tensor)] = taken(tensor)
    try:
        for wrapper in wrappers:
            memo[id(wrapper)] = copy.deepcopy(unwrap(wrapper), memo)
        shadow = copy.deepcopy(network, memo).eval()
    except Exception:  # locks, open files, generators: whatever a user's module holds
        return None
    for module in shadow.modules():
        # A `forward` decorated with torch.compile would compile our hooks.
        if plain := getattr(type(module).forward, "_torchdynamo_orig_callable", None):
            module.forward = MethodType(plain, module)
    return shadow


def _holds_on(module: nn.Module) -> bool:
    """Whether a function in an attribute holds on to what a copy would share, perhaps the module itself."""
    functions = [value for value in vars(module).values() if isinstance(value, FunctionType)]
    held = [cell.cell_contents for function in functions for cell in function.__closure__ or ()]
    held += [default for function in functions for default in function.__defaults__ or ()]
    return "forward" in vars(module) or not all(isinstance(thing, HARMLESS) for thing in held)


def _view(tensor: torch.Tensor) -> torch.Tensor:
    # Tensors made under inference_mode cannot take part in a backward pass; their copies can.
    view = tensor.clone() if tensor.is_inference() else tensor.detach()
    return nn.Parameter(view, requires_grad=False) if isinstance(tensor, nn.Parameter) else view


def _clone(tensor: torch.Tensor) -> torch.Tensor:
    clone = tensor.detach().clone()
    return nn.Parameter(clone, requires_grad=False) if isinstance(tensor, nn.Parameter) else clone


def _check(network: nn.Module) -> None:
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        if nn.parameter.is_lazy(tensor):
            raise ModelError(f"The weight {name!r} has no shape yet: run the network once before it is explained.")
        if tensor.is_meta:
            raise ModelError(
                f"The weight {name!r} is on the 'meta' device, without values: load the network's weights first."
            )


def _hookable(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules whose outputs are activations; a parametrization's is a weight, and scripted ones take no hook."""
    for name, module in network.named_modules():
        inside = "parametrizations" in name.split(".")
        if name and not inside and not isinstance(module, torch.jit.ScriptModule):
            yield name, module


@contextmanager
def _borrowed(network: nn.Module, hook: Hook) -> Iterator[nn.Module]:
    """The user's own module, with hooks and in evaluation mode, for as long as one run takes."""
    handles = []
    with _BORROWING:
        # A frozen ScriptModule has no mode.
        training = [module for module in network.modules() if getattr(module, "training", False)]
        compiled = [(module, call) for module in network.modules() if (call := vars(module).get("_compiled_call_impl"))]
        try:
            for module in training:
                module.training = False
            for module, _ in compiled:
                module._compiled_call_impl = None  # every change of hooks would compile it anew
            for name, module in _hookable(network):
                handles.append(module.register_forward_hook(partial(hook, name)))
            yield network
        finally:
            for handle in handles:
                handle.remove()
            for module in training:
                module.training = True
            for module, call in compiled:
                module._compiled_call_impl = call


def type_of(module: nn.Module) -> str:
    """The name of a module's class, before any parametrization or export."""
    # A module of an exported program; that it tells its type is younger than the oldest PyTorch we run on.
    if isinstance(module, InterpreterModule) and hasattr(module, "type_name") and (name := module.type_name()):
        return str(name).rpartition(".")[2]
    if parametrize.is_parametrized(module):
        return parametrize.type_before_parametrizations(module).__name__
    return type(module).__name__
