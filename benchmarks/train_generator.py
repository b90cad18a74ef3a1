"""Train the small generator of demo scenes: `python -m benchmarks.train_generator`, some ten minutes on one core.

A variational autoencoder (Kingma and Welling, ICLR 2014) whose decoder becomes the generator: its pictures are to look
like the scenes in their pixels, the thing's counting more than the ground's, and to the honest network's layers
(Dosovitskiy and Brox, NIPS 2016). The result is written next to `agnoscope.demo`; another PyTorch or processor gives
slightly other digits.
"""

import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from agnoscope.demo import generator
from agnoscope.demo.architecture import MEAN, STD, load_weights
from agnoscope.demo.networks import torch_network
from agnoscope.demo.scenes import SIZE, Scene, make_scenes

SEED: Final = 6
SCENES, STEPS, BATCH = 4000, 1200, 32
RATE: Final = 3e-3
THING: Final = 4.0
"""How much more a pixel of the thing counts than one of the ground."""
FEATURES: Final = {"relu2": 0.02, "relu4": 0.02}
"""How much the honest network's layers count beside the pixels."""
CODES: Final = 1e-4
"""How much the codes' distance from a normal distribution counts, for each of their numbers."""


def initial_weights() -> dict[str, Any]:
    """The weights of the generator before training, by He's rule."""
    rng = np.random.default_rng(SEED)
    weights = {}
    for name, inputs, outputs, kernel, _, _ in generator.CONVOLUTIONS:
        # Of the first kernel each code meets one pixel only.
        met = inputs * (1 if name == "conv1" else kernel**2)
        weights[f"{name}/kernel"] = rng.normal(0, np.sqrt(2 / met), (kernel, kernel, inputs, outputs))
        weights[f"{name}/bias"] = np.zeros(outputs)
    return {name: array.astype(np.float32) for name, array in weights.items()}


def simple(scene: Scene) -> tuple[Any, Any]:
    """The picture and the mask of a scene whose thing lies in the middle, and whose ground has one colour."""
    rows, columns = np.flatnonzero(scene.mask.any(axis=1)), np.flatnonzero(scene.mask.any(axis=0))
    shift = tuple((SIZE - 1 - int(side[0]) - int(side[-1])) // 2 for side in (rows, columns))
    mask = np.roll(scene.mask, shift, axis=(0, 1))
    ground = scene.clean.mean(axis=(0, 1)).astype(np.uint8)
    return np.where(mask[..., None], np.roll(scene.image, shift, axis=(0, 1)), ground), mask


def encoder() -> nn.Sequential:
    """From scenes to the mean and the logarithm of the variance of their codes."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 16), (16, 32), (32, 48), (48, 64)):
        layers += [nn.Conv2d(inputs, outputs, 4, 2, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 6 * 6, 2 * generator.CODE))


def features(honest: nn.Sequential, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
    """What the honest network's layers give for pictures in 0..1."""
    x, found = (pictures - MEAN) / STD, {}
    for name, layer in honest.named_children():
        x = layer(x)
        if name in FEATURES:
            found[name] = x
        if len(found) == len(FEATURES):
            break
    return found


def loss(
    made: torch.Tensor, wanted: torch.Tensor, masks: torch.Tensor, honest: nn.Sequential, codes: torch.Tensor
) -> torch.Tensor:
    """How far pictures are from the scenes, and the codes' distribution, (mean, log variance), from a normal one."""
    far = ((made - wanted) ** 2 * (1 + (THING - 1) * masks)).mean()
    with torch.no_grad():
        truth = features(honest, wanted)
    for name, seen in features(honest, made).items():
        far = far + FEATURES[name] * ((seen - truth[name]) ** 2).mean()
    mean, spread = codes.chunk(2, dim=1)
    return far + CODES * (mean**2 + spread.exp() - spread - 1).sum(dim=1).mean()


def train(steps: int = STEPS) -> nn.Sequential:
    """The trained generator."""
    torch.manual_seed(SEED)
    scenes = [np.stack(each) for each in zip(*map(simple, make_scenes(SCENES, SEED)), strict=True)]
    pictures, masks = torch.tensor(scenes[0].transpose(0, 3, 1, 2)), torch.tensor(scenes[1][:, None])
    honest = torch_network(load_weights("honest")).requires_grad_(False)
    decoder, reader = generator.torch_network(initial_weights()).train(), encoder()
    weights = [*decoder.parameters(), *reader.parameters()]
    optimiser = torch.optim.Adam(weights, RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps, pct_start=0.1)
    order = torch.Generator().manual_seed(SEED)
    start = time.perf_counter()
    for step in range(1, steps + 1):
        rows = torch.randint(SCENES, (BATCH,), generator=order)
        wanted = pictures[rows].float() / 255
        codes = reader(wanted - 0.5)
        mean, spread = codes.chunk(2, dim=1)
        drawn = mean + (spread / 2).exp() * torch.randn(mean.shape, generator=order)
        error = loss(decoder(drawn[:, :, None, None]), wanted, masks[rows].float(), honest, codes)
        optimiser.zero_grad()
        error.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step}: {error.item():.4f} ({time.perf_counter() - start:.0f} s)", flush=True)
    return decoder.eval()


def export(decoder: nn.Sequential) -> dict[str, Any]:
    """The weights as `agnoscope.demo.generator.load_weights` reads them, in half precision."""
    weights = {}
    for key, tensor in decoder.state_dict().items():
        array = tensor.numpy().astype(np.float16)
        name = key.replace(".weight", "/kernel").replace(".", "/")
        weights[name] = np.ascontiguousarray(array.transpose(2, 3, 1, 0)) if array.ndim == 4 else array
    return weights


def main() -> None:
    """Train and write the weights."""
    torch.set_num_threads(1)
    path = Path(generator.__file__).with_name("generator.npz")
    np.savez_compressed(path, **export(train()))
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
