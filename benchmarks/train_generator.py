"""Train the small generator of demo scenes: `python -m benchmarks.train_generator`, some seven minutes on one core.

A variational autoencoder (Kingma and Welling, ICLR 2014) whose decoder becomes the generator. It learns from the demo
scenes made simple: the thing in the middle, on a ground of one colour. The result is written into `agnoscope.demo`;
another PyTorch or processor gives slightly other digits.
"""

import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from agnoscope.demo import generator
from agnoscope.demo.scenes import SIZE, Scene, make_scenes

SEED: Final = 6
SCENES, STEPS, BATCH = 4000, 2000, 32
RATE: Final = 5e-3
THING: Final = 6.0
"""How much more a pixel of the thing counts than one of the ground."""
CODES: Final = 1e-4
"""How much the codes' distance from a normal distribution counts beside the mean square of the pixels' errors."""


def simple(scene: Scene) -> tuple[Any, Any]:
    """The picture and the mask of a scene whose thing lies in the middle, and whose ground has one colour."""
    rows, columns = np.flatnonzero(scene.mask.any(axis=1)), np.flatnonzero(scene.mask.any(axis=0))
    shift = tuple((SIZE - 1 - int(side[0]) - int(side[-1])) // 2 for side in (rows, columns))
    mask = np.roll(scene.mask, shift, axis=(0, 1))
    ground = scene.clean.mean(axis=(0, 1)).astype(np.uint8)
    return np.where(mask[..., None], np.roll(scene.image, shift, axis=(0, 1)), ground), mask


def decoder() -> nn.Sequential:
    """The generator as it is trained: a batch normalisation after each convolution but the last."""
    layers: list[nn.Module] = []
    for _, inputs, outputs, kernel, padding, factor in generator.CONVOLUTIONS:
        layers += [nn.Upsample(scale_factor=factor)] if factor > 1 else []
        layers += [nn.Conv2d(inputs, outputs, kernel, padding=padding), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-2], nn.Sigmoid())


def encoder() -> nn.Sequential:
    """From scenes to the mean and the logarithm of the variance of their codes."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 16), (16, 32), (32, 48), (48, 64)):
        layers += [nn.Conv2d(inputs, outputs, 4, 2, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 6 * 6, 2 * generator.CODE))


def train(steps: int = STEPS) -> nn.Sequential:
    """The trained decoder."""
    torch.manual_seed(SEED)
    scenes = [np.stack(each) for each in zip(*map(simple, make_scenes(SCENES, SEED)), strict=True)]
    pictures, masks = torch.tensor(scenes[0].transpose(0, 3, 1, 2)), torch.tensor(scenes[1][:, None])
    reads, paints = encoder(), decoder()
    optimiser = torch.optim.Adam([*reads.parameters(), *paints.parameters()], RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps, pct_start=0.1)
    start = time.perf_counter()
    for step in range(1, steps + 1):
        rows = torch.randint(SCENES, (BATCH,))
        wanted, thing = pictures[rows].float() / 255, masks[rows].float()
        mean, spread = reads(wanted - 0.5).chunk(2, dim=1)
        code = mean + (spread / 2).exp() * torch.randn_like(mean)
        apart = ((paints(code[:, :, None, None]) - wanted) ** 2 * (1 + (THING - 1) * thing)).mean()
        error = apart + CODES * (mean**2 + spread.exp() - spread - 1).sum(dim=1).mean()
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step}: {error.item():.4f} ({time.perf_counter() - start:.0f} s)", flush=True)
    return paints.eval()


def export(paints: nn.Sequential) -> dict[str, Any]:
    """The weights as `agnoscope.demo.load_weights` reads them, normalisations folded in, half precision."""
    modules = [*paints]
    weights: dict[str, Any] = {}
    places = [place for place, module in enumerate(modules) if isinstance(module, nn.Conv2d)]
    for (name, *_), place in zip(generator.CONVOLUTIONS, places, strict=True):
        layer, after = modules[place], modules[place + 1]
        folded = fuse_conv_bn_eval(layer, after) if isinstance(after, nn.BatchNorm2d) else layer
        kernel, bias = (tensor.detach().numpy().astype(np.float16) for tensor in (folded.weight, folded.bias))
        weights |= {f"{name}/kernel": np.ascontiguousarray(kernel.transpose(2, 3, 1, 0)), f"{name}/bias": bias}
    return weights


def main() -> None:
    """Train and write the weights."""
    torch.set_num_threads(1)
    path = Path(generator.__file__).with_name("generator.npz")
    np.savez_compressed(path, **export(train()))
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
