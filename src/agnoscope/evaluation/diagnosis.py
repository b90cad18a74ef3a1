"""Does a network cheat? It sees the grass, and says "ball".

Two kinds of evidence, which do not depend on one another. The explanation: how much of it lies on the object. The
experiment: how far the answer's probability falls when the object is replaced by its background, and how far when the
background is replaced by that of other pictures, answered otherwise where there are any: those of one class often lie
on one ground. A class whose answers need the background more than the object leans on the background; a sign test over
its pictures says how sure that is, with Bonferroni's correction for the number of classes.
"""

from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.answers import class_name
from agnoscope.batches import comfortable_batch
from agnoscope.errors import OptionError
from agnoscope.evaluation.cases import Cases, probabilities
from agnoscope.explainers.base import Explainer, Progress, silent
from agnoscope.explanation import Explanation
from agnoscope.metrics.localisation import mass_accuracy
from agnoscope.metrics.statistics import Summary, summary
from agnoscope.model import Model
from agnoscope.target import ClassScore
from agnoscope.trees import for_json

Verdict: TypeAlias = Literal["leans on the background", "looks at the object", "undecided"]
SURE: Final = 0.95
"""How sure a verdict must be."""
OTHERS: Final = 4
"""Backgrounds of other pictures that each object is put on."""
SAME: Final = 0.01
"""Falls of the probability that differ by less than this count as equal."""


@final
@dataclass(frozen=True)
class Finding:
    """What the pictures of one class say; of all of them together, where `name` is "all".

    Attributes:
        name: of the class that the network answered.
        pictures: how many were answered so.
        right: share of them whose true class this is; NaN where it is not known.
        evidence: share of the explanation's positive part that lies on the object; the rest lies off it.
        area: share of the picture that the object covers: what evidence without aim would give.
        without_object: fall of the answer's probability when the object is replaced by its background.
        without_background: fall when the background is replaced by that of other pictures.
        needs_background: pictures whose answer falls more without their background than without their object.
        needs_object: pictures where it is the other way round. The rest is undecided.
        sure: 1 less the probability that so lopsided a count arises by chance (two-sided sign test) in any of the
            classes: the test's probability times their number (Bonferroni).
        verdict: "leans on the background" or "looks at the object" where `sure` is at least 0.95, else "undecided".
    """

    name: str
    pictures: int
    right: float
    evidence: Summary
    area: float
    without_object: Summary
    without_background: Summary
    needs_background: int
    needs_object: int
    sure: float
    verdict: Verdict


