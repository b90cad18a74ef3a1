"""Which label has which colour and shape on a map.

The colours are those of Okabe and Ito (2008), which people with any colour vision tell apart; each label has a shape
of its own, too. More than a dozen nobody tells apart: the most frequent are marked, and the rest is gray.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import OptionError

Colour: TypeAlias = tuple[int, int, int]

COLOURS: Final[tuple[Colour, ...]] = (
    (0, 114, 178),
    (230, 159, 0),
    (0, 158, 115),
    (213, 94, 0),
    (204, 121, 167),
    (86, 180, 233),
    (200, 180, 20),  # their yellow, darker, so that it is seen on white
)
SHAPES: Final = ("circle", "square", "triangle", "diamond")
"""Four, to seven colours: 28 marks of which no two are the same."""

OTHER: Final[Colour] = (150, 150, 155)
MARKED: Final = 12
"""How many labels have a mark of their own at the most."""


@final
@dataclass(frozen=True, eq=False)
class Marks:
    """The mark of every image.

    Attributes:
        names: the labels that are marked, in the order of the alphabet; their place says colour and shape.
        counts: how many images have each.
        which: for each image the place of its label, or -1 for a rare label or none, shape (images,).
        rest: what the legend says of the images without a mark; empty where there are none.
    """

    names: tuple[str, ...]
    counts: tuple[int, ...]
    which: NDArray[np.int64]
    rest: str = ""

    @classmethod
    def of(cls, labels: Sequence[str] | None, images: int, most: int = MARKED) -> Self:
        """Choose marks: the most frequent labels have one.

        Args:
            labels: one per image, "" where it has none; None where there are no labels at all.
            images: how many there are.
            most: how many labels have a mark; as many as there are colours have one colour each.

        Raises:
            OptionError: there are more or fewer labels than images.
        """
        if labels is None:
            return cls((), (), np.full(images, -1))
        if len(labels) != images:
            raise OptionError(f"{len(labels)} labels were given for {images} images: give one each, '' for none.")
        counted = Counter(label for label in labels if label)
        frequent = sorted(counted, key=lambda name: (-counted[name], name))
        names = tuple(sorted(frequent[:most]))
        place = {name: i for i, name in enumerate(names)}
        which = np.array([place.get(label, -1) for label in labels], np.int64)
        rare, bare = len(counted) - len(names), images - counted.total()
        words = [f"{rare} more label{'s' if rare > 1 else ''}"] * bool(rare) + ["no label"] * bool(bare)
        rest = f"{' or '.join(words)} ({int((which < 0).sum())})" if words else ""
        return cls(names, tuple(counted[name] for name in names), which, rest)

    def legend(self) -> list[tuple[int, str]]:
        """What stands in a legend: a place (-1 for gray), and words with the number of images."""
        marked = [(i, f"{name} ({count})") for i, (name, count) in enumerate(zip(self.names, self.counts, strict=True))]
        return marked + ([(-1, self.rest)] if self.rest else [])


def colour(place: int) -> Colour:
    """The colour of a label by its place; gray for -1."""
    return OTHER if place < 0 else COLOURS[place % len(COLOURS)]


def shape(place: int) -> str:
    """The shape of a label by its place: "circle", "square", "triangle" or "diamond"."""
    return SHAPES[max(0, place) % len(SHAPES)]
