"""Fast style transfer beside the optimisation of the same pictures: its time, and the same loss.

    python -m benchmarks.fast_style [torch|jax|tensorflow] [seconds of training]

A network is trained on the demo scenes, against a bundled network; then scenes that it never saw are painted by one
pass each, and by gradient steps on the pixels towards the same loss. Asked for are 100 times the speed, and a loss of
twice the optimised one at the most.
"""

import os
import sys
from dataclasses import dataclass
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any, final

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from agnoscope.demo.models import load
from agnoscope.demo.scenes import make_scenes
from agnoscope.explainers.synthesis.base import Plan, Synthesizer
from agnoscope.fast_style.style_network import StyleNetwork
from agnoscope.fast_style.training import FastStyle
from agnoscope.model import Model
from agnoscope.optimisation.canvas import Canvas
from agnoscope.optimisation.optimisers import Adam
from agnoscope.optimisation.parameterisations.pixels import Pixels
from agnoscope.optimisation.stage import Stage
from agnoscope.targets.features import Distance, GramDistance, features_of, gram_matrix

METHOD = FastStyle(
    iterations=1000, style=("relu1", "relu2"), content="relu3", width=8, optimiser=Adam(0.005, fall=1000)
)
STEPS = 500
"""Of the optimisation, whose loss then falls by less than a hundredth in fifty steps."""


@final
@dataclass(frozen=True)
class Optimised(Synthesizer):
    """The loss that the network is trained for, lowered by gradient steps on the pixels instead (Gatys et al., 2016)."""

    name = "optimised style"

    iterations: int = STEPS
    seed: int = 0

    def plan(self, model: Model, photo: NDArray[Any], style: NDArray[Any], start: NDArray[Any]) -> Plan:
        """Plan one picture of a photo, from a start."""
        canvas = Canvas.of(model, photo.shape[:2])
        wanted = METHOD.content_weight * Distance.to(model, photo, METHOD.content)
        for name, features in features_of(model, style[None], METHOD.style).items():
            gram = gram_matrix(np, features)[0]
            wanted = wanted + METHOD.style_weight / len(METHOD.style) * GramDistance(name, gram)
        stage = Stage(
            canvas,
            Pixels(),
            (-wanted).bind(model, 1, canvas.size),
            self.iterations,
            Adam(0.02),
            penalties=METHOD.penalties,
            begin=lambda _: start[None],
            restful=True,
        )
        return Plan((stage,), ("picture",))


def main(backend: str = "torch", seconds: str = "300") -> None:
    console, model = Console(width=110), load("honest", backend)
    scenes = [scene.image for scene in make_scenes(200, seed=1)]
    unseen = [floats(scene.image) for scene in make_scenes(5, seed=99)]
    style = floats(next(scene.clean for scene in make_scenes(9, seed=3) if scene.background == 2))
    start = perf_counter()
    network = trained(model, scenes, style, float(seconds))
    console.print(f"{network.training.steps} steps in {perf_counter() - start:.0f} s on {os.cpu_count()} cores")

    table = Table(title=f"demo scenes, 96 × 96, {backend}; times are medians")
    for column in ("scene", "optimised, s", "one pass, ms", "faster", "optimised loss", "loss of the pass", "ratio"):
        table.add_column(column, justify="right")
    for number, photo in enumerate(unseen):
        slow, best = timed(partial(Optimised(), model, photo, style, photo), 1)
        fast, made = timed(partial(network, photo), 21)
        loss, aim = (judged(model, photo, style, each.images[0]) for each in (made, best))
        row = (f"{slow:.2f}", f"{fast * 1000:.1f}", f"{slow / fast:.0f} ×", f"{aim:.3f}", f"{loss:.3f}")
        table.add_row(str(number), *row, f"{loss / aim:.2f}")
    console.print(table)


def trained(model: Model, scenes: list[Any], style: Any, seconds: float) -> StyleNetwork:
    """The network after all steps, or after so many seconds."""
    start = perf_counter()

    def stop(_: Any) -> None:
        if perf_counter() - start > seconds:
            raise KeyboardInterrupt

    return METHOD.train(model, scenes, style, callback=stop)


def floats(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """As the network takes it."""
    return (picture / 255).astype(np.float32)


def timed(work: Any, repeats: int) -> tuple[float, Any]:
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
    state = next(Optimised(iterations=1).steps(model, photo, style, picture))
    return -float(state.objective[0])


if __name__ == "__main__":
    main(*sys.argv[1:])
