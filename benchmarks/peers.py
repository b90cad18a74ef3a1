"""Presets beside the libraries whose numbers they give: how far apart are they?

    python -m benchmarks.peers [--library captum]

One image through small networks with random weights, in PyTorch and in Keras. The difference is the largest one, as a
share of the peer's largest value. Where a method is random, the peer is handed our random numbers. Needs what is to be
compared with: pip install captum grad-cam tf-keras-vis saliency xplique; what is missing is named and passed over.
"""

import argparse
import os
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import agnoscope as ag
from agnoscope.presets import PRESETS

Array = NDArray[Any]
Peer = Callable[[], Array]
"""Runs a peer; gives its values for one image, shape (height, width) or (height, width, channels)."""

SIZE, CLASSES, TARGET = (24, 20), 5, 3
IMAGE: Array = np.random.default_rng(0).uniform(size=(*SIZE, 3))
SEGMENTS: Array = np.arange(SIZE[0])[:, None] // 8 * 2 + np.arange(SIZE[1])[None, :] // 10
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "captum:occlusion": {"window": (6, 5)},
    "captum:feature-ablation": {"segments": SEGMENTS},
    "captum:shapley-sampling": {"segments": SEGMENTS},
}
"""What a peer has no default for."""
EXACT, NOISE = 1e-6, 1e-4
"""Differences up to which float64 counts as the same, and float32 as its noise."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--library", choices=list(LIBRARIES))
    asked = parser.parse_args().library
    table = Table()
    for column in ("preset", "peer", "difference", "dtype", "verdict"):
        table.add_column(column)
    for library, (package, dtype, peers) in LIBRARIES.items():
        if asked in (None, library):
            for row in rows(library, package, dtype, peers):
                table.add_row(*row)
    Console(width=130).print(table)


def rows(library: str, package: str, dtype: str, peers: Callable[[], Mapping[str, Peer]]) -> Iterator[tuple[str, ...]]:
    """One row for each preset of a library, or one that says why there are none."""
    try:
        peer, made = f"{package} {version(package)}", peers()
    except (PackageNotFoundError, ImportError) as error:
        yield f"{library}:*", package, "", "", f"passed over: {error}"
        return
    for name in PRESETS:
        method = name.removeprefix(f"{library}:")
        if method == name:
            continue
        if method not in made:
            yield name, peer, "", dtype, "not compared"
            continue
        try:
            theirs = made[method]()
        except Exception as error:  # whatever an old library makes of new versions of the others
            yield name, peer, "", dtype, f"the peer fails: {type(error).__name__}: {str(error)[:60]}"
            continue
        difference, verdict = compared(name, theirs, dtype)
        yield name, peer, f"{difference:.1e}", dtype, verdict


def compared(name: str, theirs: Array, dtype: str) -> tuple[float, str]:
    """How far a preset is from its peer, and what that means."""
    ours = explained(name)
    assert ours.shape == theirs.shape, (name, ours.shape, theirs.shape)
    difference = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    if difference <= (EXACT if dtype == "float64" else NOISE):
        return difference, "the same" if dtype == "float64" else "the same within float32"
    return difference, "DIFFERENT"


def explained(name: str) -> Array:
    """Our values of the preset, on the network that its library explains."""
    options = {"layer": "last"} if name.endswith(("-cam", "-cam++")) else OPTIONS.get(name, {})
    explainer, keras = ag.preset(name, **options), name.startswith(("tf-keras-vis:", "xplique:"))
    model = ag.wrap(keras_network() if keras else torch_network(), bounds=(-1, 1))
    return explainer(model, IMAGE[None].astype("float32" if keras else "float64"), TARGET).values[0]


@cache
def torch_network() -> Any:
    """Three convolutions with normalisation and ReLUs, of which "last" is the last, and two linear layers; float64."""
    from collections import OrderedDict

    import torch
    from torch import nn

    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)  # captum makes tensors of its own
    layers: list[tuple[str, nn.Module]] = []
    for i, (before, after, stride) in enumerate(((3, 8, 1), (8, 12, 2), (12, 16, 2))):
        norm = nn.BatchNorm2d(after)
        layers += [(f"conv{i}", nn.Conv2d(before, after, 3, stride, 1)), (f"norm{i}", norm)]
        layers.append(("last" if i == 2 else f"relu{i}", nn.ReLU()))
        for tensor, low, high in ((norm.running_mean, -1, 1), (norm.running_var, 0.5, 2), (norm.bias, -1, 1)):
            nn.init.uniform_(tensor, low, high)
    layers += [("flatten", nn.Flatten()), ("hidden", nn.Linear(16 * 6 * 5, 12)), ("relu", nn.ReLU())]
    return nn.Sequential(OrderedDict([*layers, ("classifier", nn.Linear(12, CLASSES))])).eval()


@cache
def keras_network() -> Any:
    """Three convolutions, and after the ReLU "last" the mean and a linear layer; float32."""
    import keras

    keras.utils.set_random_seed(0)
    x = images = keras.Input((*SIZE, 3))
    for i, (filters, stride) in enumerate(((8, 1), (12, 2), (16, 2))):
        x = keras.layers.Conv2D(filters, 3, stride, padding="same", name=f"conv{i}")(x)
        x = keras.layers.ReLU(name="last" if i == 2 else f"relu{i}")(x)
    x = keras.layers.Dense(12, "relu", name="hidden")(keras.layers.Flatten()(x))
    return keras.Model(images, keras.layers.Dense(CLASSES, name="classifier")(x))


def drawn(samples: int) -> NDArray[np.float32]:
    """The normal numbers that our methods draw for an image."""
    return np.random.default_rng(0).standard_normal((samples, *IMAGE.shape), dtype=np.float32)


def nchw(array: Array) -> Any:
    import torch

    return torch.tensor(array).permute(0, 3, 1, 2).contiguous()


def nhwc(tensor: Any) -> Array:
    return np.asarray(tensor.detach()[0].permute(1, 2, 0))


def captum() -> Mapping[str, Peer]:
    import torch
    from captum import attr

    network = torch_network()
    x, last = nchw(IMAGE[None]), network.get_submodule("last")
    mask = torch.tensor(SEGMENTS)[None, None]

    def plain(method: Any, **options: Any) -> Peer:
        return lambda: nhwc(method.attribute(x, target=TARGET, **options))

    def spread(method: Any, **options: Any) -> Peer:
        return lambda: plain(method, **options)()[..., 0]  # which all channels share

    def smoothgrad() -> Array:
        with mock.patch.object(torch, "normal", return_value=nchw(drawn(5).astype(np.float64))):  # deviation 1
            return plain(attr.NoiseTunnel(attr.Saliency(network)))()

    def gradient_shap() -> Array:
        rng = np.random.default_rng(0)
        rng.integers(1)
        with mock.patch.object(np.random, "uniform", return_value=rng.random(5, dtype=np.float32)):
            return plain(attr.GradientShap(network), baselines=torch.zeros_like(x))()

    def shapley_sampling() -> Array:
        orders = np.random.default_rng(0).random((25, SEGMENTS.max() + 1), dtype=np.float32).argsort(axis=1)
        method = attr.ShapleyValueSampling(network)
        method.permutation_generator = lambda *_: iter(orders.tolist())
        return spread(method, feature_mask=mask)()

    return {
        "saliency": plain(attr.Saliency(network)),
        "smoothgrad": smoothgrad,
        "input-x-gradient": plain(attr.InputXGradient(network)),
        "integrated-gradients": plain(attr.IntegratedGradients(network)),
        "gradient-shap": gradient_shap,
        "deep-lift": plain(attr.DeepLift(network)),
        "guided-backprop": plain(attr.GuidedBackprop(network)),
        "deconvnet": plain(attr.Deconvolution(network)),
        "grad-cam": lambda: attr.LayerGradCam(network, last).attribute(x, TARGET).detach().numpy()[0, 0],
        "guided-grad-cam": plain(attr.GuidedGradCam(network, last)),
        "occlusion": spread(attr.Occlusion(network), sliding_window_shapes=(3, 6, 5)),
        "feature-ablation": spread(attr.FeatureAblation(network), feature_mask=mask),
        "shapley-sampling": shapley_sampling,
    }


def pytorch_grad_cam() -> Mapping[str, Peer]:
    import pytorch_grad_cam as peer
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    network = torch_network()

    def cam(kind: str) -> Peer:
        def run() -> Array:
            layers = [] if kind == "FullGrad" else [network.get_submodule("last")]
            with getattr(peer, kind)(model=network, target_layers=layers) as made:
                return np.asarray(made(input_tensor=nchw(IMAGE[None]), targets=[ClassifierOutputTarget(TARGET)])[0])

        return run

    def turned(kind: str, module: Any) -> Peer:
        """The peer leaves the sign of a component to chance: here it is ours."""
        project = module.get_2d_projection

        def projected(maps: Array) -> Array:
            found = project(maps)
            return np.where((found * maps.mean(axis=1)).sum() < 0, -found, found)

        def run() -> Array:
            with mock.patch.object(module, "get_2d_projection", projected):
                return cam(kind)()

        return run

    kinds = {"grad-cam": "GradCAM", "hires-cam": "HiResCAM", "layer-cam": "LayerCAM", "xgrad-cam": "XGradCAM"}
    kinds |= {"grad-cam++": "GradCAMPlusPlus", "score-cam": "ScoreCAM"}
    kinds |= {"ablation-cam": "AblationCAM", "full-grad": "FullGrad"}
    guided = peer.GuidedBackpropReLUModel(deepcopy(network))  # all of whose ReLUs it replaces, for good
    return {
        **{method: cam(kind) for method, kind in kinds.items()},
        "eigen-cam": turned("EigenCAM", import_module("pytorch_grad_cam.eigen_cam")),
        "eigen-grad-cam": turned("EigenGradCAM", import_module("pytorch_grad_cam.eigen_grad_cam")),
        "guided-backprop": lambda: guided(nchw(IMAGE[None]), TARGET),
    }


def keras_vis() -> Mapping[str, Peer]:
    from tf_keras_vis.gradcam import Gradcam
    from tf_keras_vis.layercam import Layercam
    from tf_keras_vis.saliency import Saliency
    from tf_keras_vis.utils.scores import CategoricalScore

    network, score, x = keras_network(), CategoricalScore([TARGET]), IMAGE[None].astype(np.float32)

    def cam(kind: Any) -> Peer:
        options = {"penultimate_layer": "last", "seek_penultimate_conv_layer": False}
        return lambda: np.asarray(kind(network)(score, x, **options))[0]

    def smoothgrad() -> Array:
        noise = lambda _, sigma, __: np.asarray(sigma) * drawn(20)[:, None]  # noqa: E731
        with mock.patch.object(np.random, "normal", noise):
            return np.asarray(Saliency(network)(score, x, smooth_samples=20))[0]

    return {
        "saliency": lambda: np.asarray(Saliency(network)(score, x))[0],
        "smoothgrad": smoothgrad,
        "grad-cam": cam(Gradcam),
        "layer-cam": cam(Layercam),
    }


def pair() -> Mapping[str, Peer]:
    import saliency.core as peer
    import torch

    network = torch_network()

    def run(images: Array, **_: Any) -> dict[str, Array]:
        x = nchw(np.asarray(images, dtype=np.float64)).requires_grad_()
        maps: list[Any] = []
        hook = network.get_submodule("last").register_forward_hook(lambda *given: maps.append(given[2]))
        scores = network(x)[:, TARGET]
        hook.remove()
        slopes = torch.autograd.grad(scores.sum(), [x, maps[0]])
        x_slope, maps_slope, maps_now = (np.asarray(t.detach().permute(0, 2, 3, 1)) for t in (*slopes, maps[0]))
        return {
            peer.INPUT_OUTPUT_GRADIENTS: x_slope,
            peer.CONVOLUTION_OUTPUT_GRADIENTS: maps_slope,
            peer.CONVOLUTION_LAYER_VALUES: maps_now,
        }

    def smoothgrad() -> Array:
        noise = iter(drawn(25))
        with mock.patch.object(np.random, "normal", lambda _, sigma, __: np.float32(sigma) * next(noise)):
            return np.asarray(peer.GradientSaliency().GetSmoothedMask(IMAGE, run))

    return {
        "saliency": lambda: peer.GradientSaliency().GetMask(IMAGE, run),
        "smoothgrad": smoothgrad,
        "integrated-gradients": lambda: peer.IntegratedGradients().GetMask(IMAGE, run),
        "grad-cam": lambda: peer.GradCam().GetMask(IMAGE, run)[..., 0],
    }


def xplique() -> Mapping[str, Peer]:
    import tensorflow as tf
    from xplique import attributions

    network, x = keras_network(), IMAGE[None].astype(np.float32)
    target = np.eye(CLASSES, dtype=np.float32)[[TARGET]]

    def plain(method: str) -> Peer:
        return lambda: np.asarray(getattr(attributions, method)(network).explain(x, target))[0, ..., 0]

    def smoothgrad() -> Array:
        def noise(shape: Any, *_: Any, **__: Any) -> Any:
            return tf.constant(np.reshape(0.2 * drawn(50), shape))

        with mock.patch.object(tf.random, "normal", noise):
            return np.asarray(attributions.SmoothGrad(network, batch_size=None).explain(x, target))[0, ..., 0]

    return {
        "saliency": plain("Saliency"),
        "smoothgrad": smoothgrad,
        "input-x-gradient": plain("GradientInput"),
        "integrated-gradients": plain("IntegratedGradients"),
    }


LIBRARIES: Mapping[str, tuple[str, str, Callable[[], Mapping[str, Peer]]]] = {
    "captum": ("captum", "float64", captum),
    "pytorch-grad-cam": ("grad-cam", "float32", pytorch_grad_cam),
    "tf-keras-vis": ("tf-keras-vis", "float32", keras_vis),
    "pair": ("saliency", "float64", pair),
    "xplique": ("xplique", "float32", xplique),
}
"""Library to its distribution, the precision of its results, and its methods."""


if __name__ == "__main__":
    main()
