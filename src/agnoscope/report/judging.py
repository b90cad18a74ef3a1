"""How far a map can be trusted: a few cheap checks of one image's maps, each beside what chance gives.

No check proves a map right. Deletion and insertion ask whether the pixels that it ranks highest matter to the score,
and are shown beside pixels in random order; `edges` tells a map that could be had without the network.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any, Final, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.batches import comfortable_batch
from agnoscope.errors import OptionError, nearest
from agnoscope.explainers.base import score_program
from agnoscope.explainers.controls import EdgeFilter
from agnoscope.metrics.complexity import sparseness
from agnoscope.metrics.perturbation import Curve, deletion, insertion
from agnoscope.metrics.similarity import spearman
from agnoscope.model import Model
from agnoscope.target import Bound, ClassScore, as_target

STEPS: Final = 20
"""Points of a deletion or insertion curve after its first one."""


@final
@dataclass(frozen=True, eq=False)
class Verdict:
    """What one check says of one map.

    Attributes:
        check: its name.
        value: NaN where it is not defined.
        chance: what pixels in random order get, or NaN where there is no such number.
        better: whether the map does better than these; None where that is not asked.
        fractions: of a curve, shape (points,): the share of the pixels changed.
        scores: of a curve, shape (points,); None where the check has no curve.
        random: of a curve, shape (points,): the scores with pixels changed in random order.
    """

    check: str
    value: float
    chance: float = np.nan
    better: bool | None = None
    fractions: NDArray[np.float64] | None = None
    scores: NDArray[np.float64] | None = None
    random: NDArray[np.float64] | None = None


@final
@dataclass(frozen=True, eq=False)
class Question:
    """One image, and what was asked of it.

    Attributes:
        model: the network.
        image: shape (height, width, channels), as the network takes it.
        bound: what was asked, settled; a class is asked for by its probability.
        batch_size: how many changed images go through the network at once.
    """

    model: Model
    image: NDArray[Any]
    bound: Bound
    batch_size: int

    @classmethod
    def of(cls, model: Model, image: NDArray[Any], target: Any, batch_size: int | None = None) -> "Question":
        """The question that a target is for an image.

        Raises:
            TargetError: the network has no such class, label, neuron or channel.
            LayerError: it has no such layer.
        """
        size = (image.shape[0], image.shape[1])
        asked = as_target(target)
        if isinstance(asked, ClassScore):
            asked = replace(asked, space="probability")
        bound = asked.bind(model, 1, size)
        clean = model.compile(score_program, bound.formula)(image[None], bound.arrays)
        frozen = bound.freeze(clean.get("output"), model.labels)
        return cls(model, image, frozen, batch_size or comfortable_batch(model, size))

    def scores(self, images: NDArray[Any], owners: NDArray[np.intp]) -> NDArray[Any]:
        """The target's value on changed versions of the image; they all are its own."""
        program = self.model.compile(score_program, self.bound.formula)
        return program(images, self.bound.take(np.zeros_like(owners)).arrays)["scores"]


Check: TypeAlias = Callable[[Question, NDArray[Any]], list[Verdict]]
"""From a question and maps (maps, height, width) of its image to one verdict for each."""


def judged(question: Question, maps: NDArray[Any], checks: Sequence[str]) -> list[tuple[Verdict, ...]]:
    """What each check says of each map.

    Args:
        question: the image and what was asked.
        maps: shape (maps, height, width), finite, of the image's size.
        checks: names out of `CHECKS`.

    Raises:
        OptionError: there is no such check.
        NonFiniteError: the network gives NaN or infinity for a changed image.
    """
    check_names(checks)
    columns = [CHECKS[name](question, maps) for name in checks]
    return [tuple(column[i] for column in columns) for i in range(len(maps))]


def check_names(checks: Sequence[str]) -> None:
    """Refuse a check that there is not.

    Raises:
        OptionError: there is no such check.
    """
    for name in checks:
        if name not in CHECKS:
            raise OptionError(f"There is no check {name!r}. Near it: {nearest(name, CHECKS)}.")


def _deletion(question: Question, maps: NDArray[Any]) -> list[Verdict]:
    return _beside_chance("deletion", question, maps, partial(deletion, fill=question.model.spec.centre), -1)


def _insertion(question: Question, maps: NDArray[Any]) -> list[Verdict]:
    return _beside_chance("insertion", question, maps, insertion, 1)


def _beside_chance(
    name: str, question: Question, maps: NDArray[Any], curve: Callable[..., Curve], good: int
) -> list[Verdict]:
    """The curves of all maps, and of a map of zeros, whose pixels are all tied and so go in random order."""
    ranked = np.concatenate([maps, np.zeros_like(maps[:1])])
    images = np.broadcast_to(question.image, (len(ranked), *question.image.shape))
    steps = min(STEPS, maps[0].size)
    found = curve(question.scores, images, ranked, steps=steps, batch_size=question.batch_size)
    chance, random = float(found.area[-1]), found.scores[-1]
    return [
        Verdict(name, float(area), chance, bool(good * (area - chance) > 0), found.fractions, scores, random)
        for area, scores in zip(found.area[:-1], found.scores[:-1], strict=True)
    ]


def _edges(question: Question, maps: NDArray[Any]) -> list[Verdict]:
    edges = EdgeFilter().map_of(question.image)
    return [Verdict("edges", float(v)) for v in spearman(np.abs(maps), np.broadcast_to(edges, maps.shape))]


def _sparseness(question: Question, maps: NDArray[Any]) -> list[Verdict]:
    del question
    return [Verdict("sparseness", float(value)) for value in sparseness(maps)]


CHECKS: Final[Mapping[str, Check]] = MappingProxyType(
    {"deletion": _deletion, "insertion": _insertion, "edges": _edges, "sparseness": _sparseness}
)
"""Name to check."""
READINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "deletion": "Area under the target's value as the pixels that the map ranks highest are taken away first: the "
        "lower, the better. What stands in their place is no photo any more, which moves the value, too.",
        "insertion": "Area under the target's value as the pixels that the map ranks highest are brought back first "
        "into the blurred photo: the higher, the better.",
        "edges": "Rank correlation of the map's sizes with the edges of the photo, which need no network: a map near 1 "
        "could be had without one.",
        "sparseness": "Gini index of the map's sizes: 0 where all pixels count alike, near 1 where a few hold all.",
    }
)
"""How to read each."""
