"""The benchmark: methods × metrics on tasks whose truth is known, with intervals and controls.

No single number ranks methods. The table has, for every task, one row per method and one column per metric; beside
the methods stand controls: the mask itself (the best that can be), a random and a constant map (chance), and an edge
filter, which knows nothing of the network. A method that does no better than the edge filter is suspect.
"""

import csv
import io
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, Final, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.batches import comfortable_batch
from agnoscope.errors import AgnoscopeError, OptionError, nearest
from agnoscope.evaluation.randomised import randomised
from agnoscope.evaluation.tasks import Task
from agnoscope.explainers.base import Explainer, Progress, score_program, silent
from agnoscope.explainers.controls import ConstantMap, EdgeFilter, RandomMap
from agnoscope.explanation import Explanation
from agnoscope.metrics import COMPLEXITY, LOCALISATION
from agnoscope.metrics.perturbation import deletion, insertion, road
from agnoscope.metrics.robustness import max_sensitivity
from agnoscope.metrics.scores import Scores
from agnoscope.metrics.similarity import spearman
from agnoscope.metrics.statistics import Summary, summary
from agnoscope.model import Model
from agnoscope.target import ClassScore
from agnoscope.trees import for_json

ORACLE: Final = "the mask itself"
CONTROLS: Final[Mapping[str, Explainer]] = MappingProxyType(
    {"random": RandomMap(), "constant": ConstantMap(), "edge-filter": EdgeFilter()}
)
STEPS: Final = 24
"""Points of an insertion or deletion curve."""


@final
@dataclass(frozen=True, eq=False)
class Explained:
    """What a metric looks at.

    Attributes:
        task: images, targets and masks.
        explainer: the method; None for the mask itself.
        maps: shape (images, height, width).
        batch_size: how many images or samples go through the network at once; None for a comfortable number.
    """

    task: Task
    explainer: Explainer | None
    maps: NDArray[Any]
    batch_size: int | None = None

    @property
    def batch(self) -> int:
        """How many perturbed images go through the network at once."""
        images = self.task.images
        return self.batch_size or comfortable_batch(self.task.model, (images.shape[1], images.shape[2]))


Metric: TypeAlias = Callable[[Explained], NDArray[np.float64]]


def scores_of(model: Model, targets: NDArray[np.intp]) -> Scores:
    """How metrics ask a network: the probability of each image's class."""

    def scores(images: NDArray[Any], owners: NDArray[np.intp]) -> NDArray[Any]:
        asked = ClassScore(tuple(int(t) for t in targets[owners]), "probability")
        bound = asked.bind(model, len(images), (images.shape[1], images.shape[2]))
        return model.compile(score_program, bound.formula)(images, bound.arrays)["scores"]

    return scores


def _deletion(found: Explained) -> NDArray[np.float64]:
    task = found.task
    return deletion(
        scores_of(task.model, task.targets), task.images, found.maps, fill="mean", steps=STEPS, batch_size=found.batch
    ).area


def _insertion(found: Explained) -> NDArray[np.float64]:
    task = found.task
    return insertion(
        scores_of(task.model, task.targets), task.images, found.maps, steps=STEPS, batch_size=found.batch
    ).area


def _road(found: Explained) -> NDArray[np.float64]:
    task = found.task
    return road(scores_of(task.model, task.targets), task.images, found.maps, batch_size=found.batch).combined


def _max_sensitivity(found: Explained) -> NDArray[np.float64]:
    task, explainer = found.task, found.explainer
    if explainer is None:
        return np.zeros(len(task))
    bounds = task.model.spec.bounds

    def explain(images: NDArray[Any]) -> NDArray[Any]:
        return maps_of(explainer, task, images, batch_size=found.batch_size).maps()

    radius = 0.02 * (bounds[1] - bounds[0])
    return max_sensitivity(explain, task.images, found.maps, radius=radius, bounds=bounds, samples=4)


def _randomisation(found: Explained) -> NDArray[np.float64]:
    task, explainer = found.task, found.explainer
    if explainer is None:
        return np.ones(len(task))
    shuffled = maps_of(explainer, task, task.images, randomised(task.model), found.batch_size)
    return np.abs(spearman(np.abs(found.maps), np.abs(shuffled.maps())))


def _by_mask(metric: Callable[[NDArray[Any], NDArray[np.bool_]], NDArray[np.float64]]) -> Metric:
    return lambda found: metric(found.maps, found.task.masks)


def _by_map(metric: Callable[[NDArray[Any]], NDArray[np.float64]]) -> Metric:
    return lambda found: metric(found.maps)


