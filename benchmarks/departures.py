"""Where libraries leave their own papers: each beside the closed form, and agnoscope beside it too.

    python -m benchmarks.departures

Integrated gradients of a linear score must add up to it: x · w, whatever the number of steps. Grad-CAM++ of maps that
are averaged and read by one linear layer is known, too: the gradient is the same at every pixel of a map, so that
eq. 17 to 19 can be written down. Shown is the largest difference as a share of the largest value. What is not installed
(captum, tf-explain, grad-cam, xplique, tf-keras-vis) is passed over.
"""

import os
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import agnoscope as ag

Array = NDArray[Any]
SIZE, CHANNELS = (7, 7), 64
"""Of the maps before a ResNet's mean, but for the number of channels."""
RNG = np.random.default_rng(0)
IMAGE: Array = RNG.uniform(size=(*SIZE, 3)).astype(np.float32)
KERNEL: Array = RNG.normal(size=(3, CHANNELS)).astype(np.float32)
READ: Array = RNG.normal(scale=0.03, size=(CHANNELS, 2)).astype(np.float32)
"""The linear layer's weights for two classes, as large as a ResNet-50's; the first class is explained."""


def main() -> None:
    table = Table()
    for column in ("method and paper", "who", "off by", "why"):
        table.add_column(column)
    for method, (expected, ours, peers) in METHODS.items():
        table.add_row(method, "agnoscope", _off(ours(), expected()), "")
        for peer, (run, why) in peers.items():
            try:
                table.add_row("", peer, _off(run(), expected()), why)
            except ImportError as error:
                table.add_row("", peer, "", f"passed over: {error}")
    Console(width=130).print(table)


def _off(found: Array, expected: Array) -> str:
    return f"{np.abs(found - expected).max() / np.abs(expected).max():.1e}"


def _share(values: Array) -> Array:
    """What is positive, as a share of the largest value."""
    values = np.maximum(values, 0)
    return np.asarray(values / values.max())


# Integrated gradients of the linear network


def integrated_gradients() -> Array:
    return (IMAGE @ KERNEL @ READ[:, 0]).mean()


def our_integrated_gradients() -> Array:
    return ag.IntegratedGradients("zero")(keras_network(False), IMAGE, 0).values.sum()


def captum_trapezoid() -> Array:
    import torch
    from captum.attr import IntegratedGradients

    x = torch.tensor(IMAGE).permute(2, 0, 1)[None]
    return IntegratedGradients(torch_network(False)).attribute(x, target=0, method="riemann_trapezoid").sum().numpy()


def tf_explain() -> Array:
    from tf_explain.core.integrated_gradients import IntegratedGradients as Peer

    path = Peer.generate_interpolations(IMAGE[None], 10)
    return np.asarray(Peer.get_integrated_gradients(path, keras_network(False), 0, 10)).sum()


# Grad-CAM++ of the network with a ReLU


def grad_cam_plus_plus() -> Array:
    maps, slopes = np.maximum(IMAGE @ KERNEL, 0).astype(np.float64), READ[:, 0] / np.prod(SIZE)
    alpha = slopes**2 / (2 * slopes**2 + maps.sum(axis=(0, 1)) * slopes**3)  # eq. 19
    return _share(maps @ (np.prod(SIZE) * alpha * np.maximum(slopes, 0)))


def our_grad_cam_plus_plus() -> Array:
    return _share(ag.GradCAMPlusPlus("last")(keras_network(True), IMAGE, 0).values[0])


def pytorch_grad_cam() -> Array:
    import torch
    from pytorch_grad_cam import GradCAMPlusPlus
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    network = torch_network(True)
    with GradCAMPlusPlus(model=network, target_layers=[network.last]) as cam:
        activations, slopes = np.maximum(IMAGE @ KERNEL, 0), np.tile(READ[:, 0] / np.prod(SIZE), (*SIZE, 1))
        nchw = [np.moveaxis(array, -1, 0)[None] for array in (activations, slopes)]
        x = torch.tensor(IMAGE).permute(2, 0, 1)[None]
        weights = cam.get_cam_weights(x, cam.target_layers, [ClassifierOutputTarget(0)], *nchw)
    return _share(activations @ weights[0])


def xplique() -> Array:
    from xplique.attributions import GradCAMPP

    explainer = GradCAMPP(keras_network(True), conv_layer="last")
    return _share(np.asarray(explainer.explain(IMAGE[None], np.eye(2, dtype=np.float32)[:1]))[0, ..., 0])


def tf_keras_vis() -> Array:
    from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus
    from tf_keras_vis.utils.scores import CategoricalScore

    options = {"penultimate_layer": "last", "seek_penultimate_conv_layer": False, "normalize_cam": False}
    return _share(np.asarray(GradcamPlusPlus(keras_network(True))(CategoricalScore(0), IMAGE[None], **options))[0])


@cache
def keras_network(rectified: bool) -> Any:
    """Score = mean over the pixels of x · KERNEL, with or without a ReLU, times READ."""
    import keras

    x = images = keras.Input((*SIZE, 3))
    x = keras.layers.Conv2D(CHANNELS, 1, use_bias=False, name="conv")(x)
    x = keras.layers.ReLU(name="last")(x) if rectified else x
    x = keras.layers.Dense(2, use_bias=False)(keras.layers.GlobalAveragePooling2D()(x))
    network = keras.Model(images, x)
    network.set_weights([KERNEL[None, None], READ])
    return network


@cache
def torch_network(rectified: bool) -> Any:
    """The same in PyTorch."""
    from collections import OrderedDict

    import torch
    from torch import nn

    conv, dense = nn.Conv2d(3, CHANNELS, 1, bias=False), nn.Linear(CHANNELS, 2, bias=False)
    conv.weight.data, dense.weight.data = torch.tensor(KERNEL.T[:, :, None, None]), torch.tensor(READ.T)
    last = nn.ReLU() if rectified else nn.Identity()
    ends = {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "dense": dense}
    return nn.Sequential(OrderedDict(conv=conv, last=last, **ends)).eval()


Run = Callable[[], Array]
METHODS: Mapping[str, tuple[Run, Run, Mapping[str, tuple[Run, str]]]] = {
    "integrated gradients of a linear score (Sundararajan 2017)": (
        integrated_gradients,
        our_integrated_gradients,
        {
            "captum, trapezoid": (captum_trapezoid, "its weights add up to 1 - 1 / steps"),
            "tf-explain": (tf_explain, "not multiplied by the way from the baseline to the image"),
        },
    ),
    "Grad-CAM++ (Chattopadhay 2018)": (
        grad_cam_plus_plus,
        our_grad_cam_plus_plus,
        {
            "pytorch-grad-cam": (pytorch_grad_cam, "adds 1e-6 to a denominator of squared gradients, often smaller"),
            "xplique": (xplique, "the mean of the maps in eq. 19, where the paper has the sum"),
            "tf-keras-vis": (tf_keras_vis, "divides alpha by its sum over the map, as the authors' code does"),
        },
    ),
}
"""Method to the closed form, our number, and the peers' with the reason."""


if __name__ == "__main__":
    main()
