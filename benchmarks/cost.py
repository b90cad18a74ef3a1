"""What an explanation costs, as a ratio to the bare network in the same run.

    python -m benchmarks.cost [torch|jax|tensorflow] [--rounds 15] [--json FILE]

Each framework runs in a process of its own, in one thread; CPU time is taken, which other processes disturb little.
The bare forward and our calls take turns, round by round, so that whatever else the machine does falls on all of them;
medians of the rounds are compared. A call of ours is all that a user waits for, from the array at the door to the
finished `Explanation`; the bare network gets its input ready-made.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

FRAMEWORKS = ("torch", "jax", "tensorflow")
NETWORKS = ("mobilenet_v2", "resnet50")
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}
BOUNDS = {
    **{f"{cam} / forward": 1.10 for cam in ("grad-cam", "grad-cam++", "hires-cam", "layer-cam", "xgrad-cam")},
    **{f"{method} / by hand": 1.05 for method in ("saliency", "integrated-gradients", "smoothgrad")},
    **{f"{method} / same forwards": 1.05 for method in ("occlusion", "rise", "score-cam")},
}
SAMPLES = 28
"""Of the methods that look many times."""


def main() -> None:
    tabulate("benchmarks.cost", __doc__, measure, rounds=15)


def tabulate(module: str, about: str, measure: Callable[[str, str, int], list[dict[str, Any]]], *, rounds: int) -> None:
    """The command line of a benchmark: a row for each promise, measured by a process for each framework."""
    parser = argparse.ArgumentParser(description=about.partition("\n")[0])
    parser.add_argument("frameworks", nargs="*", choices=[*FRAMEWORKS, []], help="by default all three")
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--here", action="store_true", help="measure in this process and print JSON")
    args = parser.parse_args()
    if args.here:
        print(json.dumps([row for name in NETWORKS for row in measure(args.frameworks[0], name, args.rounds)]))
        return
    rows = []
    for framework in args.frameworks or FRAMEWORKS:
        command = [sys.executable, "-m", module, framework, "--here", "--rounds", str(args.rounds)]
        done = subprocess.run(command, env={**os.environ, **ONE_THREAD}, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        for row in found:
            mark = "" if row["ratio"] <= row["bound"] else "  over"
            title = f"{row['framework']:<11}{row['network']:<14}{row['what']:<27}{row['images']:>2} "
            times = f"({row['ours_ms']:.1f} ms against {row['bare_ms']:.1f} ms)"
            print(f"{title}{row['ratio']:6.3f}  ≤ {row['bound']:.2f}   {times}{mark}", flush=True)
        rows += found
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


def measure(framework: str, name: str, rounds: int) -> list[dict[str, Any]]:
    """Time one network in one framework; a row for each promise."""
    import benchmarks.bare
    from agnoscope import RISE, GradCAM, IntegratedGradients, Occlusion, Saliency, ScoreCAM, SmoothGrad, explain, wrap

    bare = getattr(benchmarks.bare, framework)(name)
    model = wrap(*bare.network, input_size=224)
    image = np.random.default_rng(0).uniform(size=(1, 224, 224, 3)).astype(np.float32)
    occlusion, batch = Occlusion(window=56, stride=28), 7  # 49 windows
    one, many = bare.prepare(image), bare.prepare(np.repeat(image, batch, axis=0))

    def same_forwards() -> None:
        bare.forward(one)
        for _ in range(49 // batch):
            bare.forward(many)

    def passes(bare_pass: Callable[[Any], Any], samples: int, alone: int) -> None:
        """So many passes in batches, beside some forwards of one image."""
        for _ in range(alone):
            bare.forward(one)
        for _ in range(samples // batch):
            bare_pass(many)

    pairs: dict[tuple[str, int], tuple[Callable[[], Any], Callable[[], Any]]] = {
        ("occlusion / same forwards", 1): (lambda: occlusion(model, image, 0, batch_size=batch), same_forwards)
    }
    loops = {
        # Integrated gradients look at the image and at the baseline besides.
        "integrated-gradients / by hand": (IntegratedGradients(steps=SAMPLES, tolerance=None), bare.gradient, 2),
        "smoothgrad / by hand": (SmoothGrad(samples=SAMPLES), bare.gradient, 1),
        "rise / same forwards": (RISE(samples=SAMPLES), bare.forward, 1),
        "score-cam / same forwards": (ScoreCAM(channels=SAMPLES), bare.forward, 1),
    }
    for what, (explainer, bare_pass, alone) in loops.items():
        ours = partial(explainer, model, image, 0, batch_size=batch)
        pairs[what, 1] = (ours, partial(passes, bare_pass, SAMPLES, alone))
    for cam in ("grad-cam++", "hires-cam", "layer-cam", "xgrad-cam"):
        pairs[f"{cam} / forward", 1] = (partial(explain, model, image, cam, 0), partial(bare.forward, one))
    for count in (1, 8):
        images = np.repeat(image, count, axis=0)
        ready = bare.prepare(images)
        pairs["grad-cam / forward", count] = (
            partial(GradCAM(), model, images, 0, batch_size=count),
            partial(bare.forward, ready),
        )
        pairs["saliency / by hand", count] = (
            partial(Saliency(), model, images, 0, batch_size=count),
            partial(bare.gradient, ready),
        )
    rows = []
    for (what, count), (ours, yardstick) in pairs.items():
        few = (
            rounds
            if count == 1 and (what.endswith("/ forward") or what.startswith("saliency"))
            else max(3, rounds // 4)
        )
        times = interleaved([ours, yardstick], few)
        row = {"framework": framework, "network": name, "what": what, "images": count, "bound": BOUNDS[what]}
        rows.append(row | {"rounds": few, "ours_ms": times[0], "bare_ms": times[1], "ratio": times[0] / times[1]})
    return rows


def interleaved(calls: list[Callable[[], Any]], rounds: int) -> list[float]:
    """Median milliseconds of each call; they take turns in changing order, after two rounds that warm up.

    The order changes because a call leaves memory in a state that the next one finds.
    """
    times: list[list[float]] = [[] for _ in calls]
    for turn in range(rounds + 2):
        pairs = list(zip(calls, times, strict=True))
        for call, taken in pairs if turn % 2 else pairs[::-1]:
            start = time.process_time()
            call()
            if turn >= 2:
                taken.append(1000 * (time.process_time() - start))
    return [statistics.median(taken) for taken in times]


if __name__ == "__main__":
    main()
