"""Fooling images: a photo, or noise, changed until the network answers with another class."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, Final, Literal, TypeAlias, final, get_args

import array_api_compat.numpy as host
import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import OptionError, TargetError
from agnoscope.explainers.options import positive, share, whole
from agnoscope.explainers.synthesis.base import Plan, Synthesizer
from agnoscope.explainers.synthesis.bounded import LEVELS, Bounded, Norm, from_levels, to_levels
from agnoscope.explainers.synthesis.photos import photos_of
from agnoscope.explainers.synthesis.sizes import size_of
from agnoscope.images import load
from agnoscope.model import Model
from agnoscope.optimisation.canvas import Canvas
from agnoscope.optimisation.parameterisations.pixels import Pixels
from agnoscope.optimisation.stage import Stage
from agnoscope.patches import Array
from agnoscope.synthesis import Synthesis, as_picture
from agnoscope.target import Bound, ClassScore, Formula, as_target
from agnoscope.targets.classes import (
    FIRST,
    TOP,
    both_classes,
    class_indices,
    class_names,
    classes_of,
    pick,
    probabilities,
)
from agnoscope.targets.features import features_of

Images: TypeAlias = NDArray[Any]

CARE: Final = 1e-3
"""By this share of what is left to certainty the steps go on, so that rounding cannot take the confidence back."""

USUAL: Final = {"linf": 8 / LEVELS, "l2": 2 / LEVELS}
"""Bounds of the literature: of each number, and of the root mean square over all, 0.5 for 32 pixels and 3 for 224."""

SMALL: Final = {"linf": 0.5 / LEVELS, "l2": 0.1}
"""Length of a small step."""

PATIENCE: Final = 0.6
"""The share of the steps that stay small, since they find the smallest change where there is one."""


@final
@dataclass(frozen=True)
class Fooling(Synthesizer):
    """Fooling images (Szegedy et al., ICLR 2014; Goodfellow et al., ICLR 2015; Madry et al., ICLR 2018).

    Called with a network, one image or several, and the class to answer: a number or label, a list with one for each
    image, or None for the class that it answers second. One image may be asked to become several classes. None in the
    place of the images begins from noise (Nguyen et al., CVPR 2015). The logarithm of the class's probability is driven
    up, and an image is finished as soon as the network is confident.

    The result's `extras` tell, for each image: "confidence" in the class and "confidence before", from 0 to 1; "answer"
    and "answer before"; the "change" itself, in units of the pixels; and as shares of the span the "largest change" of
    a number (L∞), the "length of the change" (L2) and the "mean change".

    Attributes:
        iterations: how many steps at the most.
        confidence: the probability that is enough, between 0 and 1.
        norm: in which a step, and the whole change, are measured: "linf", the largest change of a number, or "l2", the
            Euclidean length over all numbers. One step with `rate` equal to `bound` is the fast gradient sign method.
        bound: how large the change may be in that norm, as a share of the span between the pixels' bounds; None sets
            no bound. The "usual" one is 8/255 in "linf"; in "l2" it is the length of a change of each number by 2/255,
            which is 3 for 224 × 224 pixels in colour.
        rate: size of every step, as a share of the span. By default steps are small for three fifths of `iterations`,
            half a level, 0.5/255, in "linf" and 0.1 in "l2"; for images that these do not bring to the class, they are
            then twice the bound, and fall evenly to nothing.
        rounded: whether every picture is one of 8 bits per channel: then what the network answers holds for the saved
            PNG, too. An image that is none is rounded first.
        noise: standard deviation of the noise around gray that is begun from, as a share of the span; 0 is plain gray.
        size: height and width in pixels; by default the network's own, else the image's, or 224 for noise. A single
            number is the longer side of a photo.
        seed: of the noise.
    """

    name = "fooling"

    iterations: int = 100
    confidence: float = 0.95
    norm: Norm = "linf"
    bound: float | Literal["usual"] | None = "usual"
    rate: float | None = None
    rounded: bool = True
    noise: float = 0.1
    size: int | tuple[int, int] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        share("confidence", self.confidence)
        positive("noise", self.noise, or_zero=True)
        if self.rate is not None:
            positive("rate", self.rate)
        if self.bound is not None and self.bound != "usual":
            positive("bound", self.bound)
        if self.norm not in get_args(Norm):
            raise OptionError(f"norm={self.norm!r} is unknown: use {' or '.join(map(repr, get_args(Norm)))}.")
        if self.rounded and isinstance(self.bound, float) and self.bound * LEVELS < 1 - 1e-9:
            raise OptionError(
                f"bound={self.bound:g} is less than 1/255 of the span, a level of 8 bits, so that nothing may change: "
                "raise it, or take rounded=False."
            )

    def plan(self, model: Model, images: Any, target: Any = None) -> Plan:
        """Plan to change images until the network answers so.

        Args:
            model: the network.
            images: where to begin; None is noise.
            target: a class, or a list with one for each image; None is the class that it answers second.
        """
        asked = _asked(target)
        before, names = self._beginnings(model, images, len(asked))
        size = (before.shape[1], before.shape[2])
        classes, sigmoid = classes_of(model, size)
        index = class_indices(model, asked if len(asked) > 1 else asked[0], len(before), classes)
        chances = _chances(model, before, sigmoid)
        second = np.argsort(-chances, axis=1, kind="stable")[:, 1].astype(index.dtype)
        index = np.where(index == TOP, second, index)
        wanted = class_names(index, model.labels)
        notes = self._answered(names, wanted, np.take_along_axis(chances, index[:, None], axis=1)[:, 0])
        target = Bound(Formula(_log_probability, ("scores",), (sigmoid,)), {"index": index}, "log-probability", wanted)
        canvas = Canvas.of(model, size)
        aim = np.log(self.confidence + CARE * (1 - self.confidence))
        stage = Stage(
            canvas,
            Pixels(),
            target,
            self.iterations,
            self._optimiser(canvas),
            begin=lambda _: before,
            until=lambda scores: scores >= aim,
        )
        photos = tuple(as_picture(image, canvas.bounds) for image in before)
        told = tuple(f"{name} as {label}" for name, label in zip(names, wanted, strict=True))
        return Plan((stage,), told, photos, (before, index), notes)

    def finish(self, model: Model, plan: Plan, made: Synthesis) -> Synthesis:
        before, index = plan.inputs
        change, (_, sigmoid) = made.images - before, classes_of(model, before.shape[1:3])
        shares = np.abs(change.astype(np.float64)).reshape(len(change), -1) / (made.bounds[1] - made.bounds[0])
        extras: dict[str, NDArray[Any]] = {
            "change": change,
            "largest change": shares.max(axis=1),
            "length of the change": np.sqrt(np.square(shares).sum(axis=1)),
            "mean change": shares.mean(axis=1),
        }
        for when, images in ((" before", before), ("", made.images)):
            chances = _chances(model, images, sigmoid)
            extras[f"confidence{when}"] = chances[np.arange(len(images)), index]
            extras[f"answer{when}"] = np.array(class_names(chances.argmax(axis=1), model.labels))
        warnings = (*made.making.warnings, *self._missed(made, extras["confidence"]))
        return replace(made, extras=extras, making=replace(made.making, warnings=warnings))

    def _beginnings(self, model: Model, images: Any, targets: int) -> tuple[Images, tuple[str, ...]]:
        """The images to change, shape (images, height, width, channels), and what they are called."""
        if images is None:
            canvas = Canvas.of(model, size_of(model, self.size))
            generators = [np.random.default_rng([self.seed, 1 + i]) for i in range(targets)]
            before = Pixels(self.noise).start(canvas, generators)["pixels"]
            names: tuple[str, ...] = ("noise" if self.noise else "gray",) * targets
        else:
            batch = load(images, model.spec, model.dtype) if self.size is None else photos_of(model, images, self.size)
            before, names = batch.images, batch.names
            if targets > 1 and len(before) == 1:
                before, names = np.repeat(before, targets, axis=0), names * targets
        if self.rounded:
            bounds = model.spec.bounds
            before = from_levels(np.rint(to_levels(before, bounds)), bounds).astype(before.dtype)
        return before, names

    def _limit(self, canvas: Canvas) -> float | None:
        """The bound, as a number."""
        if self.bound != "usual":
            return self.bound
        numbers = canvas.size[0] * canvas.size[1] * canvas.depth
        return USUAL[self.norm] * (1 if self.norm == "linf" else np.sqrt(numbers))

    def _optimiser(self, canvas: Canvas) -> Bounded:
        """Steps of the length asked for, or small ones at first and falling ones thereafter."""
        limit = self._limit(canvas)
        if self.rate is not None:
            return Bounded(self.norm, self.rate, limit, canvas.bounds, self.rounded)
        patient = ceil(PATIENCE * whole("iterations", self.iterations))
        falling = (patient, self.iterations)
        return Bounded(self.norm, SMALL[self.norm], limit, canvas.bounds, self.rounded, falling)

    def _answered(self, names: tuple[str, ...], wanted: tuple[str, ...], chances: NDArray[Any]) -> tuple[str, ...]:
        """Which images need no change, as a note; all of them are refused."""
        done = chances >= self.confidence
        told = tuple(
            f"The network answers {label} for {name} already, with {chance:.1%}: there is nothing to change."
            for name, label, chance in zip(names, wanted, chances, strict=True)
            if chance >= self.confidence
        )
        if done.all():
            raise TargetError(f"{told[0]} Ask for another class, or for a higher confidence.")
        return told

    def _missed(self, made: Synthesis, chances: NDArray[Any]) -> list[str]:
        """Sentences about images that the network is not confident of."""
        limit = self._limit(Canvas(made.images.shape[1:3], made.images.shape[3]))
        bound = "" if limit is None else f", with a change of at most {limit:.3g} of the span ({self.norm})"
        return [
            f"{name}: {chance:.1%} is short of the {self.confidence:.1%} asked for, after {made.making.steps} steps"
            f"{bound}. Allow more steps{'.' if limit is None else ' or a larger change.'}"
            for name, chance in zip(made.names, chances, strict=True)
            if not chance >= self.confidence
        ]


def _asked(target: Any) -> tuple[int | str | None, ...]:
    """The classes asked for, one or several.

    Raises:
        TargetError: it is no class, or the one that the network answers anyway.
    """
    found = as_target(target)
    if not isinstance(found, ClassScore):
        raise TargetError(
            f"A network is fooled into an answer: give a class number or label, or a list of these; a "
            f"{type(found).__name__} is none. ag.FeatureVisualization drives any target up."
        )
    asked = found.index if isinstance(found.index, tuple) else (found.index,)
    if not asked or FIRST in asked:
        raise TargetError("Say which class to answer: a number, a label, or None for the network's second answer.")
    return asked


def _chances(model: Model, images: Images, sigmoid: bool) -> NDArray[np.float64]:
    """The probability of every class, shape (images, classes)."""
    scores = np.stack([features_of(model, image[None], ("scores",))["scores"].reshape(-1) for image in images])
    return probabilities(host, both_classes(host, scores.astype(np.float64)), sigmoid)


def _log_probability(xp: Any, values: Mapping[str, Array], arrays: Mapping[str, Any], sigmoid: bool) -> Array:
    """Before the exponential: a probability near 0 has no slope left in float32, its logarithm has."""
    table = both_classes(xp, xp.reshape(values["scores"], (values["scores"].shape[0], -1)))
    if sigmoid:
        score = pick(xp, table, arrays["index"])
        lower = xp.minimum(score, xp.zeros_like(score))  # neither exponential may overflow
        return lower - xp.log(xp.exp(lower) + xp.exp(lower - score))
    table = table - xp.max(table, axis=1, keepdims=True)
    return pick(xp, table, arrays["index"]) - xp.log(xp.sum(xp.exp(table), axis=1))
