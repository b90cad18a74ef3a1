"""Straight paths from baselines to an image, and the gradients met on them: what integrated gradients are made of.

A path may also lie within a layer: from its activation on the baseline to its activation on the image. Its points
are then put in the place of what the layer gives, while the network still sees the image.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.batches import chunks, filled
from agnoscope.errors import NonFiniteError
from agnoscope.explainers.base import OneImage, score_program
from agnoscope.explainers.fillings import Fill, filling
from agnoscope.model import Model
from agnoscope.patches import Array
from agnoscope.target import Formula


@final
@dataclass(frozen=True)
class Paths:
    """The paths from some baselines to one image.

    Attributes:
        one: the image and the question.
        layer: in which the paths lie, or None for the image itself.
        end: where they all end, shape (1, height, width, channels), or (1, ...) and the layer's.
        starts: where each begins, shape (baselines, ...).
        rises: how much the score rises along each, shape (baselines,).
        chunk: how many points go through the network at once.
    """

    one: OneImage
    layer: str | None
    end: NDArray[Any]
    starts: NDArray[Any]
    rises: NDArray[np.float64]
    chunk: int

    @classmethod
    def between(cls, one: OneImage, baselines: Sequence[Fill], layer: str | None, points: int) -> Self:
        """The paths from these baselines, on which so many points will be looked at, or twice as many."""
        pictures = [filling(baseline, one.image, one.model.spec)[None] for baseline in baselines]
        end, starts = one.image[None], pictures
        if layer is not None:
            look = one.model.compile(_activation_program, layer)
            end, *starts = (look(picture)["activation"] for picture in (one.image[None], *pictures))
        scores = np.array([_score_at(one, layer, start) for start in starts])
        # Where the score of the image itself is not finite, the layer to blame is named at the end.
        if np.isfinite(one.score) and not np.isfinite(scores).all():
            guilty = baselines[int(np.flatnonzero(~np.isfinite(scores))[0])]
            raise NonFiniteError(
                f"The network gives NaN or infinity on the baseline {guilty!r}, where the path begins: use another one."
            )
        rows, _ = next(chunks(points, one.batch_size))
        return cls(one, layer, end, np.concatenate(starts), one.score - scores, len(rows))

    def total(
        self,
        which: NDArray[np.intp],
        nodes: NDArray[Any],
        weights: NDArray[Any],
        draw: Callable[[int], NDArray[Any]] | None = None,
        looked: int = 0,
    ) -> NDArray[np.float64]:
        """The sum of weight · (end - start) ⊙ gradient over points of the paths.

        Args:
            which: the number of each point's path, shape (points,).
            nodes: how far along it the point lies, from 0 to 1.
            weights: by how much it counts.
            draw: `draw(count)` gives what is added to the ends of the next `count` points' paths, shape
                (count, height, width, channels).
            looked: how many looks were done before, for the progress.

        Returns:
            Shape (height, width, channels), or the layer's.
        """
        one = self.one
        program = one.model.compile(_slopes_program, (one.target.formula, self.layer))
        arrays = one.arrays(self.chunk)
        total = np.zeros(self.end.shape[1:])
        for rows, kept in filled(len(nodes), self.chunk):
            counted = np.where(np.arange(self.chunk) < kept, weights[rows], 0)  # what fills the last chunk does not
            noise = {"noise": draw(self.chunk)} if draw else {}
            path = one.image[None], self.end, self.starts, noise
            total += program(*path, which[rows], nodes[rows], counted, arrays)["total"]
            one.tick(looked + int(rows[-1]) + 1)
        return total


def _score_at(one: OneImage, layer: str | None, point: NDArray[Any]) -> float:
    """The score at one point of a path, shape (1, ...)."""
    if layer is None:
        found = one.model.compile(score_program, one.target.formula)(point, one.arrays(1))
    else:
        within = one.model.compile(_score_within_program, (one.target.formula, layer))
        found = within(one.image[None], point, one.arrays(1))
    return float(found["scores"][0])


def _activation_program(model: Model, layer: str, images: Array) -> dict[str, Array]:
    return {"activation": model.run(images, (layer,))[layer]}


def _score_within_program(
    model: Model, static: tuple[Formula, str | None], image: Array, points: Array, arrays: Mapping[str, Any]
) -> dict[str, Array]:
    formula, layer = static
    return {"scores": formula(model.xp, _run(model, formula, layer, image, points), arrays)}


def _slopes_program(
    model: Model,
    static: tuple[Formula, str | None],
    image: Array,
    end: Array,
    starts: Array,
    noise: Mapping[str, Array],
    which: Array,
    nodes: Array,
    weights: Array,
    arrays: Mapping[str, Any],
) -> dict[str, Array]:
    formula, layer = static
    xp = model.xp
    start = xp.take(starts, which, axis=0)
    way = end - start + noise["noise"] if noise else end - start
    points = start + xp.reshape(nodes, (-1,) + (1,) * (len(end.shape) - 1)) * way

    def weighted(leaves: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
        scores = formula(xp, _run(model, formula, layer, image, leaves["points"]), arrays)
        return xp.sum(weights * scores), {}  # the weights come back in the gradients

    _, slopes = model.value_and_grad(weighted)({"points": points})
    return {"total": xp.sum(way * slopes["points"], axis=0)}


def _run(model: Model, formula: Formula, layer: str | None, image: Array, points: Array) -> dict[str, Array]:
    """The run at points that are images, or at points that stand in for the layer's activation on the image."""
    if layer is None:
        return model.run(points, formula.needs)
    xp = model.xp
    images = xp.broadcast_to(image, (points.shape[0], *image.shape[1:]))
    return model.run(images, formula.needs, {layer: lambda activation: xp.astype(points, activation.dtype)})
