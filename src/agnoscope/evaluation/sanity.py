"""Sanity checks: does an explanation depend on what the network learned, or does it only show the image?

Two tests of Adebayo et al. (NeurIPS 2018). Parameters: the network's layers are randomised one after the other, the
last one first. Labels: a second network of the same architecture learned random labels by heart. Either network knows
nothing of the classes, so a method whose maps stay as they were explains something else. An edge filter, which knows
nothing of any network, is the control that must fail.

The rule: a method depends on the weights if the 95 % interval of the absolute rank correlation, between the absolute
maps of the network and those after all its layers are randomised, lies below 0.5; it does not if the interval lies
above; else, and with fewer than twelve images whose maps can be compared, it is undecided. For the labels likewise,
with the maps of the other network.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Final, Literal, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import AgnoscopeError, OptionError
from agnoscope.evaluation.randomised import cascade
from agnoscope.explainers.base import Explainer, Progress, silent
from agnoscope.explainers.controls import EdgeFilter
from agnoscope.explanation import Explanation
from agnoscope.metrics.randomisation import Similarity, label_randomisation, parameter_randomisation
from agnoscope.metrics.statistics import Summary, summary
from agnoscope.model import Model
from agnoscope.trees import for_json

Verdict: TypeAlias = Literal["depends on the weights", "depends on the labels", "does not", "undecided", "not tested"]
ALIKE: Final = 0.5
"""Absolute rank correlation at which maps count as the same: the ranks of one tell a quarter of the other's."""
ENOUGH: Final = 12
"""Images that a verdict needs: with fewer, a bootstrap interval is too short (92 % for 95 at this number)."""


@final
@dataclass(frozen=True)
class Alikeness:
    """How alike the maps of two networks are, over the images.

    Attributes:
        rank: absolute value of the rank correlation of the absolute maps, 0 to 1; the verdict rests on it.
        signed: rank correlation of the maps as they are, -1 to 1.
        ssim: structural similarity of the absolute maps, at most 1; high wherever both maps are mostly zero.
        entropy_rise: of the histogram's entropy, as a share of the trained network's; above 0 is good.
    """

    rank: Summary
    signed: Summary
    ssim: Summary
    entropy_rise: Summary


@final
@dataclass(frozen=True)
class Row:
    """One method.

    Attributes:
        method: its name.
        control: whether it is the edge filter that stands beside the methods.
        layers: layer to how alike the maps are once it and all later ones are randomised, the last layer first.
        labels: how alike they are to those of the network that learned random labels; None without one.
        options: of the method, every automatic choice made; empty where it was refused.
        failure: why there are no numbers, or "".
    """

    method: str
    control: bool
    layers: Mapping[str, Alikeness] = field(default_factory=dict)
    labels: Alikeness | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    failure: str = ""

    @property
    def on_weights(self) -> Verdict:
        """By the step at which all layers are randomised."""
        return _verdict(list(self.layers.values())[-1] if self.layers else None, "depends on the weights")

    @property
    def on_labels(self) -> Verdict:
        """By the network that learned random labels."""
        return _verdict(self.labels, "depends on the labels")


@final
@dataclass(frozen=True)
class Sanity:
    """What the sanity checks found.

    Attributes:
        rows: the methods, then the control.
        images: how many there were.
        record: what was run: seed, backend and versions.
    """

    rows: tuple[Row, ...]
    images: int
    record: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """All numbers, ready for JSON; those that are not defined are None."""
        rows = [{**asdict(row), "on_weights": row.on_weights, "on_labels": row.on_labels} for row in self.rows]
        found: dict[str, Any] = for_json({"images": self.images, "record": dict(self.record), "rows": rows})
        return found


def sanity(
    model: Model,
    images: NDArray[Any],
    targets: Sequence[int],
    explainers: Mapping[str, Explainer],
    other: Model | None = None,
    seed: int = 0,
    *,
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> Sanity:
    """Randomise a network's weights, and its labels, and see whether the explanations change.

    Args:
        model: the trained network.
        images: shape (images, height, width, channels), at least 7 × 7 pixels, as the network's explainers take them.
        targets: one class number per image, asked of every network alike.
        explainers: name to method.
        other: a network of the same architecture that learned random labels by heart; without it the labels are not
            tested.
        seed: of the shuffling of the weights.
        batch_size: how many images or samples go through the network at once.
        progress: called with the methods done and their number.

    Returns:
        One row for each method. One that refuses this network has its refusal in place of numbers.

    Raises:
        CapabilityError: the network's weights cannot be replaced, or it has none.
        OptionError: there is no image, or not one target for each.
    """
    asked = [int(target) for target in targets]
    if not asked or len(asked) != len(images):
        raise OptionError(f"{len(asked)} targets for {len(images)} images: give one class for each image.")
    next(cascade(model, seed))  # refuses before any work
    report = progress or silent
    methods = {**explainers, **({EdgeFilter.name: EdgeFilter()} if EdgeFilter.name not in explainers else {})}
    rows: list[Row] = []
    for name, explainer in methods.items():
        report(len(rows), len(methods))
        explain = partial(explainer, images=list(images), target=asked, batch_size=batch_size)
        rows.append(_examined(name, name not in explainers, explain, model, other, seed))
    report(len(methods), len(methods))
    return Sanity(tuple(rows), len(images), {"seed": seed, "backend": model.backend, "versions": dict(model.versions)})


def _examined(
    name: str, control: bool, explain: Callable[[Model], Explanation], model: Model, other: Model | None, seed: int
) -> Row:
    try:
        learned = explain(model)
        maps = learned.maps()
        steps = parameter_randomisation(maps, ((layer, explain(view).maps()) for layer, view in cascade(model, seed)))
        labels = None if other is None else _summed(label_randomisation(maps, explain(other).maps()))
    except AgnoscopeError as error:
        return Row(name, control, failure=str(error))
    layers = {layer: _summed(found) for layer, found in steps.items()}
    return Row(name, control, layers, labels, learned.provenance.options)


def _summed(found: Similarity) -> Alikeness:
    rank = summary(np.abs(found.absolute_spearman))
    return Alikeness(rank, summary(found.spearman), summary(found.ssim), summary(found.entropy_rise))


def _verdict(found: Alikeness | None, changed: Verdict) -> Verdict:
    if found is None:
        return "not tested"
    if found.rank.n < ENOUGH or found.rank.low <= ALIKE <= found.rank.high:
        return "undecided"
    return changed if found.rank.high < ALIKE else "does not"
