"""The conformance kit's networks in PyTorch, and what the tests ask of any network."""

import hashlib
import sys
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

import agnoscope as ag
from agnoscope.backends.reference import (
    AveragePool,
    Conv,
    Dense,
    GlobalAverage,
    Network,
    Operation,
    Relu,
    Sigmoid,
    Softmax,
)
from agnoscope.gradients import gradients
from agnoscope.model import Model


class Shifted(nn.Module):
    """A network with a second input, which is added to its output."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        return self.network(x) + shift


class GlobalAveragePool(nn.Module):
    """The mean over height and width, as (images, channels)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=(2, 3))


def build(network: Network, **options: Any) -> ag.Model:
    """The described network in PyTorch, wrapped with these options."""
    return ag.wrap(as_module(network), **options)


def build_shifted(network: Network, **options: Any) -> ag.Model:
    """The described network with an input that is added to its output."""
    return ag.wrap(Shifted(as_module(network)), **options)


def as_module(network: Network) -> nn.Sequential:
    """The described network in PyTorch, a module for each operation under its name."""
    return nn.Sequential(OrderedDict((name, _module(operation)) for name, operation in network.layers.items()))


def capture(model: Model, images: np.ndarray, *names: str) -> dict[str, np.ndarray]:
    """The named values of a run."""
    return model.compile(_capture, names)(images)


def slope(model: Model, images: np.ndarray, layer: str) -> np.ndarray:
    """The gradient of the sum of all scores with respect to a layer's activation."""
    return model.compile(_slope, layer)(images)["slope"]


def _capture(model: Model, names: tuple[str, ...], images: Any) -> dict[str, Any]:
    return model.run(images, names)


def _slope(model: Model, layer: str, images: Any) -> dict[str, Any]:
    found = gradients(model, images, _sum_of_scores, needs=("scores",), at=(layer,), capture=(layer,))
    return {"slope": found.layers[layer]}


def _sum_of_scores(xp: Any, values: Mapping[str, Any]) -> Any:
    return xp.sum(xp.reshape(values["scores"], (values["scores"].shape[0], -1)), axis=1)


@contextmanager
def restless_threads() -> Iterator[None]:
    """Where threads take turns after a few instructions rather than every 5 ms."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


def fingerprint(model: Any) -> Any:
    """What must not change of the user's network: weights, gradients, modes and hooks."""
    return state_of(model.network)


def state_of(network: nn.Module) -> Any:
    """Weights, gradients, flags, modes, hooks and attributes of every module, comparable."""
    weights = {name: _digest(tensor) for name, tensor in network.state_dict().items()}
    flags = {name: (p.requires_grad, _digest(p.grad), p._version) for name, p in network.named_parameters()}
    modes = {name: (_attributes(module), _hooks(module)) for name, module in network.named_modules()}
    return weights, flags, modes


def _digest(tensor: torch.Tensor | None) -> str | None:
    return None if tensor is None else hashlib.sha256(repr(tensor.tolist()).encode()).hexdigest()


def _attributes(module: nn.Module) -> dict[str, Any]:
    return {name: value if isinstance(value, bool) else id(value) for name, value in vars(module).items()}


def _hooks(module: nn.Module) -> int:
    return sum(len(hooks) for name, hooks in vars(module).items() if name.endswith("_hooks"))


def _module(operation: Operation) -> nn.Module:
    match operation:
        case Conv(kernel, bias, stride, padding):
            h, w, before, after = kernel.shape
            conv = nn.Conv2d(before, after, (h, w), stride, padding)
            return _filled(conv, kernel.transpose(3, 2, 0, 1), bias)
        case Dense(kernel, bias):
            return _filled(nn.Linear(*kernel.shape), kernel.T, bias)
        case Relu(high):
            return nn.ReLU() if high is None else nn.Hardtanh(0.0, high)
        case AveragePool(size):
            return nn.AvgPool2d(size)
        case GlobalAverage():
            return GlobalAveragePool()
        case Softmax():
            return nn.Softmax(dim=-1)
        case Sigmoid():
            return nn.Sigmoid()


def _filled(module: Any, weight: Any, bias: Any) -> nn.Module:
    module.weight = nn.Parameter(torch.tensor(weight))
    module.bias = nn.Parameter(torch.tensor(bias))
    return module
