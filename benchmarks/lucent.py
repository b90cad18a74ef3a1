"""A whole visualisation beside lucent's: same network, size, steps and recipe, in turns.

    pip install torch-lucent "kornia<0.5" decorator future ipython
    python -m benchmarks.lucent [--steps 64] [--rounds 3]

MobileNet v2 and ResNet-50 with random weights in PyTorch, a channel in the middle and one at the end, 224 pixels, one
thread, CPU time. Both begin from a spectrum with decorrelated colours and use jitter, scale, rotation and Adam.
"""

import argparse
import sys
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks.cost import interleaved

LAYERS = {"mobilenet_v2": ("block6.expand", "conv_last"), "resnet50": ("9", "18")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    for name, layers in LAYERS.items():
        for layer in layers:
            ours, theirs = measure(name, layer, args.steps, args.rounds)
            print(
                f"{name:<14}{layer:<16}{ours / theirs:6.3f}  ({ours / 1000:.2f} s against {theirs / 1000:.2f} s)",
                flush=True,
            )


def measure(name: str, layer: str, steps: int, rounds: int) -> tuple[float, float]:
    """Median milliseconds of agnoscope and of lucent."""
    import torch

    import benchmarks.bare
    from agnoscope import Channel, wrap
    from agnoscope.explainers.synthesis.feature_visualization import FeatureVisualization

    stand_in_for_torchvision()
    from lucent.optvis import objectives, param, render

    torch.set_num_threads(1)
    network = benchmarks.bare.torch(name).network[0].eval()
    model = wrap(network, input_size=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))

    def ours() -> Any:
        return FeatureVisualization(iterations=steps)(model, Channel(layer, 3))

    theirs = partial(
        render.render_vis,
        network,
        objectives.channel(layer.replace(".", "_"), 3),
        lambda: param.image(224),
        thresholds=(steps,),
        progress=False,
        show_image=False,
    )
    times = interleaved([ours, theirs], rounds)
    return times[0], times[1]


def stand_in_for_torchvision() -> None:
    """Lucent imports torchvision for one class, and for its list of networks, which is not needed here."""
    try:
        import torchvision
    except ImportError:
        import torch

        class Normalize(torch.nn.Module):
            def __init__(self, mean: Any, std: Any) -> None:
                super().__init__()
                self.mean, self.std = (torch.tensor(np.reshape(each, (-1, 1, 1))).float() for each in (mean, std))

            def forward(self, x: Any) -> Any:
                return (x - self.mean) / self.std

        transforms, torchvision = ModuleType("torchvision.transforms"), ModuleType("torchvision")
        transforms.Normalize = Normalize  # type: ignore[attr-defined]
        torchvision.transforms = transforms  # type: ignore[attr-defined]
        sys.modules |= {"torchvision": torchvision, "torchvision.transforms": transforms}


if __name__ == "__main__":
    main()
