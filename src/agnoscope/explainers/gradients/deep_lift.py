"""DeepLIFT: how far every unit differs from what it is on a baseline, handed back to the pixels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.batches import chunks
from agnoscope.explainers.base import Attribution, Explainer, Progress, score_program, slope
from agnoscope.explainers.fillings import Fill, check_fill, filling, hashable
from agnoscope.explainers.gradients.relu_rule import unchanged_activations
from agnoscope.explainers.options import positive
from agnoscope.model import Model
from agnoscope.patches import Array
from agnoscope.target import Bound, Formula
from agnoscope.trees import leaves

TINY: Final = 1e-10
"""Of two inputs of a ReLU that lie so near together the slope between them says nothing."""


@final
@dataclass(frozen=True)
class DeepLift(Explainer):
    """DeepLIFT with the rescale rule (Shrikumar, Greenside and Kundaje, ICML 2017).

    A ReLU passes the gradient back times the change of its output over the change of its input, both from the
    baseline to the image, in one pass over both. Where all that is not linear is a ReLU, the values add up to how
    much the score rises from the baseline to the image. Max pooling, other activations and a target beyond the
    network's scores keep their gradient at the image; the result says so where that shows. The values are signed, in
    units of the score, shape (images, height, width, channels); their map is the sum over the channels.

    The result's extras hold "delta" for each image: the sum of the values less the score's rise.

    Attributes:
        baseline: what the image is compared with: "black" is the lower bound, and `agnoscope.explainers.fillings`
            knows more.
        tolerance: as a share of the score's rise, the delta beyond which the result says so.
    """

    name = "deep-lift"
    needs = frozenset({"gradient", "relu"})
    reduction = "signed"

    baseline: Fill = "black"
    tolerance: float = 0.01

    def __post_init__(self) -> None:
        object.__setattr__(self, "baseline", hashable(self.baseline))

    def settle(self, model: Model, size: tuple[int, int]) -> Self:
        positive("tolerance", self.tolerance)
        check_fill("baseline", self.baseline, model.spec, size)
        return self

    def doubts(self, model: Model, size: tuple[int, int]) -> tuple[str, ...]:
        return unchanged_activations(model, size)

    def attribute(
        self, model: Model, images: NDArray[Any], target: Bound, batch_size: int, progress: Progress
    ) -> Attribution:
        parts = []
        progress(0, len(images))
        for rows, count in chunks(len(images), max(1, batch_size // 2)):  # each image goes beside its baseline
            found = self._compared(model, images[rows], target.take(rows))
            parts.append({name: value[:count] for name, value in found.items()})
            progress(int(rows[count - 1]) + 1, len(images))
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        values, scores = joined["values"], joined["scores"]
        rises = scores.astype(np.float64) - joined["baseline scores"]
        delta = values.sum(axis=(1, 2, 3), dtype=np.float64) - rises
        return Attribution(values, scores, joined.get("output"), {"delta": delta}, self._notes(delta, rises))

    def _compared(self, model: Model, images: NDArray[Any], target: Bound) -> dict[str, NDArray[Any]]:
        """Values and scores of a chunk, in one pass, and one more for what the network chose by itself."""
        baselines = np.stack([filling(self.baseline, image, model.spec) for image in images])
        pairs = target.take(np.tile(np.arange(len(images)), 2))
        found = model.compile(_rescale_program, target.formula)(images, baselines, pairs.arrays)
        frozen = target.freeze(found.get("output"), None)
        chosen = zip(leaves(target.arrays), leaves(frozen.arrays), strict=True)
        if not all(np.array_equal(asked, settled) for asked, settled in chosen):
            again = model.compile(score_program, frozen.formula)(baselines, frozen.arrays)
            found["baseline scores"] = again["scores"]
        return found

    def _notes(self, delta: NDArray[Any], rises: NDArray[Any]) -> tuple[str, ...]:
        off = np.abs(delta) > self.tolerance * np.abs(rises)
        if not off.any():
            return ()
        worst = np.argmax(np.abs(delta))
        return (
            f"DeepLIFT adds up to {rises[worst] + delta[worst]:.4g} where the score rises by {rises[worst]:.4g}: max "
            "pooling and what is no ReLU keep their gradient. Integrated gradients add up on every network.",
        )


def rescale(xp: Any, x: Array, y: Array, g: Array, plain: Array) -> Array:
    """The rescale rule for a ReLU on a batch whose first half are images and whose second half their baselines."""
    half = x.shape[0] // 2
    change, answer = x[:half, ...] - x[half:, ...], y[:half, ...] - y[half:, ...]
    tiny = xp.abs(change) < TINY
    multiplier = answer / xp.where(tiny, xp.ones_like(change), change)
    passed = xp.where(tiny, plain[:half, ...], g[:half, ...] * multiplier)
    return xp.concat([passed, plain[half:, ...]], axis=0)


def _rescale_program(
    model: Model, formula: Formula, images: Array, baselines: Array, arrays: Mapping[str, Any]
) -> dict[str, Array]:
    half = images.shape[0]
    pairs = model.xp.concat([images, baselines], axis=0)
    multipliers, found = slope(model.with_relu(rescale), pairs, Bound(formula, arrays, "", ()))
    output = {"output": found.values["scores"][:half, ...]} if "scores" in found.values else {}
    values = (images - baselines) * multipliers[:half, ...]
    return {"values": values, "scores": found.scores[:half], "baseline scores": found.scores[half:], **output}
