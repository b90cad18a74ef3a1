"""A number that the network gives, as it stands."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from agnoscope.errors import TargetError
from agnoscope.model import Model
from agnoscope.patches import Array
from agnoscope.target import Bound, Formula, Target
from agnoscope.targets.classes import pick


@final
@dataclass(frozen=True)
class Output(Target):
    """One unit of the network's output, for regression.

    It is taken after any softmax or sigmoid, and never as one of two classes: where a network has one unit, a
    `ClassScore` asks for a class or its complement, and this for the number.

    Attributes:
        index: which unit, from 0, or a tuple with one per image.
    """

    index: int | tuple[int, ...] = 0

    def bind(self, model: Model, count: int, size: tuple[int, int]) -> Bound:
        shape = model.outline(size).scores
        if len(shape) > 1:
            raise TargetError(
                f"The network gives an output of shape {shape} for an image, not a list of numbers. Use a function "
                "of the run as target, for example lambda run: run['scores'][:, 0, 0, 3]."
            )
        each = self.index if isinstance(self.index, tuple) else (self.index,) * count
        if len(each) != count:
            raise TargetError(f"{len(each)} outputs were given for {count} images: give one for each, or one for all.")
        units = shape[0] if shape else 1
        for index in each:
            if not isinstance(index, int | np.integer) or not 0 <= index < units:
                raise TargetError(f"Output {index!r} was asked for; the network has {units}, by their number from 0.")
        names = tuple(model.labels[i] if model.labels and len(model.labels) == units else f"output {i}" for i in each)
        return Bound(Formula(_output, ("output",)), {"index": np.array(each, dtype=np.int32)}, "output", names)


def _output(xp: Any, values: Mapping[str, Array], arrays: Mapping[str, Any]) -> Array:
    output = values["output"]
    return pick(xp, xp.reshape(output, (output.shape[0], -1)), arrays["index"])
