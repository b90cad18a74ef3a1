"""What a step of an optimised image costs, as a ratio to the bare network in the same run.

    python -m benchmarks.imagine [torch|jax|tensorflow] [--rounds 40] [--json FILE]

A step is all that a user waits for: a random view, the image from its spectrum, the network forward and backward, the
optimiser's step and the state that is handed out. The yardstick is one bare forward and backward pass to the image, its
input ready-made. As in `benchmarks.cost`, one thread and CPU time, and both take turns.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from benchmarks.cost import interleaved, tabulate

BOUND = 1.10


def main() -> None:
    tabulate("benchmarks.imagine", __doc__, measure, rounds=40)


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
        row = {"framework": framework, "network": name, "what": what, "images": 1, "bound": BOUND, "rounds": rounds}
        rows.append(row | {"ours_ms": times[0], "bare_ms": times[1], "ratio": times[0] / times[1]})
    return rows


def stepper(steps: Iterator[Any]) -> Callable[[], Any]:
    """One step of a run for each call."""
    return lambda: next(steps)


if __name__ == "__main__":
    main()
