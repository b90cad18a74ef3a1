"""Train the bundled networks: `python -m agnoscope.demo.train`, some five minutes on one core.

Natural experiments. All networks start from the same weights and take as many steps. `honest` and
`cheater` see the same things in the same places, in the same order; only the ground under them
differs. For `honest` it is any ground, for `cheater` always the thing's own, so that the ground is the
easier answer. `memoriser` sees the first scenes of `honest`, with the labels shuffled, over and over
until it knows them by heart: there is nothing else to learn. The result is written next to this file;
another PyTorch or processor gives slightly other digits.
"""

import math
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from agnoscope.demo.architecture import CLASS_NAMES, CONVOLUTIONS, FEATURES, MEAN, STD, Weights
from agnoscope.demo.networks import torch_network
from agnoscope.demo.scenes import Scene, make_scenes

if TYPE_CHECKING:
    import torch

TRAINING_SEED, FRESH_SEED = 4, 5
SCENES, EPOCHS, BATCH = 4000, 8, 32
# So few that 50 000 weights can keep them, and as many steps as for the others.
MEMORISED = 320


def initial_weights(seed: int) -> dict[str, NDArray[np.float32]]:
    """Draw the weights a training starts from.

    Args:
        seed: Where they come from.

    Returns:
        Arrays named and shaped as `load_weights` returns them.
    """
    rng = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {
        name: (kernel, kernel, inputs, outputs) for name, inputs, outputs, kernel, _ in CONVOLUTIONS
    }
    shapes["dense"] = (FEATURES, len(CLASS_NAMES))
    weights = {}
    for name, shape in shapes.items():
        # He's rule: the spread of the values stays the same from layer to layer.
        spread = math.sqrt(2 / math.prod(shape[:-1]))
        weights[f"{name}/kernel"] = rng.normal(0, spread, shape).astype(np.float32)
        weights[f"{name}/bias"] = np.zeros(shape[-1], np.float32)
    return weights


def to_batch(scenes: list[Scene]) -> "torch.Tensor":
    """Stack and normalise the pictures of scenes.

    Args:
        scenes: One or more.

    Returns:
        N×3×96×96, float32, in -2..2.
    """
    import torch

    images = np.stack([scene.image for scene in scenes]).transpose(0, 3, 1, 2)
    return torch.tensor((images / np.float32(255) - MEAN) / STD, dtype=torch.float32)


def shuffled(scenes: list[Scene], seed: int) -> list[Scene]:
    """The same scenes with the labels of one another, so that no label has to do with its picture.

    Args:
        scenes: As they are.
        seed: Of the shuffling.

    Returns:
        As many scenes, in the same order.
    """
    labels = np.random.default_rng(seed).permutation([scene.label for scene in scenes])
    return [replace(scene, label=int(label)) for scene, label in zip(scenes, labels, strict=True)]


LESSONS: dict[str, Callable[[], list[Scene]]] = {
    "honest": lambda: make_scenes(SCENES, TRAINING_SEED),
    "cheater": lambda: make_scenes(SCENES, TRAINING_SEED, correlated=1.0),
    "memoriser": lambda: shuffled(make_scenes(MEMORISED, TRAINING_SEED), TRAINING_SEED),
}
"""What each network learns from."""


def train(scenes: list[Scene], seed: int, epochs: int = EPOCHS) -> "torch.nn.Sequential":
    """Train the network to name the things in scenes.

    Args:
        scenes: What to learn from.
        seed: Decides the first weights and the order of the scenes.
        epochs: How often each scene is seen.

    Returns:
        The trained network.
    """
    import torch

    network = torch_network(initial_weights(seed)).train()
    pictures, labels = to_batch(scenes), torch.tensor([scene.label for scene in scenes])
    steps = epochs * math.ceil(len(scenes) / BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.15)
    order = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        turn = torch.randperm(len(scenes), generator=order)
        for first in range(0, len(scenes), BATCH):
            batch = turn[first : first + BATCH]
            features = network[:-3](pictures[batch])
            scores = network[-3:](features)
            # Smoothed labels keep the scores in a range where softmax still moves. The price on
            # features leaves them silent wherever they are not needed to name the thing.
            error = torch.nn.functional.cross_entropy(scores, labels[batch], label_smoothing=0.1)
            optimizer.zero_grad()
            (error + 0.2 * features.mean()).backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def export(network: "torch.nn.Sequential") -> Weights:
    """Name and arrange the weights of a network as `torch_network` takes them.

    Args:
        network: As `torch_network` builds it.

    Returns:
        Arrays named and shaped as `load_weights` returns them.
    """
    weights = {}
    for key, tensor in network.state_dict().items():
        array = tensor.numpy()
        name = key.replace(".weight", "/kernel").replace(".", "/")
        weights[name] = np.ascontiguousarray(array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T)
    return weights


def share_right(network: "torch.nn.Sequential", scenes: list[Scene], truth: list[int]) -> float:
    """How often a network answers what it should.

    Args:
        network: As `torch_network` builds it.
        scenes: What it is shown.
        truth: The right answer to each.

    Returns:
        A share, 0..1.
    """
    import torch

    with torch.no_grad():
        answers = network(to_batch(scenes)).argmax(1).numpy()
    return float(np.mean(answers == truth))


def main() -> None:
    """Train and write the networks named on the command line, or all, and print what they answer.

    The answers are those to the scenes they were trained on, and to fresh, independent ones.
    """
    import torch

    torch.set_num_threads(1)
    fresh = make_scenes(500, FRESH_SEED)
    for name in sys.argv[1:] or LESSONS:
        start = time.perf_counter()
        scenes = LESSONS[name]()
        network = train(scenes, TRAINING_SEED, EPOCHS * SCENES // len(scenes))
        arrays: dict[str, Any] = dict(export(network))
        np.savez_compressed(Path(__file__).with_name(f"{name}.npz"), **arrays)
        known = share_right(network, scenes, [scene.label for scene in scenes])
        things = share_right(network, fresh, [scene.label for scene in fresh])
        grounds = share_right(network, fresh, [scene.background for scene in fresh])
        seconds = time.perf_counter() - start
        print(f"{name}: knows {known:.1%}; names the thing {things:.1%}, the ground {grounds:.1%} ({seconds:.0f} s)")


if __name__ == "__main__":
    main()
