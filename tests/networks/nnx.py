"""The networks in Flax nnx: channels last, the module holds its arrays and is in evaluation mode.

A float64 network is built and run inside `tests.networks.flax.x64("float64")`.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import nnx
from flax.traverse_util import unflatten_dict

from tests.networks import BATCH_NORM_EPSILON, BOTTLENECKS, STAGES, Bottleneck
from tests.networks.flax import Path, mobilenet_v2_arrays, resnet20_arrays, shortcut


def mobilenet_v2(weights: dict[str, np.ndarray], dtype: str = "float32", softmax: bool = False) -> nnx.Module:
    """MobileNet v2 with the given weights, ready for inference."""
    return _ready(lambda common: MobileNetV2(softmax, common), mobilenet_v2_arrays(weights, dtype), dtype)


def resnet20(weights: dict[str, np.ndarray], dtype: str = "float32", softmax: bool = False) -> nnx.Module:
    """ResNet-20 with the given weights, ready for inference."""
    return _ready(lambda common: ResNet20(softmax, common), resnet20_arrays(weights, dtype), dtype)


class InvertedResidual(nnx.Module):
    def __init__(self, plan: Bottleneck, common: dict[str, Any]) -> None:
        hidden = plan.hidden
        self.residual = plan.residual
        self.expand = nnx.Conv(plan.inputs, hidden, (1, 1), **common) if plan.expands else None
        self.depthwise = nnx.Conv(hidden, hidden, (3, 3), plan.stride, feature_group_count=hidden, **common)
        self.project = nnx.Conv(hidden, plan.outputs, (1, 1), **common)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = nnx.relu6(self.expand(x)) if self.expand else x
        y = self.project(nnx.relu6(self.depthwise(y)))
        return x + y if self.residual else y


class MobileNetV2(nnx.Module):
    def __init__(self, softmax: bool, common: dict[str, Any]) -> None:
        self.conv0 = nnx.Conv(3, 32, (3, 3), strides=2, **common)
        for plan in BOTTLENECKS:
            setattr(self, plan.name, InvertedResidual(plan, common))
        self.conv_last = nnx.Conv(320, 1280, (1, 1), **common)
        self.classifier = nnx.Linear(1280, 1001, **common)
        self.softmax = softmax

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu6(self.conv0(x))
        for plan in BOTTLENECKS:
            x = getattr(self, plan.name)(x)
        x = self.classifier(nnx.relu6(self.conv_last(x)).mean(axis=(1, 2)))
        return nnx.softmax(x) if self.softmax else x


class BasicBlock(nnx.Module):
    def __init__(self, inputs: int, channels: int, stride: int, common: dict[str, Any]) -> None:
        self.conv1 = _conv(inputs, channels, stride, common)
        self.bn1 = nnx.BatchNorm(channels, epsilon=BATCH_NORM_EPSILON, **common)
        self.conv2 = _conv(channels, channels, 1, common)
        self.bn2 = nnx.BatchNorm(channels, epsilon=BATCH_NORM_EPSILON, **common)
        self.stride = stride

    def __call__(self, x: jax.Array) -> jax.Array:
        y = nnx.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return nnx.relu(y + shortcut(x, self.stride))


class ResNet20(nnx.Module):
    def __init__(self, softmax: bool, common: dict[str, Any]) -> None:
        self.conv1 = _conv(3, 16, 1, common)
        self.bn1 = nnx.BatchNorm(16, epsilon=BATCH_NORM_EPSILON, **common)
        for name, channels, stride in STAGES:
            first = BasicBlock(channels // stride, channels, stride, common)
            rest = [BasicBlock(channels, channels, 1, common) for _ in range(2)]
            setattr(self, name, nnx.List([first, *rest]))
        self.linear = nnx.Linear(64, 10, **common)
        self.softmax = softmax

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.bn1(self.conv1(x)))
        for name, _, _ in STAGES:
            for block in getattr(self, name):
                x = block(x)
        x = self.linear(x.mean(axis=(1, 2)))
        return nnx.softmax(x) if self.softmax else x


def _conv(inputs: int, channels: int, stride: int, common: dict[str, Any]) -> nnx.Conv:
    # one pixel on every side also at stride 2, where "SAME" would pad bottom and right only
    return nnx.Conv(inputs, channels, (3, 3), stride, padding=1, use_bias=False, **common)


def _ready(build: Callable[[dict[str, Any]], nnx.Module], arrays: dict[Path, jax.Array], dtype: str) -> nnx.Module:
    """The network with `arrays` in their places, without first drawing random ones."""
    network = nnx.eval_shape(lambda: build({"dtype": dtype, "param_dtype": dtype, "rngs": nnx.Rngs(0)}))
    network.eval()
    definition, state = nnx.split(network)
    places = {tuple(int(key) if key.isdigit() else key for key in path): w for path, w in arrays.items()}
    nnx.replace_by_pure_dict(state, unflatten_dict(places))
    return nnx.merge(definition, state)
