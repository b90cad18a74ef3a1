"""RMSprop: steps by the root of each number's mean square gradient, long at first."""

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import OptionError
from agnoscope.explainers.options import positive
from agnoscope.optimisation.optimisers import Optimiser, Slope
from agnoscope.optimisation.parameterisations.base import Tree
from agnoscope.trees import joined, mapped


@final
@dataclass(frozen=True)
class RMSprop(Optimiser):
    """Steps along the gradient divided by the root of its mean square (Tieleman and Hinton, 2012).

    The mean begins with nothing, so that the first step is longer than the rate by 1/√(1 - decay), and those after it
    fall towards the rate. `Adam(decay=(0, decay))` takes that out.

    Attributes:
        rate: length of a step in the long run.
        decay: by which the mean square forgets, from 0 to below 1.
        epsilon: added to the root.

    Raises:
        OptionError: an option is out of range.
    """

    rate: float = 0.01
    decay: float = 0.9
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        positive("rate", self.rate)
        positive("epsilon", self.epsilon)
        if not 0 <= positive("decay", self.decay, or_zero=True) < 1:
            raise OptionError(f"decay={self.decay!r} must lie between 0 and 1; it may be 0.")

    def begin(self, parameters: Tree) -> Tree:
        return {"square": mapped(parameters, np.zeros_like)}

    def step(
        self, parameters: Tree, loss: NDArray[Any], gradient: Tree, memory: Tree, slope: Slope
    ) -> tuple[Tree, Tree]:
        del loss, slope
        square = joined(lambda s, g: self.decay * s + (1 - self.decay) * g * g, memory["square"], gradient)
        moves = joined(lambda g, s: self.rate * g / (np.sqrt(s) + self.epsilon), gradient, square)
        return joined(lambda p, m: p - m.astype(p.dtype), parameters, moves), {"square": square}
