"""The networks in PyTorch, as torchvision writes them.

NCHW, ReLU modules that work in place, and in a block of ResNet one of them used twice.
"""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.networks import BATCH_NORM_EPSILON, BOTTLENECKS, STAGES, Bottleneck


def mobilenet_v2(weights: dict[str, np.ndarray], dtype: str = "float32", softmax: bool = False) -> nn.Module:
    """MobileNet v2 with the given weights, ready for inference."""
    state = {_torch_name(name): w.transpose(_torch_axes(name)) for name, w in weights.items()}
    return _ready(MobileNetV2(softmax), state, dtype)


def resnet20(weights: dict[str, np.ndarray], dtype: str = "float32", softmax: bool = False) -> nn.Module:
    """ResNet-20 with the given weights, ready for inference."""
    return _ready(ResNet20(softmax), weights, dtype)


@contextmanager
def one_thread() -> Iterator[None]:
    """Where PyTorch computes in one thread: the same sums each time, and no waiting on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class SameConv2d(nn.Conv2d):
    """A 3×3 convolution padded as in TensorFlow: stride 2 pads even sizes below and on the right only."""

    def __init__(self, inputs: int, outputs: int, stride: int, groups: int = 1) -> None:
        super().__init__(inputs, outputs, 3, stride, padding=0 if stride == 2 else 1, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (0, 1, 0, 1)) if self.stride == (2, 2) else x)


class InvertedResidual(nn.Module):
    def __init__(self, plan: Bottleneck) -> None:
        super().__init__()
        self.residual = plan.residual
        self.expands = plan.expands
        if plan.expands:
            self.expand = nn.Conv2d(plan.inputs, plan.hidden, 1)
            self.expand_relu = nn.ReLU6(inplace=True)
        self.depthwise = SameConv2d(plan.hidden, plan.hidden, plan.stride, groups=plan.hidden)
        self.depthwise_relu = nn.ReLU6(inplace=True)
        self.project = nn.Conv2d(plan.hidden, plan.outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.expand_relu(self.expand(x)) if self.expands else x
        y = self.project(self.depthwise_relu(self.depthwise(y)))
        return x + y if self.residual else y


class MobileNetV2(nn.Sequential):
    def __init__(self, softmax: bool) -> None:
        layers = OrderedDict[str, nn.Module](conv0=SameConv2d(3, 32, stride=2), relu0=nn.ReLU6(inplace=True))
        layers.update((plan.name, InvertedResidual(plan)) for plan in BOTTLENECKS)
        layers.update(conv_last=nn.Conv2d(320, 1280, 1), relu_last=nn.ReLU6(inplace=True))
        layers.update(pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), classifier=nn.Linear(1280, 1001))
        if softmax:
            layers.update(softmax=nn.Softmax(dim=1))
        super().__init__(layers)


class BasicBlock(nn.Module):
    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels, eps=BATCH_NORM_EPSILON)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels, eps=BATCH_NORM_EPSILON)
        self.relu = nn.ReLU(inplace=True)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += self.shortcut(x)
        return self.relu(y)

    def shortcut(self, x: Tensor) -> Tensor:
        """The block's input; where the block halves it, every second pixel between zero channels."""
        half = x.shape[1] // 2
        return x if self.stride == 1 else F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, half, half))


class ResNet20(nn.Module):
    def __init__(self, softmax: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16, eps=BATCH_NORM_EPSILON)
        self.relu = nn.ReLU(inplace=True)
        for name, channels, stride in STAGES:
            first = BasicBlock(channels // stride, channels, stride)
            rest = [BasicBlock(channels, channels, 1) for _ in range(2)]
            self.add_module(name, nn.Sequential(first, *rest))
        self.linear = nn.Linear(64, 10)
        self.softmax = nn.Softmax(dim=1) if softmax else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        for name, _, _ in STAGES:
            x = self.get_submodule(name)(x)
        x = self.linear(x.mean(dim=(2, 3)))
        return self.softmax(x) if self.softmax else x


def _torch_name(name: str) -> str:
    return name.replace("/", ".").replace("kernel", "weight")


def _torch_axes(name: str) -> tuple[int, ...]:
    if name.endswith("bias"):
        return (0,)
    if name == "classifier/kernel":
        return (1, 0)
    return (2, 3, 0, 1) if "depthwise" in name else (3, 2, 0, 1)


def _ready(network: nn.Module, state: dict[str, np.ndarray], dtype: str) -> nn.Module:
    batches = {name: w for name, w in network.state_dict().items() if name.endswith("num_batches_tracked")}
    network.load_state_dict(batches | {name: torch.tensor(w) for name, w in state.items()})
    return network.to(getattr(torch, dtype)).eval()
