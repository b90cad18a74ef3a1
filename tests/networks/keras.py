"""The networks as functional Keras models, channels last.

Layers of a functional model form no tree, so each carries its place in its name: `block3.expand`. The layer
that ends a residual block bears the name of the block (`block5`, `layer3.2`), which elsewhere is a module.
"""

from functools import partial

import numpy as np
from keras import Input, KerasTensor, Model, layers, ops

from tests.networks import BATCH_NORM_EPSILON, BOTTLENECKS, STAGES, channels_last


def mobilenet_v2(weights: dict[str, np.ndarray], dtype: str = "float32", softmax: bool = False) -> Model:
    """MobileNet v2 with the given weights."""
    conv = partial(layers.Conv2D, padding="same", dtype=dtype)
    depthwise = partial(layers.DepthwiseConv2D, 3, padding="same", dtype=dtype)
    relu6 = partial(layers.ReLU, 6.0, dtype=dtype)

    x = images = Input((224, 224, 3), dtype=dtype)
    x = relu6(name="relu0")(conv(32, 3, 2, name="conv0")(x))
    for plan in BOTTLENECKS:
        y, name = x, plan.name
        if plan.expands:
            y = relu6(name=f"{name}.expand_relu")(conv(plan.hidden, 1, name=f"{name}.expand")(y))
        y = relu6(name=f"{name}.depthwise_relu")(depthwise(plan.stride, name=f"{name}.depthwise")(y))
        y = conv(plan.outputs, 1, name=f"{name}.project")(y)
        x = layers.Add(name=name, dtype=dtype)([x, y]) if plan.residual else y
    x = relu6(name="relu_last")(conv(1280, 1, name="conv_last")(x))
    x = layers.GlobalAveragePooling2D(name="pool", dtype=dtype)(x)
    x = layers.Dense(1001, "softmax" if softmax else None, name="classifier", dtype=dtype)(x)
    return _ready(Model(images, x), {name.replace("/", "."): w for name, w in weights.items()})


def resnet20(weights: dict[str, np.ndarray], dtype: str = "float32", softmax: bool = False) -> Model:
    """ResNet-20 with the given weights."""
    norm = partial(layers.BatchNormalization, epsilon=BATCH_NORM_EPSILON, dtype=dtype)
    relu = partial(layers.ReLU, dtype=dtype)

    def conv(x: KerasTensor, channels: int, stride: int, name: str) -> KerasTensor:
        # one pixel on every side also at stride 2, where "same" would pad bottom and right only
        x = layers.ZeroPadding2D(1, name=f"{name}_pad", dtype=dtype)(x)
        return layers.Conv2D(channels, 3, stride, use_bias=False, name=name, dtype=dtype)(x)

    x = images = Input((32, 32, 3), dtype=dtype)
    x = relu(name="relu")(norm(name="bn1")(conv(x, 16, 1, "conv1")))
    for stage, channels, first in STAGES:
        for i, stride in enumerate((first, 1, 1)):
            name = f"{stage}.{i}"
            y = norm(name=f"{name}.bn1")(conv(x, channels, stride, f"{name}.conv1"))
            y = norm(name=f"{name}.bn2")(conv(relu(name=f"{name}.relu1")(y), channels, 1, f"{name}.conv2"))
            x = relu(name=name)(layers.Add(name=f"{name}.add", dtype=dtype)([y, _shortcut(x, stride)]))
    x = layers.GlobalAveragePooling2D(name="pool", dtype=dtype)(x)
    x = layers.Dense(10, "softmax" if softmax else None, name="linear", dtype=dtype)(x)
    return _ready(Model(images, x), channels_last(weights))


def _shortcut(x: KerasTensor, stride: int) -> KerasTensor:
    """The block's input; where the block halves it, every second pixel between zero channels."""
    half = x.shape[-1] // 2
    return x if stride == 1 else ops.pad(x[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (half, half)))


def _ready(model: Model, weights: dict[str, np.ndarray]) -> Model:
    for layer in model.layers:
        if layer.weights:  # both files hold the arrays of a layer in Keras' order
            layer.set_weights([w for name, w in weights.items() if name.rpartition(".")[0] == layer.name])
    return model
