"""What the units of a row of layers see, worked out by hand: the oracle of the tests of receptive fields."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Step(NamedTuple):
    """A convolution or pool along one axis: side, stride, dilation, and what is padded before and after."""

    side: int
    stride: int = 1
    dilation: int = 1
    before: int = 0
    after: int = 0


def same(side: int, stride: int, length: int) -> Step:
    """The step that TensorFlow calls SAME: the output is as long as the input, divided by the stride, rounded up."""
    total = max((-(-length // stride) - 1) * stride + side - length, 0)
    return Step(side, stride, 1, total // 2, total - total // 2)


def spans(length: int, steps: Sequence[Step]) -> NDArray[np.intp]:
    """From which up to, without, which pixel each unit sees, shape (units, 2).

    Args:
        length: of the image along this axis.
        steps: from the image to the layer.
    """
    seen = [{i} for i in range(length)]
    for step in steps:
        units = (len(seen) + step.before + step.after - step.dilation * (step.side - 1) - 1) // step.stride + 1
        taps = [[u * step.stride - step.before + step.dilation * j for j in range(step.side)] for u in range(units)]
        seen = [set().union(*(seen[t] for t in tap if 0 <= t < len(seen))) for tap in taps]
    return np.array([(min(one), max(one) + 1) if one else (0, 0) for one in seen])
