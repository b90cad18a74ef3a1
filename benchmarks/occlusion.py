"""What occlusion of VGG-16 costs: incrementally, in full runs, and with captum.

    python -m benchmarks.occlusion [torch|jax|tensorflow] [--rounds 3] [--captum 1 2 4 8 16]

An image of 224 × 224 pixels, windows of 32 at steps of 16: 169 of them, the network with random weights. Each framework
runs in a process of its own, in one thread; CPU time is taken, all ways take turns, and medians are compared. The
first image pays for finding the cuts and for compiling, the next one does not. Full runs take 8 windows at once and
have run before. captum, in PyTorch, is given each of the listed `perturbations_per_eval`.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks.cost import FRAMEWORKS, ONE_THREAD

PLAN = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)
"""Of VGG-16: channels of its convolutions, 0 for a pool."""

SIZE, WINDOW, STEP, CLASS = (224, 224), 32, 16, 3
SCALE = 2.4
"""What random weights are multiplied by, so that the score depends on what is hidden."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("frameworks", nargs="*", choices=[*FRAMEWORKS, []], help="by default all three")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--captum", type=int, nargs="*", default=(1, 2, 4, 8, 16), help="perturbations_per_eval")
    parser.add_argument("--here", action="store_true", help="measure in this process")
    args = parser.parse_args()
    if args.here:
        measure(args.frameworks[0], args.rounds, args.captum)
        return
    for framework in args.frameworks or FRAMEWORKS:
        options = ["--here", "--rounds", str(args.rounds), "--captum", *map(str, args.captum)]
        command = [sys.executable, "-m", "benchmarks.occlusion", framework, *options]
        subprocess.run(command, env={**os.environ, **ONE_THREAD}, check=True)


def measure(framework: str, rounds: int, evals: tuple[int, ...]) -> None:
    """Time every way of one framework and print its line; then how far the scores are apart."""
    from agnoscope import wrap
    from agnoscope.explainers.base import OneImage, score_program
    from agnoscope.explainers.perturbation import incremental
    from agnoscope.explainers.perturbation.occlusion import Occlusion
    from agnoscope.target import as_target

    network = globals()[framework]()
    image = np.random.default_rng(0).uniform(size=(*SIZE, 3)).astype(np.float32)
    filling, windows = np.full_like(image, 0.5), Occlusion(WINDOW, STEP).windows(SIZE)

    def question() -> OneImage:
        model = wrap(*network, input_size=SIZE)
        bound = as_target(CLASS).bind(model, 1, SIZE)
        score = model.compile(score_program, bound.formula)(image[None], bound.arrays)["scores"][0]
        return OneImage(model, image, bound, float(score), 2, lambda _: None)

    one = question()
    program = one.model.compile(score_program, one.target.formula)

    def full(each: int = 8) -> Any:
        hidden = np.repeat(image[None], len(windows), axis=0)
        for number, (top, bottom, left, right) in enumerate(windows):
            hidden[number, top:bottom, left:right] = filling[top:bottom, left:right]
        hidden = np.concatenate([hidden, np.repeat(hidden[-1:], -len(windows) % each, axis=0)])
        parts = [program(hidden[i : i + each], one.arrays(each))["scores"] for i in range(0, len(hidden), each)]
        return np.concatenate(parts)[: len(windows)]

    fresh = [question() for _ in range(rounds)]
    ways: dict[str, Callable[[], Any]] = {
        "incremental, next image": partial(incremental.scores_incrementally, one, filling, windows),
        "incremental, first image": lambda: incremental.scores_incrementally(fresh.pop(), filling, windows),
        "full runs": full,
    }
    if framework == "torch":
        ways |= {f"captum, {each} per eval": partial(captum, network[0], image, each) for each in evals}
    first, plain = ways["incremental, next image"](), full()  # which warms up both
    assert first is not None, "incremental occlusion fell back"
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds):
        for name, way in list(ways.items())[:: 1 if turn % 2 else -1]:
            start = time.process_time()
            way()
            times[name].append(time.process_time() - start)
    best = statistics.median(times["incremental, next image"])
    for name, taken in times.items():
        median = statistics.median(taken)
        print(f"{framework:<11}{name:<26}{median:7.2f} s {median / best:6.2f} ×", flush=True)
    error, fall = np.abs(first - plain).max(), np.abs(plain - one.score).max()
    print(f"{framework:<11}largest error {error / np.abs(plain).max():.1e} of the score, largest fall {fall:.3g}")


def captum(network: Any, image: np.ndarray, each: int) -> Any:
    """What a user of captum calls."""
    import captum.attr
    import torch

    torch.set_num_threads(1)
    x = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)[None]))
    options = {"strides": (3, STEP, STEP), "baselines": 0.5, "target": CLASS, "perturbations_per_eval": each}
    with torch.no_grad():
        return captum.attr.Occlusion(network).attribute(x, (3, WINDOW, WINDOW), **options)


def torch() -> tuple[Any, Any]:
    """In PyTorch, as torchvision has it."""
    import torch
    from torch import nn

    torch.set_num_threads(1)
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    channels = 3
    for width in PLAN:
        if width:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width
        else:
            layers.append(nn.MaxPool2d(2, 2))
    layers += [nn.AdaptiveAvgPool2d(7), nn.Flatten(), nn.Linear(25088, 4096), nn.ReLU(inplace=True), nn.Dropout()]
    layers += [nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(4096, 1000)]
    network = nn.Sequential(*layers).eval()
    for parameter in network.parameters():
        parameter.data *= SCALE
    return network, None


def jax() -> tuple[Any, Any]:
    """In Flax linen."""
    import jax
    from flax import linen as nn

    class VGG16(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            for width in PLAN:
                x = nn.relu(nn.Conv(width, (3, 3))(x)) if width else nn.max_pool(x, (2, 2), (2, 2))
            x = x.reshape(x.shape[0], -1)
            for _ in range(2):
                x = nn.relu(nn.Dense(4096)(x))
            return nn.Dense(1000)(x)

    network = VGG16()
    return network, network.init(jax.random.key(0), np.zeros((1, *SIZE, 3), np.float32))


def tensorflow() -> tuple[Any, Any]:
    """Keras' own."""
    import keras

    return keras.applications.VGG16(weights=None, classifier_activation=None), None


if __name__ == "__main__":
    main()
