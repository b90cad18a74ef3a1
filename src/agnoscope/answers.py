"""What a network answers, before anyone asks why."""

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.batches import chunks, comfortable_batch
from agnoscope.images import ImageLike, load
from agnoscope.model import Head, Model
from agnoscope.patches import Array


@final
@dataclass(frozen=True)
class Answer:
    """One of the network's answers for one image.

    Attributes:
        index: the class.
        label: its name, or "class 3" where the network has no labels.
        score: before the softmax or sigmoid.
        probability: after it; networks that end without one are taken to mean a softmax, with one unit a sigmoid.
    """

    index: int
    label: str
    score: float
    probability: float

    def __str__(self) -> str:
        return f"{self.label} {self.score:.3g} ({self.probability:.1%})"


def predict(model: Model, images: ImageLike, most: int = 3) -> tuple[tuple[Answer, ...], ...]:
    """The network's first answers for each image.

    Args:
        model: what `agnoscope.wrap` returned.
        images: as for an explainer.
        most: how many answers at the most.

    Raises:
        ImageError: an image cannot be read or does not fit.
    """
    batch = load(images, model.spec, model.dtype)
    size = (batch.images.shape[1], batch.images.shape[2])
    program = model.compile(_scores_program, ())
    parts = chunks(len(batch.images), comfortable_batch(model, size))
    scores = np.concatenate([program(batch.images[rows])["scores"][:kept] for rows, kept in parts])
    return first_answers(scores, model.outline(size).head, model.labels, most)


def first_answers(
    scores: NDArray[Any], head: Head, labels: tuple[str, ...] | None, most: int = 3
) -> tuple[tuple[Answer, ...], ...]:
    """The first answers that scores stand for, best first.

    A network of one unit answers class 1 or its complement, class 0. Scores with more axes have no such answers.

    Args:
        scores: shape (images, classes).
        head: what turns the scores into the output.
        labels: names of the classes.
        most: how many answers at the most.
    """
    if scores.ndim > 2:
        return ()
    table = scores.reshape(len(scores), -1).astype(np.float64)
    alone = table.shape[1] == 1
    table = np.concatenate([-table, table], axis=1) if alone else table
    with np.errstate(over="ignore"):
        if alone or head == "sigmoid":
            chances = 1 / (1 + np.exp(-table))
        else:
            powers = np.exp(table - table.max(axis=1, keepdims=True))
            chances = powers / powers.sum(axis=1, keepdims=True)
    best = np.argsort(-table, axis=1, kind="stable")[:, :most]
    return tuple(
        tuple(Answer(c, class_name(c, labels), float(row[c]), float(chance[c])) for c in chosen)
        for row, chance, chosen in zip(table, chances, best.tolist(), strict=True)
    )


def class_name(index: int, labels: tuple[str, ...] | None) -> str:
    """Such as "tabby [282]" where there are labels, else "class 282"."""
    return f"{labels[index]} [{index}]" if labels and index < len(labels) else f"class {index}"


def _scores_program(model: Model, _: tuple[()], images: Array) -> dict[str, Array]:
    return model.run(images, ("scores",))
