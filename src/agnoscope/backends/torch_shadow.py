"""A shadow of the user's module: a copy that shares its weights and carries our hooks, so that theirs never does.

Parameters and buffers of the shadow are detached views of the user's tensors: updates in place are followed,
nothing is stored twice, and no gradient can reach the user's `.grad`.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

Hook = Callable[[nn.Module, Any, Any], Any]


def unwrap(network: nn.Module) -> nn.Module:
    """The module inside `torch.compile`, DataParallel and DistributedDataParallel wrappers."""
    while True:
        if isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
            network = network.module
        elif isinstance(inner := getattr(network, "_orig_mod", None), nn.Module):
            network = inner
        else:
            return network


def shadow_of(network: nn.Module) -> nn.Module | None:
    """A copy in evaluation mode that shares the weights, or None where a module cannot be copied.

    A module with its own `forward` in its `__dict__` counts as such: the copy would call the original.
    """
    if any("forward" in vars(module) for module in network.modules()):
        return None
    memo: dict[int, Any] = {}
    for module in network.modules():
        # Parameters and buffers, and derived tensors such as weight_norm leaves behind, which refuse a deep copy.
        for tensor in [*module._parameters.values(), *module._buffers.values(), *vars(module).values()]:
            if isinstance(tensor, torch.Tensor):
                memo[id(tensor)] = _view(tensor)
    try:
        shadow = copy.deepcopy(network, memo)
    except Exception:  # locks, open files, generators: whatever a user's module holds
        return None
    for module in shadow.modules():
        vars(module).pop("_compiled_call_impl", None)  # compiled for the user's module, and blind to hooks
    return shadow.eval()


def _view(tensor: torch.Tensor) -> torch.Tensor:
    # Tensors made under inference_mode cannot take part in a backward pass; their copies can.
    view = tensor.clone() if tensor.is_inference() else tensor.detach()
    return nn.Parameter(view, requires_grad=False) if isinstance(tensor, nn.Parameter) else view


def same_storage(network: nn.Module, shadow: nn.Module) -> bool:
    """Whether the shadow still looks at the user's weights; `.to(device)` and `param.data = …` break that."""
    mine = [tensor.data_ptr() for tensor in _tensors(shadow)]
    return mine == [tensor.data_ptr() for tensor in _tensors(network)] or any(
        tensor.is_inference() for tensor in _tensors(network)
    )


def _tensors(network: nn.Module) -> Iterator[torch.Tensor]:
    yield from network.parameters()
    yield from network.buffers()


@contextmanager
def borrowed(network: nn.Module, hook: Hook) -> Iterator[None]:
    """Hooks and evaluation mode on the user's own module, for as long as one run takes."""
    modes = [(module, module.training) for module in network.modules()]
    handles = []
    try:
        for module, _ in modes:
            module.training = False
            handles.append(module.register_forward_hook(hook))
        yield
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes:
            module.training = training
