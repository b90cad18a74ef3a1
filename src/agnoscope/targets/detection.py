"""An object in its place, for detectors whose output is one array of candidates."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias, final, get_args

import array_api_compat.numpy as host
import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import TargetError
from agnoscope.model import Head, Model
from agnoscope.patches import Array
from agnoscope.target import Bound, Formula, Target
from agnoscope.targets.classes import Asked, class_indices, class_names, first_answer, pick, probabilities, renamed

Layout: TypeAlias = Literal["corners", "centre"]
Unit: TypeAlias = Literal["pixels", "shares"]
Corners: TypeAlias = tuple[float, float, float, float]
SLACK: Final = 1e-3
"""How far below 0 a probability may come to lie by rounding."""


@final
@dataclass(frozen=True)
class Box(Target):
    """How well the best of a detector's candidates matches a class in a box (D-RISE: Petsiuk et al., CVPR 2021).

    The score is the largest product, over all candidates, of a candidate's overlap with the box (intersection over
    union) and its probability of the class; the class's own probability stands for the paper's cosine similarity of
    all of them. Where no candidate overlaps the box, the score is 0.

    The network's scores must be one array (candidates, 4 + classes) for each image; further axes, such as those of
    a grid, hold candidates as well. A network that returns boxes and classes apart is wrapped to join them:

        class Joined(torch.nn.Module):
            def __init__(self, detector):
                super().__init__()
                self.detector = detector

            def forward(self, x):
                found = self.detector(x)
                return torch.cat([found["boxes"], found["probabilities"]], dim=-1)

    There an objectness is multiplied in, and a class "no object" left out. A detector that ends with the suppression
    of neighbours passes on no gradient to speak of, and a varying number of candidates: fill them up to one number
    with zeros, and use a method without gradients, such as occlusion or RISE.

    Attributes:
        box: left, top, right and bottom in pixels of the image as the network gets it, from its upper left corner;
            or a tuple with one such box per image.
        index: a class number, a label, or a tuple with one per image; by default the class that matches best on the
            clean image. Where nothing overlaps the box there, it remains whichever class matches best.
        layout: the first four numbers of a candidate: "corners" (left, top, right, bottom) or "centre" (x, y, width,
            height).
        unit: what a candidate's coordinates are: "pixels" of the network's image, or "shares" of its width and height.
        head: what turns the classes' numbers into probabilities: "linear" where they are some, "sigmoid" or "softmax".
    """

    box: Corners | tuple[Corners, ...]
    index: Asked = None
    layout: Layout = "corners"
    unit: Unit = "pixels"
    head: Head = "linear"

    def bind(self, model: Model, count: int, size: tuple[int, int]) -> Bound:
        for name, known in (("layout", Layout), ("unit", Unit), ("head", Head)):
            if getattr(self, name) not in get_args(known):
                raise TargetError(
                    f"{name}={getattr(self, name)!r} is unknown: use one of {', '.join(get_args(known))}."
                )
        outline = model.outline(size)
        if len(outline.scores) < 2 or outline.scores[-1] < 5 or outline.head != "linear":
            raise TargetError(
                f"The network gives scores of shape {outline.scores} for an image, {outline.head} as a whole; a "
                "detector's are (candidates, 4 + classes), linear as a whole. Wrap a network that joins its boxes and "
                "classes to that, or use a function of the run as target."
            )
        index = class_indices(model, self.index, count, outline.scores[-1] - 4)
        boxes = _checked(self.box, count, size)
        places = (f"at ({', '.join(f'{edge:g}' for edge in box)})" for box in boxes)
        names = tuple(f"{name} {place}" for name, place in zip(class_names(index, model.labels), places, strict=True))
        if self.unit == "shares":
            boxes = boxes / [size[1], size[0], size[1], size[0]]  # an overlap has no unit
        formula = Formula(_box_score, ("scores",), (self.layout, self.head), _box_freeze)
        return Bound(formula, {"index": index, "box": boxes.astype(model.dtype)}, "similarity", names)


def _checked(box: Corners | tuple[Corners, ...], count: int, size: tuple[int, int]) -> NDArray[np.float64]:
    """The box of every image, shape (images, 4)."""
    try:
        boxes = np.asarray(box, dtype=np.float64)
    except (TypeError, ValueError):
        boxes = np.empty(0)
    if boxes.shape not in ((4,), (count, 4)):
        raise TargetError(
            f"box={box!r} must be (left, top, right, bottom) in pixels, or {count} of these, one per image."
        )
    boxes = np.broadcast_to(boxes, (count, 4))
    left, top, right, bottom = boxes.T
    if not (np.isfinite(boxes).all() and (left < right).all() and (top < bottom).all()):
        raise TargetError(f"box={box!r} must have its left before its right and its top above its bottom, in pixels.")
    height, width = size
    if not ((left < width) & (right > 0) & (top < height) & (bottom > 0)).all():
        raise TargetError(f"box={box!r} lies outside the image, which is {width} pixels wide and {height} high.")
    return boxes


def _box_score(xp: Any, values: Mapping[str, Array], arrays: Mapping[str, Any], layout: Layout, head: Head) -> Array:
    table = _similarities(xp, values["scores"], arrays["box"], layout, head)
    return pick(xp, table, first_answer(xp, table, arrays["index"]))


def _box_freeze(
    bound: Bound, scores: NDArray[Any], labels: tuple[str, ...] | None, layout: Layout, head: Head
) -> Bound:
    numbers = scores[..., 4:]
    if head == "linear" and (numbers < -SLACK).any():
        raise TargetError(
            f"The classes' numbers go from {numbers.min():.3g} to {numbers.max():.3g}, which are no probabilities: "
            "say what makes some of them, ag.Box(..., head='sigmoid') or 'softmax'."
        )
    table = _similarities(host, scores, bound.arrays["box"], layout, head)
    index = np.where(table.max(axis=1) > 0, first_answer(host, table, bound.arrays["index"]), bound.arrays["index"])
    return replace(bound, arrays={**bound.arrays, "index": index}, names=renamed(bound.names, index, labels))


def _similarities(xp: Any, found: Array, box: Array, layout: Layout, head: Head) -> Array:
    """What the best candidate for each class gives, shape (images, classes)."""
    found = xp.reshape(found, (found.shape[0], -1, found.shape[-1]))
    start, end, scores = found[..., 0:2], found[..., 2:4], found[..., 4:]
    if layout == "centre":
        start, end = start - end / 2, start + end / 2
    if head != "linear":
        scores = probabilities(xp, scores, head == "sigmoid")
    first, last = box[:, None, 0:2], box[:, None, 2:4]
    common = _area(xp, xp.maximum(start, first), xp.minimum(end, last))
    union = _area(xp, start, end) + _area(xp, first, last) - common
    return xp.max((common / union)[..., None] * scores, axis=1)


def _area(xp: Any, start: Array, end: Array) -> Array:
    sides = end - start
    sides = xp.maximum(sides, xp.zeros_like(sides))
    return sides[..., 0] * sides[..., 1]
