"""Class activation maps beside pytorch-grad-cam: the same numbers where both follow the paper, and what each costs.

    python -m benchmarks.peers_cam [values|times] [--rounds 3]

Needs PyTorch and the package "grad-cam"; says so where it is missing. Values are compared in float64, at the layer's
own size of map, which is there that of the image: the peer resizes in another way. Times are CPU time in one thread,
of one image of 224 × 224 (32 × 32 for the ResNet), at the end of the last stage, weights as in `shared/models`.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

METHODS = {
    "grad_cam": "GradCAM",
    "grad_cam_plus_plus": "GradCAMPlusPlus",
    "hires_cam": "HiResCAM",
    "layer_cam": "LayerCAM",
    "xgrad_cam": "XGradCAM",
    "eigen_cam": "EigenCAM",
    "eigen_grad_cam": "EigenGradCAM",
    "score_cam": "ScoreCAM",
    "ablation_cam": "AblationCAM",
    "fullgrad": "FullGrad",
}
"""Our modules, each with the name of the class, which is the same here and there."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", nargs="?", choices=["values", "times"], help="by default both")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    try:
        import pytorch_grad_cam
        import torch
    except ImportError as error:
        print(f"{error.name} is not installed: pip install torch grad-cam, to compare with it.")
        return
    torch.set_num_threads(1)
    if args.what != "times":
        compare(pytorch_grad_cam)
    if args.what != "values":
        measure(pytorch_grad_cam, args.rounds)


def explainer(method: str, **options: Any) -> Any:
    return getattr(import_module(f"agnoscope.explainers.cams.{method}"), METHODS[method])(**options)


def small_network() -> Any:
    """A network of convolutions, ReLUs and batch normalisation whose maps keep the size of the image."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, after in ((3, 8), (8, 12), (12, 16)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    network = nn.Sequential(*layers, nn.AvgPool2d(4), nn.Flatten(), nn.Linear(16 * 4 * 5, 12), nn.ReLU())
    network.append(nn.Linear(12, 5))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in ((module.running_mean, -1, 1), (module.running_var, 0.5, 2), (module.bias, -1, 1)):
                nn.init.uniform_(tensor, low, high)
    return network.double().eval()


def compare(peer: Any) -> None:
    """Print how far the values lie apart, both without negative values and as a share of the largest."""
    import torch
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    import agnoscope as ag

    network, image = small_network(), np.random.default_rng(0).uniform(size=(16, 20, 3))
    model, x = ag.wrap(network), torch.tensor(image).permute(2, 0, 1)[None].contiguous()
    names = list(model.layers((16, 20)))
    layer = names[8]  # the last ReLU of the maps
    for method, theirs in METHODS.items():
        options = {} if method == "fullgrad" else {"layer": layer}
        ours = explainer(method, **options)(model, image, 3).values[0]
        given = network.get_submodule(layer)
        with getattr(peer, theirs)(model=network, target_layers=[] if method == "fullgrad" else [given]) as cam:
            other = cam(input_tensor=x, targets=[ClassifierOutputTarget(3)])[0].astype(np.float64)
        apart = min(np.abs(_scaled(sign * ours) - other).max() for sign in ((1, -1) if "eigen" in method else (1,)))
        print(f"{method:<19} {apart:.1e}", flush=True)


def _scaled(values: np.ndarray) -> np.ndarray:
    """As the peer normalises: what is positive, from 0 to 1, twice with its guard."""
    for _ in range(2):
        values = np.maximum(values, 0)
        values = values - values.min()
        values = values / (1e-7 + values.max())
    return values


def measure(peer: Any, rounds: int) -> None:
    """Print the time of one explanation by each, and their ratio."""
    import torch

    import agnoscope as ag
    from tests.networks import MOBILENET_V2, RESNET20, load_weights
    from tests.networks import torch as builders

    for case, layer in ((MOBILENET_V2, "relu_last"), (RESNET20, "layer3.2")):
        network = getattr(builders, case.name)(load_weights(case.weights)).eval()
        model = ag.wrap(network, input_size=case.size, mean=case.mean, std=case.std, range=case.range)
        photo = case.photo("chelsea")
        x = torch.tensor(case.normalise(photo[None] / np.float32(255))).float().permute(0, 3, 1, 2).contiguous()
        for method in ("grad_cam", "score_cam", "ablation_cam"):
            made = explainer(method, layer=layer)
            ours = partial(made, model, photo, 1)
            theirs = partial(_theirs, getattr(peer, METHODS[method]), network, layer, x)
            times = [_seconds(call, rounds if method == "grad_cam" else max(1, rounds // 3)) for call in (ours, theirs)]
            maps = model.compile(_captured, layer)(photo[None] / 255.0)["maps"]
            live = int((maps != 0).any(axis=(0, 1, 2)).sum())
            print(
                f"{case.name:<13}{method:<13} {times[0]:8.2f} s against {times[1]:8.2f} s: {times[1] / times[0]:6.1f} "
                f"times cheaper ({live} of {maps.shape[-1]} channels live)",
                flush=True,
            )


def _theirs(method: Any, network: Any, layer: str, x: Any) -> Any:
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    with method(model=network, target_layers=[network.get_submodule(layer)]) as cam:
        return cam(input_tensor=x, targets=[ClassifierOutputTarget(1)])


def _captured(model: Any, layer: str, images: Any) -> dict[str, Any]:
    return {"maps": model.run(images, (layer,))[layer]}


def _seconds(call: Callable[[], Any], rounds: int) -> float:
    """Median CPU time."""
    taken = []
    for _ in range(rounds):
        start = time.process_time()
        call()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


if __name__ == "__main__":
    main()