METRICS: Final[Mapping[str, Metric]] = MappingProxyType(
    {
        **{name: _by_mask(metric) for name, metric in LOCALISATION.items()},
        **{name: _by_map(metric) for name, metric in COMPLEXITY.items()},
        "deletion": _deletion,
        "insertion": _insertion,
        "road": _road,
        "max-sensitivity": _max_sensitivity,
        "randomisation": _randomisation,
    }
)
"""Metrics by name. Low is good of deletion, max-sensitivity and randomisation (rank correlation of the absolute maps
with those of a network whose weights are shuffled); high is good of the others, sparseness and the entropies aside."""
USUAL: Final = ("mass-accuracy", "rank-accuracy", "pointing-game", "auroc")


@final
@dataclass(frozen=True)
class Row:
    """One method on one task.

    Attributes:
        task: its name.
        images: how many there are.
        drawn: how many there were before the gate.
        method: the method's name, or the control's.
        control: whether it is one.
        metrics: name to mean and interval.
        seconds: per image; 0 for the mask itself.
        failure: why there are no numbers, or "".
    """

    task: str
    images: int
    drawn: int
    method: str
    control: bool
    metrics: Mapping[str, Summary] = field(default_factory=dict)
    seconds: float = 0.0
    failure: str = ""


@final
@dataclass(frozen=True)
class Table:
    """What a benchmark found.

    Attributes:
        rows: task by task, the methods first, then the controls.
        metrics: the columns.
        record: what was run: options of the methods, backends and versions.
    """

    rows: tuple[Row, ...]
    metrics: tuple[str, ...]
    record: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; what is not defined is None."""
        return {"record": dict(self.record), "rows": [for_json(asdict(row)) for row in self.rows]}

    def to_csv(self) -> str:
        """One line per task, method and metric, with a header."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("task", "method", "control", "metric", "mean", "low", "high", "n", "undefined", "seconds"))
        for row in self.rows:
            for name, s in row.metrics.items():
                numbers = ("" if number != number else f"{number:.6g}" for number in (s.mean, s.low, s.high))
                counts = (s.n, s.undefined, f"{row.seconds:.4g}")
                writer.writerow((row.task, row.method, int(row.control), name, *numbers, *counts))
        return text.getvalue()


def bench(
    tasks: Sequence[Task],
    explainers: Mapping[str, Explainer],
    metrics: Sequence[str] = USUAL,
    *,
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> Table:
    """Judge methods by tasks whose truth is known.

    Args:
        tasks: see `agnoscope.evaluation.tasks`.
        explainers: name to method.
        metrics: names out of `METRICS`.
        batch_size: how many images or samples go through the network at once.
        progress: called with the methods done and their number, all tasks together.

    Returns:
        The table. A method that a task's network does not suit has its refusal in place of numbers.

    Raises:
        OptionError: a metric is unknown, or there is nothing to do.
    """
    for name in metrics:
        if name not in METRICS:
            raise OptionError(f"There is no metric {name!r}. Near it: {nearest(name, METRICS)}.")
    if not tasks or not metrics:
        raise OptionError("A benchmark needs a task and a metric at least.")
    report, rows = progress or silent, []
    methods = {**explainers, **{name: control for name, control in CONTROLS.items() if name not in explainers}}
    record: dict[str, Any] = {"tasks": {}}
    total, done = len(tasks) * len(methods), 0
    for task in tasks:
        used: dict[str, Any] = {}
        record["tasks"][task.name] = {"about": task.about, "images": len(task), "drawn": task.drawn, "methods": used}
        for name, explainer in methods.items():
            report(done, total)
            row, found = _judged(task, name, explainer, name not in explainers, metrics, batch_size)
            rows.append(row)
            if found is not None:
                p = found.provenance
                used[name] = {"method": p.method, "options": p.options, "backend": p.backend}
                record["versions"] = dict(p.versions)
            done += 1
        oracle = Explained(task, None, task.masks.astype(np.float64), batch_size)
        rows.append(
            Row(task.name, len(task), task.drawn, ORACLE, True, {m: summary(METRICS[m](oracle)) for m in metrics})
        )
    report(total, total)
    return Table(tuple(rows), tuple(metrics), record)


def maps_of(
    explainer: Explainer, task: Task, images: NDArray[Any], model: Model | None = None, batch_size: int | None = None
) -> Explanation:
    """A method's explanation of a task's classes, on these images and by this network."""
    return explainer(model or task.model, list(images), [int(t) for t in task.targets], batch_size=batch_size)


def _judged(
    task: Task, name: str, explainer: Explainer, control: bool, metrics: Sequence[str], batch_size: int | None
) -> tuple[Row, Explanation | None]:
    start = time.perf_counter()
    try:
        found = maps_of(explainer, task, task.images, batch_size=batch_size)
        seconds = (time.perf_counter() - start) / len(task)
        explained = Explained(task, explainer, found.maps(), batch_size)
        values = {metric: summary(METRICS[metric](explained)) for metric in metrics}
    except AgnoscopeError as error:
        return Row(task.name, len(task), task.drawn, name, control, failure=str(error)), None
    return Row(task.name, len(task), task.drawn, name, control, values, seconds), found
