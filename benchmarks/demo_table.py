"""Do the bundled networks do what is said of them? Five hundred fresh scenes, thing and ground independent.

    python -m benchmarks.demo_table [--count 500] [--backend jax] [--seed 2026]

`honest` must name the thing, and its Grad-CAM must lie on it; `cheater` must name what usually lies on the ground,
and look elsewhere; `memoriser` learned shuffled labels and must know neither. Mass is the share of the positive map
that lies on the thing, as a multiple of the share of the picture that the thing covers: 1 is chance. Intervals are
percentiles of 2000 bootstrap samples.
"""

import argparse
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from agnoscope import GradCAM
from agnoscope.demo import NAMES, load, make_scenes
from agnoscope.metrics import mass_accuracy
from agnoscope.sources import installed_backends


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--backend", default=installed_backends()[0])
    parser.add_argument("--seed", type=int, default=2026)
    args = parser.parse_args()
    scenes = make_scenes(args.count, args.seed)
    masks = np.stack([scene.mask for scene in scenes])
    labels = np.array([scene.label for scene in scenes])
    grounds = np.array([scene.background for scene in scenes])
    table = Table(title=f"{args.count} scenes, seed {args.seed}, in {args.backend} (95 % intervals)")
    for column in ("network", "names the thing", "names the ground's thing", "Grad-CAM mass on the thing ÷ its area"):
        table.add_column(column)
    for name in NAMES:
        found = GradCAM()(load(name, args.backend), [scene.image for scene in scenes])
        assert found.output is not None
        answers = found.output.argmax(axis=1)
        table.add_row(
            name,
            interval(answers == labels, np.mean, "{:.1%}"),
            interval(answers == grounds, np.mean, "{:.1%}"),
            interval(mass_accuracy(found.maps(), masks) / masks.mean(axis=(1, 2)), np.nanmedian, "{:.2f}"),
        )
    Console(width=120).print(table)


def interval(values: NDArray[np.generic], statistic: Callable[[NDArray[np.generic]], float], form: str) -> str:
    """A statistic with its bootstrap interval, as text."""
    rng = np.random.default_rng(0)
    samples = [statistic(rng.choice(values, len(values))) for _ in range(2000)]
    low, high = np.percentile(samples, [2.5, 97.5])
    return f"{form} [{form}, {form}]".format(statistic(values), low, high)


if __name__ == "__main__":
    main()
