"""Integrated gradients: the gradient's mean on the way from a baseline to the image, times the way."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final, Literal, Self, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import OptionError
from agnoscope.explainers.base import Attribution, ImageByImage, OneImage, full_name
from agnoscope.explainers.fillings import Fill, check_fill, hashable, several
from agnoscope.explainers.gradients.paths import Paths
from agnoscope.explainers.options import positive, whole
from agnoscope.model import Model

Rule: TypeAlias = Literal["gauss-legendre", "left", "right", "middle", "trapezoid", "captum-trapezoid", "linspace"]


@final
@dataclass(frozen=True)
class IntegratedGradients(ImageByImage):
    """Integrated gradients (Sundararajan, Taly and Yan, ICML 2017).

    The values add up to how much the score rises from the baseline to the image. So the error of the integral is
    known, and the number of steps is doubled until it is small. They are signed, in units of the score, shape
    (images, height, width, channels); their map is the sum over the channels.

    The result's extras hold, for each image, "delta": the sum of the values less the score's rise, and "steps": how
    many points of the path were looked at in the end (with several baselines, the most).

    Attributes:
        baseline: where the path begins: "black" is the lower bound, and `agnoscope.explainers.fillings` knows more.
            The values are averaged over the baselines of a tuple.
        steps: how many points of the path are looked at, at first.
        rule: where they lie and how they are weighed. The trapezoid's weights are the textbook's; with captum's
            they add up to 1 - 1 / steps. PAIR's "linspace" lies there too, and weighs all alike.
        tolerance: as a share of the score's rise, the error at which doubling ends; None looks at `steps` points
            and no more.
        most: up to how many points doubling goes; `steps` are looked at in any case. Where that does not suffice, the
            result says so.
        layer: a layer within which the path lies, from its activation on the baseline to that on the image, in place
            of the image; the values then have its shape.
    """

    name = "integrated-gradients"
    needs = frozenset({"gradient"})
    reduction = "signed"

    baseline: "Fill | tuple[Fill, ...]" = "black"
    steps: int = 50
    rule: Rule = "gauss-legendre"
    tolerance: float | None = 0.01
    most: int = 400
    layer: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "baseline", hashable(self.baseline))

    def settle(self, model: Model, size: tuple[int, int]) -> Self:
        if self.rule not in RULES:
            raise OptionError(f"rule={self.rule!r} is unknown: use {', '.join(map(repr, RULES))}.")
        least = 2 if "trapezoid" in self.rule else 1
        whole("steps", self.steps, least)
        if self.tolerance is not None:
            positive("tolerance", self.tolerance)
            whole("most", self.most)
        for fill in several(self.baseline):
            check_fill("baseline", fill, model.spec, size)
        return replace(self, layer=full_name(model, self.layer, size))

    def looks(self, model: Model, size: tuple[int, int]) -> int:  # noqa: ARG002
        return len(several(self.baseline)) * sum(self._doubled())

    def attribute_one(self, one: OneImage) -> Attribution:
        paths = Paths.between(one, several(self.baseline), self.layer, self.steps)
        found = [self._integral(paths, i) for i in range(len(paths.starts))]
        return Attribution(
            np.mean([each.values for each in found], axis=0),
            np.array(one.score),
            extras={
                "delta": np.mean([each.extras["delta"] for each in found]),
                "steps": np.max([each.extras["steps"] for each in found]),
            },
            notes=tuple(note for each in found for note in each.notes),
        )

    def _integral(self, paths: Paths, number: int) -> Attribution:
        """The integral along one path, finer and finer until it is good enough."""
        rise, looked = float(paths.rises[number]), number * sum(self._doubled())
        for steps in self._doubled():
            nodes, weights = RULES[self.rule](steps)
            values = paths.total(np.full(steps, number), nodes, weights, looked=looked)
            looked += steps
            delta = float(values.sum()) - rise
            missed = self.tolerance is not None and abs(delta) > self.tolerance * abs(rise)
            if not missed:
                break
        extras = {"delta": np.array(delta), "steps": np.array(steps)}
        note = (
            f"With {steps} steps integrated gradients miss the score's rise by more than {self.tolerance} of it, for "
            f"one image at least (see its 'delta'): give more, most={2 * steps}."
        )
        return Attribution(values, np.array(paths.one.score), extras=extras, notes=(note,) if missed else ())

    def _doubled(self) -> Iterator[int]:
        """The numbers of steps that are tried, one after the other."""
        steps = self.steps
        yield steps
        while self.tolerance is not None and steps < self.most:
            steps = min(2 * steps, self.most)
            yield steps


Nodes: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Where points of the way from 0 to 1 lie, and what each counts for in an integral."""


@cache
def _gauss_legendre(steps: int) -> Nodes:
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    return (nodes + 1) / 2, weights / 2


def _riemann(where: float) -> Callable[[int], Nodes]:
    """Equal steps, each looked at `where` it lies from its beginning, 0, to its end, 1."""
    return lambda steps: ((np.arange(steps) + where) / steps, np.full(steps, 1 / steps))


def _trapezoid(steps: int) -> Nodes:
    weights = np.full(steps, 1 / (steps - 1))
    weights[[0, -1]] /= 2
    return np.linspace(0, 1, steps), weights


def _captum_trapezoid(steps: int) -> Nodes:
    nodes, weights = _trapezoid(steps)
    return nodes, weights * (steps - 1) / steps


def _linspace(steps: int) -> Nodes:
    return np.linspace(0, 1, steps), np.full(steps, 1 / steps)


RULES: Final[dict[Any, Callable[[int], Nodes]]] = {
    "gauss-legendre": _gauss_legendre,
    "left": _riemann(0),
    "right": _riemann(1),
    "middle": _riemann(0.5),
    "trapezoid": _trapezoid,
    "captum-trapezoid": _captum_trapezoid,
    "linspace": _linspace,
}
