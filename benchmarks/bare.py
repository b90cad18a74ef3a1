"""The bare networks and what a user would write by hand, per framework: the yardstick of `cost`.

Each function returns a `Bare`: the network to wrap, and closures over it for the plain forward and for the
forward with an input gradient, compiled as that framework's users do. Weights are random: cost does not read them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.networks import BOTTLENECKS

STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
"""Of ResNet-50: channels inside a block, blocks, stride of the first."""


@dataclass(frozen=True)
class Bare:
    """A network without us.

    Attributes:
        network: what `agnoscope.wrap` takes, with its parameters.
        prepare: a NumPy array (images, 224, 224, 3) to what the network takes; not timed.
        forward: from that to the scores, as a NumPy array.
        gradient: likewise to the gradient of each image's first score.
    """

    network: tuple[Any, Any]
    prepare: Callable[[np.ndarray], Any]
    forward: Callable[[Any], Any]
    gradient: Callable[[Any], Any]


def mobilenet_weights() -> dict[str, np.ndarray]:
    """Random weights of MobileNet v2, in the shapes that the tests' builders expect."""
    rng = np.random.default_rng(0)

    def kernel(*shape: int) -> np.ndarray:
        return (rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[:-1]))).astype(np.float32)

    def bias(size: int) -> np.ndarray:
        return np.zeros(size, np.float32)

    weights = {"conv0/kernel": kernel(3, 3, 3, 32), "conv0/bias": bias(32)}
    for plan in BOTTLENECKS:
        parts = {"depthwise": (3, 3, plan.hidden, 1), "project": (1, 1, plan.hidden, plan.outputs)}
        parts |= {"expand": (1, 1, plan.inputs, plan.hidden)} if plan.expands else {}
        for part, shape in parts.items():
            channels = plan.hidden if part == "depthwise" else shape[-1]
            weights[f"{plan.name}/{part}/kernel"] = kernel(*shape)
            weights[f"{plan.name}/{part}/bias"] = bias(channels)
    weights |= {"conv_last/kernel": kernel(1, 1, 320, 1280), "conv_last/bias": bias(1280)}
    return weights | {"classifier/kernel": kernel(1280, 1001), "classifier/bias": bias(1001)}


def torch(name: str) -> Bare:
    """In PyTorch: inference mode forward; autograd with frozen weights."""
    import torch

    from tests.networks.torch import mobilenet_v2

    torch.set_num_threads(1)
    network = mobilenet_v2(mobilenet_weights()) if name == "mobilenet_v2" else _torch_resnet50()
    network = network.eval()

    def prepare(images: np.ndarray) -> Any:
        # As data loaders hand them on: channels first, contiguous.
        return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))

    @torch.inference_mode()
    def forward(x: Any) -> Any:
        return network(x).numpy()

    def gradient(x: Any) -> Any:
        for parameter in network.parameters():
            parameter.requires_grad_(False)
        x = x.detach().requires_grad_()
        return torch.autograd.grad(network(x)[:, 0].sum(), x)[0].numpy()

    return Bare((network, None), prepare, forward, gradient)


def _torch_resnet50() -> Any:
    import torch
    from torch import nn

    def conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
        layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        return nn.Sequential(layer, nn.BatchNorm2d(outputs))

    class Block(nn.Module):
        def __init__(self, inputs: int, width: int, stride: int) -> None:
            super().__init__()
            self.first, self.second, self.third = (
                conv(inputs, width, 1),
                conv(width, width, 3, stride),
                conv(width, 4 * width, 1),
            )
            self.shortcut = conv(inputs, 4 * width, 1, stride) if inputs != 4 * width else nn.Identity()
            self.relu = nn.ReLU(inplace=True)

        def forward(self, x: Any) -> Any:
            y = self.third(self.relu(self.second(self.relu(self.first(x)))))
            return self.relu(y + self.shortcut(x))

    torch.manual_seed(0)
    layers: list[nn.Module] = [conv(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    inputs = 64
    for width, blocks, stride in STAGES:
        for i in range(blocks):
            layers.append(Block(inputs, width, stride if i == 0 else 1))
            inputs = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000))


def jax(name: str) -> Bare:
    """In JAX: jitted, with the parameters as arguments."""
    import jax

    from tests.networks.linen import mobilenet_v2

    if name == "mobilenet_v2":
        module, variables = mobilenet_v2(mobilenet_weights())
    else:
        module = _linen_resnet50()
        variables = module.init(jax.random.key(0), np.zeros((1, 224, 224, 3), np.float32))
    forward = jax.jit(module.apply)
    gradient = jax.jit(jax.grad(lambda x, v: module.apply(v, x)[:, 0].sum()))
    return Bare(
        (module, variables),
        jax.numpy.asarray,
        lambda x: np.asarray(forward(variables, x)),
        lambda x: np.asarray(gradient(x, variables)),
    )


def _linen_resnet50() -> Any:
    from flax import linen as nn

    class Block(nn.Module):
        width: int
        stride: int

        @nn.compact
        def __call__(self, x: Any) -> Any:
            y = x
            for size, kernel, stride in ((1, 1, 1), (1, 3, self.stride), (4, 1, 1)):
                y = nn.Conv(self.width * size, (kernel, kernel), stride, kernel // 2, use_bias=False)(y)
                y = nn.BatchNorm(use_running_average=True)(y)
                y = nn.relu(y) if size == 1 else y
            if x.shape != y.shape:
                x = nn.BatchNorm(use_running_average=True)(
                    nn.Conv(4 * self.width, (1, 1), self.stride, use_bias=False)(x)
                )
            return nn.relu(x + y)

    class ResNet50(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            x = nn.relu(nn.BatchNorm(use_running_average=True)(nn.Conv(64, (7, 7), 2, 3, use_bias=False)(x)))
            x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
            for width, blocks, stride in STAGES:
                for i in range(blocks):
                    x = Block(width, stride if i == 0 else 1)(x)
            return nn.Dense(1000)(x.mean(axis=(1, 2)))

    return ResNet50()


def tensorflow(name: str) -> Bare:
    """In TensorFlow: one tf.function each."""
    import keras
    import tensorflow as tf

    from tests.networks.keras import mobilenet_v2

    if name == "mobilenet_v2":
        network = mobilenet_v2(mobilenet_weights())
    else:
        network = keras.applications.ResNet50(weights=None, classifier_activation=None)

    @tf.function
    def scores(images: Any) -> Any:
        return network(images, training=False)

    @tf.function
    def slopes(images: Any) -> Any:
        return tf.gradients(tf.reduce_sum(network(images, training=False)[:, 0]), images)[0]

    return Bare(
        (network, None),
        tf.constant,
        lambda x: scores(x).numpy(),
        lambda x: slopes(x).numpy(),
    )
