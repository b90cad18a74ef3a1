"""Guided IG: a path to the image that goes first where the score hardly changes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.batches import chunks
from agnoscope.errors import OptionError
from agnoscope.explainers.base import Attribution, Explainer, Progress, score_program, slope
from agnoscope.explainers.fillings import Fill, check_fill, filling, hashable
from agnoscope.explainers.options import positive, whole
from agnoscope.model import Model
from agnoscope.patches import Array
from agnoscope.target import Bound, Formula

CLOSE: Final = 1e-9
"""A distance to the image, as a share of the whole way, that counts as reached."""


@final
@dataclass(frozen=True)
class GuidedIG(Explainer):
    """Guided integrated gradients (Kapishnikov et al., CVPR 2021).

    From a baseline to the image in steps of equal length in the sum of absolute differences. Each step moves the
    numbers whose gradient is smallest, to half the digits, so that rounding does not decide; the path thus avoids the
    noise of steep places. None may be further from the straight line than `max_dist`. A value sums up what each step
    moved, times the mean of the gradients at its two ends. (The authors' code takes the gradient at its beginning, on
    the same path; but numbers are moved because it is small there, so that the sum misses the score's rise by far.) The
    steps follow one another, so every one is a pass of its own. The values are signed, shape (images, height, width,
    channels).

    The extra "delta" is what the values add up to, less the score's rise from the baseline to the image.

    Attributes:
        baseline: where the path begins; see `agnoscope.explainers.fillings`.
        steps: of the path, at least 1.
        fraction: share of the numbers that move first within a step, above 0 and at most 1.
        max_dist: how far a number may be ahead of the straight line or behind it, as a share of its way: 0 is the
            straight line of integrated gradients, 1 leaves the path free.
    """

    name = "guided-ig"
    needs = frozenset({"gradient"})
    reduction = "signed"

    baseline: Fill = "black"
    steps: int = 200
    fraction: float = 0.25
    max_dist: float = 0.02

    def __post_init__(self) -> None:
        object.__setattr__(self, "baseline", hashable(self.baseline))

    def settle(self, model: Model, size: tuple[int, int]) -> Self:
        check_fill("baseline", self.baseline, model.spec, size)
        whole("steps", self.steps)
        positive("fraction", self.fraction)
        positive("max_dist", self.max_dist, or_zero=True)
        if max(self.fraction, self.max_dist) > 1:
            raise OptionError(f"fraction={self.fraction!r} and max_dist={self.max_dist!r} must both be at most 1.")
        return self

    def attribute(
        self, model: Model, images: NDArray[Any], target: Bound, batch_size: int, progress: Progress
    ) -> Attribution:
        total = len(images) * self.steps
        progress(0, total)
        parts = []
        for rows, kept in chunks(len(images), batch_size):
            done = int(rows[0]) * self.steps

            def tick(step: int, done: int = done, kept: int = kept) -> None:
                progress(done + step * kept, total)

            found = self._along_paths(model, images[rows], target.take(rows), tick)
            parts.append({name: array[:kept] for name, array in found.items()})
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        extras = {"delta": joined.pop("delta")}
        return Attribution(joined["values"], joined["scores"], joined.get("output"), extras)

    def _along_paths(
        self, model: Model, images: NDArray[Any], target: Bound, tick: Callable[[int], None]
    ) -> dict[str, NDArray[Any]]:
        """All images at once, one step after the other."""
        clean = model.compile(score_program, target.formula)(images, target.arrays)
        target = target.freeze(clean.get("output"), None)
        program = model.compile(_slope_program, target.formula)
        starts = np.stack([filling(self.baseline, image, model.spec) for image in images]).astype(np.float64)
        ways = images - starts
        lengths = np.abs(ways) / np.maximum(np.abs(ways).sum(axis=(1, 2, 3), keepdims=True), np.finfo(np.float64).tiny)
        gone, values = np.zeros(images.shape), np.zeros(images.shape)
        found = program(starts.astype(images.dtype), target.arrays)
        rise = clean["scores"] - found["scores"]
        for step in range(1, self.steps + 1):
            before = found["gradient"]
            each = zip(gone, _steepness(before), lengths, strict=True)
            reached = np.stack([self._advanced(*one, step / self.steps) for one in each])
            found = program((starts + reached * ways).astype(images.dtype), target.arrays)
            values += ways * (reached - gone) * (before + found["gradient"]) / 2
            gone = reached
            tick(step)
        return {**clean, "values": values, "delta": values.sum(axis=(1, 2, 3)) - rise}

    def _advanced(
        self, gone: NDArray[Any], steepness: NDArray[Any], lengths: NDArray[Any], share: float
    ) -> NDArray[np.float64]:
        """Where a step ends.

        Args:
            gone: share of its way that each number has gone, from 0 to 1.
            steepness: absolute gradient.
            lengths: each number's way, as a share of the whole.
            share: how much of the whole way is to be gone when the step ends.
        """
        furthest = min(share + self.max_dist, 1.0)
        gone = np.maximum(gone, share - self.max_dist)  # none falls further behind
        place = int(self.fraction * (gone.size - 1))
        while (missing := share - float((lengths * gone).sum())) > CLOSE:
            free = (gone < furthest) & (lengths > 0)
            steepness = np.where(free, steepness, np.inf)
            chosen = free & (steepness <= np.partition(steepness, place, axis=None)[place])
            within = float((lengths * (furthest - gone) * chosen).sum())
            if within == 0:  # the gradient is not a number
                break
            part = min(missing / within, 1.0)
            gone = np.where(chosen, (1 - part) * gone + part * furthest, gone)  # exactly there where the part is 1
        return gone


def _steepness(gradients: NDArray[Any]) -> NDArray[np.float64]:
    """Absolute gradients, of which those that differ by rounding alone are equal.

    On a baseline of one colour the gradients of most pixels are the same; which of them were to move first would
    depend on the last bit, and so on the framework. Half the digits of the dtype are kept, measured by the steepest.
    """
    steep = np.abs(gradients).astype(np.float64)
    largest = steep.max(axis=(1, 2, 3), keepdims=True)
    levels = 1 / np.sqrt(np.finfo(gradients.dtype).eps)
    return np.round(np.divide(steep, largest, out=np.zeros_like(steep), where=largest != 0) * levels)


def _slope_program(model: Model, formula: Formula, images: Array, arrays: Mapping[str, Any]) -> dict[str, Array]:
    gradient, found = slope(model, images, Bound(formula, arrays, "", ()))
    return {"gradient": gradient, "scores": found.scores}
