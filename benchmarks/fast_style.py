"""Fast style transfer beside the optimisation of the same pictures: its time, and the same loss.

    python -m benchmarks.fast_style [torch|jax|tensorflow] [steps of training] [picture.png]

A network is trained on the demo scenes, against a bundled network; then scenes that it never saw are painted by one
pass each, and by `StyleTransfer`. Asked for are 100 times the speed, and a loss of twice the optimised one at the most.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from agnoscope.demo.models import load
from agnoscope.demo.scenes import SIZE, make_scenes
from agnoscope.explainers.synthesis.style_transfer import StyleTransfer
from agnoscope.fast_style.training import FastStyle
from agnoscope.model import Model
from agnoscope.optimisation.parameterisations.pixels import Pixels
from agnoscope.synthesis import as_picture

FAST = FastStyle()
OPTIMISED = StyleTransfer(total_variation=FAST.total_variation, style_weight=FAST.style_weight)
PALETTE = ((18, 32, 110), (40, 110, 190), (245, 200, 60), (250, 240, 210), (200, 60, 40))


def main(backend: str = "torch", steps: str = "1000", picture: str = "") -> None:
    console, model = Console(width=110), load("honest", backend)
    scenes = [scene.image for scene in make_scenes(200, seed=1)]
    unseen = [floats(scene.image) for scene in make_scenes(5, seed=99)]
    style = floats(waves())
    start = perf_counter()
    network = replace(FAST, iterations=int(steps)).train(model, scenes, style)
    console.print(f"{network.training.steps} steps in {perf_counter() - start:.0f} s")

    table = Table(title=f"demo scenes, {SIZE} × {SIZE}, {backend}; times are medians")
    for column in ("scene", "optimised, s", "one pass, ms", "faster", "optimised loss", "loss of the pass", "ratio"):
        table.add_column(column, justify="right")
    pictures = []
    for number, photo in enumerate(unseen):
        slow, best = timed(partial(OPTIMISED, model, photo, style), 1)
        fast, made = timed(partial(network, photo), 31)
        aim, loss = (judged(model, photo, style, each.images[0]) for each in (best, made))
        row = (f"{slow:.2f}", f"{fast * 1000:.1f}", f"{slow / fast:.0f} ×", f"{aim:.3f}", f"{loss:.3f}")
        table.add_row(str(number), *row, f"{loss / aim:.2f}")
        pictures.append(np.concatenate([photo, best.images[0], made.images[0]]))
    console.print(table)
    if picture:
        from PIL import Image

        Image.fromarray(as_picture(np.concatenate(pictures, axis=1), (0.0, 1.0))).save(picture)


def waves() -> NDArray[np.uint8]:
    """A painting of waves in five colours."""
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE * 2 * np.pi
    height = 0.6 * np.sin(3 * x + 2 * np.sin(2 * y) + 1.5 * np.cos(x + y)) + 0.4 * np.sin(5 * y + 2 * np.sin(3 * x))
    place = (height + 1) / 2 * (len(PALETTE) - 1)
    channels = [np.interp(place, np.arange(len(PALETTE)), colours) for colours in zip(*PALETTE, strict=True)]
    return np.stack(channels, axis=-1).astype(np.uint8)


def floats(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """As the network takes it."""
    return (picture / 255).astype(np.float32)


def timed(work: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Median seconds, after a first time that compiles, and what the work gives."""
    found = work()
    times = []
    for _ in range(repeats):
        start = perf_counter()
        work()
        times.append(perf_counter() - start)
    return median(times), found


def judged(model: Model, photo: NDArray[Any], style: NDArray[Any], picture: NDArray[Any]) -> float:
    """The loss of a finished picture."""
    look = replace(OPTIMISED, iterations=1, scales=1, start=picture, parameterisation=Pixels())
    return -float(next(look.steps(model, photo, style)).objective[0])


if __name__ == "__main__":
    main(*sys.argv[1:])