@final
@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What was found, and the numbers of each picture.

    Attributes:
        classes: one finding per class that the network answered, the most suspect first.
        overall: of all pictures together.
        cases: the pictures.
        explanation: of the network's answers.
        answers: shape (cases,), the class that the network answered.
        confidence: shape (cases,), its probability.
        evidence: shape (cases,), share of the explanation on the object; NaN where nothing is positive.
        without_object: shape (cases,), fall of the probability without the object.
        without_background: shape (cases,), fall without the background, averaged over other ones.
        replaced: one picture each with the background replaced, in the network's bounds, shape of `cases.images`.
    """

    classes: tuple[Finding, ...]
    overall: Finding
    cases: Cases
    explanation: Explanation
    answers: NDArray[np.intp]
    confidence: NDArray[np.float64]
    evidence: NDArray[np.float64]
    without_object: NDArray[np.float64]
    without_background: NDArray[np.float64]
    replaced: NDArray[Any]

    @property
    def suspects(self) -> tuple[Finding, ...]:
        """The classes that lean on the background."""
        return tuple(finding for finding in self.classes if finding.verdict == "leans on the background")

    def worst(self, count: int = 6) -> NDArray[np.intp]:
        """Numbers of the pictures whose answers need their background most, compared with their object."""
        return np.argsort(self.without_object - self.without_background, kind="stable")[:count]

    def to_dict(self) -> dict[str, Any]:
        """All numbers, ready for JSON; those that are not defined are None."""
        p = self.explanation.provenance
        pictures = [
            {
                "name": name,
                "answer": p.targets[i],
                "probability": self.confidence[i],
                "evidence on object": self.evidence[i],
                "fall without object": self.without_object[i],
                "fall without background": self.without_background[i],
            }
            for i, name in enumerate(self.cases.names)
        ]
        found = {
            "method": {"method": p.method, **p.options},
            "backend": p.backend,
            "versions": dict(p.versions),
            "overall": asdict(self.overall),
            "classes": [asdict(finding) for finding in self.classes],
            "pictures": pictures,
            "left out": dict(self.cases.left_out),
        }
        plain: dict[str, Any] = for_json(found)
        return plain


def diagnose(
    model: Model,
    cases: Cases,
    explainer: Explainer,
    *,
    seed: int = 0,
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> Diagnosis:
    """Examine what a network's answers rest on.

    Args:
        model: a network with one score per class.
        cases: pictures with masks, two at the least.
        explainer: whose positive part is counted as evidence.
        seed: of the choice of other backgrounds.
        batch_size: how many images go through the network at once; by default a comfortable number.
        progress: called with the pictures explained and their number.

    Raises:
        OptionError: there are fewer than two pictures.
        TargetError: the network does not give one score per class.
    """
    n = len(cases)
    if n < 2:
        raise OptionError(f"{n} picture is not enough: a diagnosis puts objects on the backgrounds of other pictures.")
    ClassScore().bind(model, n, (cases.images.shape[1], cases.images.shape[2]))
    batch = batch_size or comfortable_batch(model, (cases.images.shape[1], cases.images.shape[2]))
    table = probabilities(model, cases.images, batch)
    answers, confidence = table.argmax(axis=1), table.max(axis=1)

    def fall(images: NDArray[Any]) -> NDArray[np.float64]:
        return confidence - probabilities(model, images, batch)[np.arange(n), answers]

    explanation = explainer(
        model,
        list(cases.images),
        [int(answer) for answer in answers],
        batch_size=batch_size,
        progress=progress or silent,
    )
    evidence = mass_accuracy(evidence_maps(explanation), cases.masks)
    masks = cases.masks[..., None]
    empty = np.where(masks, cases.backgrounds, cases.images)
    without_object = fall(empty)
    falls = []
    for others in _others(answers, seed):
        replaced = np.where(masks, cases.images, cases.backgrounds[others])
        falls.append(fall(replaced))
    without_background = np.mean(falls, axis=0)
    numbers = (cases, answers, evidence, without_object, without_background)
    known = np.unique(answers)
    classes = [_finding(class_name(int(c), model.labels), answers == c, *numbers, len(known)) for c in known]
    classes.sort(key=lambda finding: finding.without_object.mean - finding.without_background.mean)
    return Diagnosis(
        tuple(classes),
        _finding("all", np.ones(n, dtype=bool), *numbers),
        cases,
        explanation,
        answers,
        confidence,
        evidence,
        without_object,
        without_background,
        replaced,
    )


def evidence_maps(explanation: Explanation) -> NDArray[Any]:
    """What counts as evidence, shape (images, height, width): the positive part of the method's own maps."""
    return np.maximum(explanation.maps(), 0)


def _others(answers: NDArray[np.intp], seed: int) -> NDArray[np.intp]:
    """For every picture the numbers of some others, shape (turns, pictures): the next ones in one random circle.

    Those answered otherwise are taken, where there are any: on its own class's ground nothing changes for an answer
    that rests on it.
    """
    n = len(answers)
    circle = np.random.default_rng(seed).permutation(n)
    turns = min(OTHERS, n - 1)
    chosen = np.empty((turns, n), dtype=np.intp)
    for place, i in enumerate(circle):
        rest = np.roll(circle, -place)[1:]
        otherwise = rest[answers[rest] != answers[i]]
        chosen[:, i] = np.resize(otherwise if len(otherwise) else rest, turns)
    return chosen


def _finding(
    name: str,
    rows: NDArray[np.bool_],
    cases: Cases,
    answers: NDArray[np.intp],
    evidence: NDArray[np.float64],
    without_object: NDArray[np.float64],
    without_background: NDArray[np.float64],
    tests: int = 1,
) -> Finding:
    from scipy.stats import binomtest

    lean = (without_background - without_object)[rows]
    background, thing = int((lean > SAME).sum()), int((lean < -SAME).sum())
    chance = float(binomtest(background, background + thing).pvalue) if background + thing else 1.0
    sure = max(0.0, 1 - tests * chance)
    known = rows & (cases.labels >= 0)
    verdict: Verdict = "undecided"
    if sure >= SURE:
        verdict = "leans on the background" if background > thing else "looks at the object"
    return Finding(
        name,
        int(rows.sum()),
        float((answers == cases.labels)[known].mean()) if known.any() else np.nan,
        summary(evidence[rows]),
        float(cases.masks[rows].mean()),
        summary(without_object[rows]),
        summary(without_background[rows]),
        background,
        thing,
        sure,
        verdict,
    )
