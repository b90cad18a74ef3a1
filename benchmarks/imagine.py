"""What a step of an optimised image costs, as a ratio to the bare network in the same run.

    python -m benchmarks.imagine [torch|jax|tensorflow] [--rounds 40] [--json FILE]

A step is all that a user waits for: a random view, the image from its spectrum, the network forward and backward, the
optimiser's step and the state that is handed out. The yardstick is one bare forward and backward pass to the image, its
input ready-made. As in `benchmarks.cost`, one thread and CPU time, and both take turns.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cost import FRAMEWORKS, NETWORKS, ONE_THREAD, interleaved

BOUND = 1.10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("frameworks", nargs="*", choices=[*FRAMEWORKS, []], help="by default all three")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--here", action="store_true", help="measure in this process and print JSON")
    args = parser.parse_args()
    if args.here:
        print(json.dumps([row for name in NETWORKS for row in measure(args.frameworks[0], name, args.rounds)]))
        return
    rows = []
    for framework in args.frameworks or FRAMEWORKS:
        command = [sys.executable, "-m", "benchmarks.imagine", framework, "--here", "--rounds", str(args.rounds)]
        done = subprocess.run(command, env={**os.environ, **ONE_THREAD}, stdout=subprocess.PIPE, text=True, check=True)
        for row in json.loads(done.stdout.splitlines()[-1]):
            mark = "" if row["ratio"] <= BOUND else "  over"
            times = f"({row['ours_ms']:.1f} ms against {row['bare_ms']:.1f} ms)"
            title = f"{row['framework']:<11}{row['network']:<14}{row['what']:<30}"
            print(f"{title}{row['ratio']:6.3f}  ≤ {BOUND:.2f}   {times}{mark}", flush=True)
            rows.append(row)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


def measure(framework: str, name: str, rounds: int) -> list[dict[str, Any]]:
    """Time one network in one framework; a row for each recipe."""
    import benchmarks.bare
    from agnoscope import wrap
    from agnoscope.explainers.synthesis.feature_visualization import FeatureVisualization
    from agnoscope.optimisation.optimisers import Ascent
    from agnoscope.optimisation.parameterisations.pixels import Pixels

    bare = getattr(benchmarks.bare, framework)(name)
    model = wrap(*bare.network, input_size=224)
    image = np.random.default_rng(0).uniform(size=(1, 224, 224, 3)).astype(np.float32)
    recipes = {
        "visualisation, all defaults": FeatureVisualization(iterations=rounds + 3),
        "pixels, no views, ascent": FeatureVisualization(
            iterations=rounds + 3, parameterisation=Pixels(), views=None, optimiser=Ascent(0.01)
        ),
    }
    rows = []
    for what, method in recipes.items():
        ours = stepper(method.steps(model, 0))
        times = interleaved([ours, partial(bare.gradient, bare.prepare(image))], rounds)
        row = {"framework": framework, "network": name, "what": what, "rounds": rounds}
        rows.append(row | {"ours_ms": times[0], "bare_ms": times[1], "ratio": times[0] / times[1]})
    return rows


def stepper(steps: Iterator[Any]) -> Callable[[], Any]:
    """One step of a run for each call."""
    return lambda: next(steps)


if __name__ == "__main__":
    main()
