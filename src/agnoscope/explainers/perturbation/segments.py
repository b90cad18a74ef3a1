"""Segments of an image as the players of a game: what feature ablation, LIME and both SHAPs share.

A coalition is an image of which only some segments are shown and a filling hides the others; it wins the target's
score of that image. What each player is worth to the coalitions becomes the value of its pixels. The images are made
inside the compiled program, from one row of zeros and ones for each, so that nothing large travels.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.batches import even, filled
from agnoscope.errors import OptionError
from agnoscope.explainers.base import Attribution, ImageByImage, OneImage
from agnoscope.explainers.fillings import Fill, Picture, check_fill, filling, hashable
from agnoscope.explainers.options import whole
from agnoscope.model import Model
from agnoscope.patches import Array
from agnoscope.segmentation import superpixels
from agnoscope.target import Formula

Segments: TypeAlias = "int | Picture | NDArray[Any]"
"""How many superpixels, or the number of each pixel's segment, shape (height, width), whole numbers from 0."""

ROWS: Final = 64
"""Tables of who takes part are filled up to a multiple of this: images differ in how many superpixels they have, and
every new shape would compile the network anew."""


@final
@dataclass(frozen=True)
class Game:
    """One image, ready to be played with.

    Attributes:
        one: the image and the question.
        filling: what hides, of the image's shape.
        segments: shape (height, width), numbers from 0 without gaps.
        batch: how many coalitions go through the network at once; the same for all images, as above.
    """

    one: OneImage
    filling: NDArray[Any]
    segments: NDArray[np.intp]
    batch: int

    @property
    def players(self) -> int:
        """How many segments there are."""
        return int(self.segments.max()) + 1

    @property
    def full(self) -> float:
        """What all of them win: the score of the whole image."""
        return self.one.score

    def __call__(self, coalitions: NDArray[Any]) -> NDArray[np.float64]:
        """What coalitions win.

        Args:
            coalitions: shape (coalitions, players), true where a segment is shown.

        Returns:
            Shape (coalitions,).
        """
        one, count = self.one, len(coalitions)
        program = one.model.compile(_coalition_program, one.target.formula)
        numbers = np.repeat(self.segments.reshape(-1), one.image.shape[-1])
        shown = np.zeros((-(-self.players // ROWS) * ROWS, count), dtype=np.int32)
        shown[: self.players] = coalitions.T
        arrays = one.arrays(self.batch)
        scores = np.empty(count)
        for rows, kept in filled(count, self.batch):
            found = program(one.image[None], self.filling[None], numbers, shown[:, rows], arrays)
            scores[rows[:kept]] = found["scores"][:kept]
            one.tick(int(rows[-1]) + 1)
        return scores


class BySegments(ImageByImage):
    """A method that gives each segment of an image one value, from a game of coalitions.

    Subclasses have the fields `segments` and `fill`.
    """

    reduction = "signed"

    segments: Segments
    fill: Fill

    def __post_init__(self) -> None:
        object.__setattr__(self, "segments", hashable(self.segments))
        object.__setattr__(self, "fill", hashable(self.fill))

    @abstractmethod
    def coalitions(self, players: int) -> int:
        """How many coalitions it plays with so many players."""

    @abstractmethod
    def play(self, game: Game) -> tuple[NDArray[Any], Mapping[str, NDArray[Any]]]:
        """What each player is worth, shape (players,), and further numbers."""

    def settle(self, model: Model, size: tuple[int, int]) -> Self:
        check_segments(self.segments, size)
        check_fill("fill", self.fill, model.spec, size)
        return self

    def looks(self, model: Model, size: tuple[int, int]) -> int:  # noqa: ARG002
        # What is asked for: the superpixels that are found may be a few more or less.
        asked = self.segments
        return self.coalitions(len(np.unique(asked.pixels)) if isinstance(asked, Picture) else int(asked))

    def attribute_one(self, one: OneImage) -> Attribution:
        looks = self.looks(one.model, one.size)
        shown = filling(self.fill, one.image, one.model.spec)
        segments = segments_of(self.segments, one.image)
        worth, extras = self.play(Game(one, shown, segments, even(looks, one.batch_size)))
        return Attribution(worth[segments], np.array(one.score), extras=extras)


def check_segments(given: Any, size: tuple[int, int]) -> None:
    """Refuse what does not cut images of this size (height, width) into segments.

    Raises:
        OptionError: neither a number above 0, nor whole numbers from 0 on in the image's shape.
    """
    if not isinstance(given, Picture):
        whole("segments", given)
        return
    labels = given.pixels
    if labels.shape != (*size, 1) or labels.dtype.kind not in "biuf":
        raise OptionError(f"segments={given!r} must have one number per pixel, shape {size}.")
    if not ((labels >= 0) & (labels == np.floor(labels))).all():
        raise OptionError(f"segments={given!r} must hold whole numbers from 0 on, and holds others.")


def segments_of(given: Any, image: NDArray[Any]) -> NDArray[np.intp]:
    """The segment of each pixel, shape (height, width), numbers from 0 without gaps.

    Args:
        given: checked before by `check_segments`.
        image: shape (height, width, channels).
    """
    labels = given.pixels[..., 0] if isinstance(given, Picture) else superpixels(image, given)
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape)


def _coalition_program(
    model: Model,
    formula: Formula,
    image: Array,
    filling: Array,
    segments: Array,
    shown: Array,
    arrays: Mapping[str, Any],
) -> dict[str, Array]:
    xp = model.xp
    # Segments lead, so that what is taken lies together in memory: the other way round costs three times as much.
    kept = xp.matrix_transpose(xp.take(shown > 0, segments, axis=0))
    flat = xp.where(kept, *(xp.reshape(picture, (1, -1)) for picture in (image, filling)))
    images = xp.reshape(flat, (shown.shape[1], *image.shape[1:]))
    return {"scores": formula(xp, model.run(images, formula.needs), arrays)}
