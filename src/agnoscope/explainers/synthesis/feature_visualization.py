"""Feature visualisation: images that excite a class, neuron, channel, direction or layer the most."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

from agnoscope.errors import TargetError
from agnoscope.explainers.synthesis.base import Plan, Synthesizer
from agnoscope.explainers.synthesis.sizes import size_of
from agnoscope.model import Model
from agnoscope.optimisation.canvas import Canvas
from agnoscope.optimisation.optimisers import Adam, Optimiser
from agnoscope.optimisation.parameterisations.base import Parameterisation
from agnoscope.optimisation.parameterisations.fourier import Fourier
from agnoscope.optimisation.regularisers import Correction, Penalty
from agnoscope.optimisation.stage import Stage
from agnoscope.optimisation.transformations import Views
from agnoscope.target import ClassScore, Target, as_target, side_by_side


@final
@dataclass(frozen=True)
class FeatureVisualization(Synthesizer):
    """Feature visualisation (Erhan et al., 2009; Olah, Mordvintsev and Schubert, Distill 2017).

    Called with a network and what to drive up: a class number or label, a `Target` such as `ag.Channel(layer, 3)`, or a
    list of these for several images at once: `channels` and `interpolated` of `series.py` make such lists, and one
    target several times gives several images of it, which the penalty `Diversity` drives apart. The defaults are
    Lucid's.

    Attributes:
        iterations: how many steps.
        size: height and width in pixels; by default the network's own, or 224.
        parameterisation: what the steps move.
        views: how the network looks at the image at each step; None shows it as it is.
        optimiser: makes steps of gradients.
        penalties: what the image is to have little of.
        corrections: made after every step, of `Pixels` only.
        transparency: whether the result tells how much each pixel mattered, by the gradients of all steps: where it is
            drawn, the rest fades (Fel et al., NeurIPS 2023).
        seed: of noise and views.
    """

    name = "feature-visualization"

    iterations: int = 512
    size: int | tuple[int, int] | None = None
    parameterisation: Parameterisation = Fourier()
    views: Views | None = Views()
    optimiser: Optimiser = Adam(0.05)
    penalties: tuple[Penalty, ...] = ()
    corrections: tuple[Correction, ...] = ()
    transparency: bool = False
    seed: int = 0

    def plan(self, model: Model, target: Any) -> Plan:
        """Plan images of what is asked.

        Args:
            model: the network.
            target: what to drive up, or a list with one for each image.
        """
        targets = several(target)
        size = size_of(model, self.size)
        seen = model.spec.size or size
        stage = Stage(
            Canvas.of(model, size),
            self.parameterisation,
            side_by_side(targets, model, seen),
            self.iterations,
            self.optimiser,
            self.views or (None if seen == size else Views(())),
            seen,
            tuple(penalty.settle(model, seen) for penalty in self.penalties),
            self.corrections,
            slopes=self.transparency,
        )
        return Plan((stage,), stage.target.names)


def several(target: Any) -> tuple[Target, ...]:
    """One target for each image.

    Raises:
        TargetError: nothing was asked, or "top-1", which an image has that is yet to be made.
    """
    items = target if isinstance(target, Sequence) and not isinstance(target, str) else [target]
    found = tuple(as_target(item) for item in items)
    if not found or any(isinstance(each, ClassScore) and each.index in (None, "top-1") for each in found):
        raise TargetError("Say what to visualise: a class number or label, or a Target such as ag.Channel(layer, 3).")
    return found
