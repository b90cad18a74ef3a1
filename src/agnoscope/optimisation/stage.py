"""What a method asks of the loop: stages, one after the other, each with its own five parts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Any, TypeAlias, final

from numpy.typing import NDArray

from agnoscope.errors import OptionError
from agnoscope.optimisation.canvas import Canvas
from agnoscope.optimisation.optimisers import Adam, Optimiser
from agnoscope.optimisation.parameterisations.base import Parameterisation
from agnoscope.optimisation.parameterisations.pixels import Pixels
from agnoscope.optimisation.regularisers import Correction, Penalty
from agnoscope.optimisation.transformations import Views
from agnoscope.target import Bound

Begin: TypeAlias = Callable[["NDArray[Any] | None"], "NDArray[Any] | None"]
"""The images that a stage begins from, made of those with which the one before ended (None at first); None is noise."""

Until: TypeAlias = Callable[["NDArray[Any]"], "NDArray[Any]"]
"""Which images are finished, by their scores; both of shape (images,)."""


def from_noise(before: NDArray[Any] | None) -> NDArray[Any] | None:
    """A `Begin`: where the stage before ended, at first from the parameterisation's own noise."""
    return before


@final
@dataclass(frozen=True, eq=False)
class Stage:
    """A stretch of a run at one size: one compiled program.

    Attributes:
        canvas: what the images are painted on.
        parameterisation: what the steps move.
        target: bound to the images of the run at the size that the network gets; its value is driven up.
        steps: how many.
        optimiser: makes steps of gradients.
        views: how the network looks at the images; None shows them as they are.
        seen: height and width of what the network gets; by default the canvas' size.
        penalties: taken off the target's value.
        corrections: made after every step, of `Pixels` only.
        begin: from which images.
        until: an image that is finished is not changed any more, and the stage ends with the last one.
        restful: whether a gradient of zero is an end and no fault, as that of a distance is.
        slopes: whether the absolute gradients at the images are added up, for a transparency map.

    Raises:
        OptionError: a part is none of its kind, or there are corrections, and what the steps move are no pixels.
    """

    canvas: Canvas
    parameterisation: Parameterisation
    target: Bound
    steps: int
    optimiser: Optimiser = Adam()
    views: Views | None = None
    seen: tuple[int, int] | None = None
    penalties: Sequence[Penalty] = ()
    corrections: Sequence[Correction] = ()
    begin: Begin = from_noise
    until: Until | None = None
    restful: bool = False
    slopes: bool = False

    def __post_init__(self) -> None:
        _check_part("parameterisation", self.parameterisation, Parameterisation, "Fourier()")
        _check_part("optimiser", self.optimiser, Optimiser, "Adam()")
        _check_part("views", self.views, Views | None, "Views()")
        if self.corrections and not isinstance(self.parameterisation, Pixels):
            raise OptionError(
                f"Corrections such as {type(self.corrections[0]).__name__} change pixels, and the steps move those of "
                f"the parameterisation {self.parameterisation.name!r}: use Pixels(), or penalties."
            )

    @property
    def look(self) -> tuple[int, int]:
        """Height and width of what the network gets."""
        return self.seen or self.canvas.size

    @property
    def still(self) -> bool:
        """Whether every step looks at the images alike, so that their objectives compare."""
        return self.views is None or self.views.still


def _check_part(option: str, given: object, kind: type | UnionType, such: str) -> None:
    if not isinstance(given, kind):
        raise OptionError(f"{option}={given!r} is none: give one such as ag.{such}.")
