"""The networks in Flax linen: compact modules, channels last, variables apart from the module.

A float64 network is built and run inside `tests.networks.flax.x64("float64")`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from flax.traverse_util import unflatten_dict

from tests.networks import BATCH_NORM_EPSILON, BOTTLENECKS, STAGES, Bottleneck
from tests.networks.flax import Path, mobilenet_v2_arrays, resnet20_arrays, shortcut

Network = tuple[nn.Module, dict[str, Any]]
Layer = Callable[..., nn.Module]  # a layer's class with the options that its network fixes


def mobilenet_v2(weights: dict[str, np.ndarray], dtype: str = "float32", softmax: bool = False) -> Network:
    """MobileNet v2 and its variables, for `module.apply(variables, images)`."""
    return MobileNetV2(dtype, softmax), {"params": unflatten_dict(mobilenet_v2_arrays(weights, dtype))}


def resnet20(weights: dict[str, np.ndarray], dtype: str = "float32", softmax: bool = False) -> Network:
    """ResNet-20 and its variables, for `module.apply(variables, images)`."""
    arrays = resnet20_arrays(weights, dtype)
    return ResNet20(dtype, softmax), unflatten_dict({(_collection(path), *path): w for path, w in arrays.items()})


class InvertedResidual(nn.Module):
    plan: Bottleneck
    conv: Layer

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        hidden, stride, y = self.plan.hidden, self.plan.stride, x
        if self.plan.expands:
            y = nn.relu6(self.conv(hidden, (1, 1), name="expand")(y))
        y = nn.relu6(self.conv(hidden, (3, 3), stride, feature_group_count=hidden, name="depthwise")(y))
        y = self.conv(self.plan.outputs, (1, 1), name="project")(y)
        return x + y if self.plan.residual else y


class MobileNetV2(nn.Module):
    dtype: str
    softmax: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.dtype}
        conv = partial(nn.Conv, **types)
        x = nn.relu6(conv(32, (3, 3), strides=2, name="conv0")(x))
        for plan in BOTTLENECKS:
            x = InvertedResidual(plan, conv, name=plan.name)(x)
        x = nn.relu6(conv(1280, (1, 1), name="conv_last")(x))
        x = nn.Dense(1001, name="classifier", **types)(x.mean(axis=(1, 2)))
        return nn.softmax(x) if self.softmax else x


class BasicBlock(nn.Module):
    channels: int
    stride: int
    conv: Layer
    norm: Layer

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.conv(self.channels, strides=self.stride, name="conv1")(x)
        y = nn.relu(self.norm(name="bn1")(y))
        y = self.norm(name="bn2")(self.conv(self.channels, name="conv2")(y))
        return nn.relu(y + shortcut(x, self.stride))


class Stage(nn.Module):
    channels: int
    stride: int
    conv: Layer
    norm: Layer

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for i, stride in enumerate((self.stride, 1, 1)):
            x = BasicBlock(self.channels, stride, self.conv, self.norm, name=str(i))(x)
        return x


class ResNet20(nn.Module):
    dtype: str
    softmax: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.dtype}
        # one pixel on every side also at stride 2, where "SAME" would pad bottom and right only
        conv = partial(nn.Conv, kernel_size=(3, 3), padding=1, use_bias=False, **types)
        norm = partial(nn.BatchNorm, use_running_average=True, epsilon=BATCH_NORM_EPSILON, **types)
        x = nn.relu(norm(name="bn1")(conv(16, name="conv1")(x)))
        for name, channels, stride in STAGES:
            x = Stage(channels, stride, conv, norm, name=name)(x)
        x = nn.Dense(10, name="linear", **types)(x.mean(axis=(1, 2)))
        return nn.softmax(x) if self.softmax else x


def _collection(path: Path) -> str:
    return "batch_stats" if path[-1] in ("mean", "var") else "params"
