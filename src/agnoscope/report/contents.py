"""A report: what is in it, image by image, and how it becomes a file."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.answers import Answer
from agnoscope.archive import write_whole
from agnoscope.errors import FileError
from agnoscope.explainers.meanings import Meaning
from agnoscope.explanation import Explanation
from agnoscope.report.collection import Surroundings
from agnoscope.report.judging import Verdict
from agnoscope.report.network import Network

ENDINGS: Final = (".html", ".htm")


@final
@dataclass(frozen=True)
class Failure:
    """A part that could not be made.

    Attributes:
        name: of the method, the image or the part.
        reason: what went wrong, and what to do.
    """

    name: str
    reason: str


@final
@dataclass(frozen=True, eq=False)
class Panel:
    """One method's map of one image, and how far it can be trusted.

    Attributes:
        title: the method's name, numbered where it is there twice.
        explanation: of this image alone.
        meaning: what such a map shows and hides.
        verdicts: of the checks.
    """

    title: str
    explanation: Explanation
    meaning: Meaning
    verdicts: tuple[Verdict, ...] = ()


@final
@dataclass(frozen=True, eq=False)
class LayerPicture:
    """What one layer made of an image.

    Attributes:
        name: of the layer.
        about: a sentence: channels shown, dead ones, the scale.
        picture: a grid of maps, uint8, shape (height, width, 3).
    """

    name: str
    about: str
    picture: NDArray[np.uint8]


@final
@dataclass(frozen=True, eq=False)
class Subject:
    """One image and all that is told of it.

    Attributes:
        name: the file's name, or "image 1".
        photo: uint8, shape (height, width, 3).
        answers: the network's first ones; none where it has no classes.
        panels: one for each method, or why there is none.
        layers: feature maps, from the first layers to the last ones.
        surroundings: what a scan tells of it; None where no scan was given.
        failures: further parts that could not be made.
    """

    name: str
    photo: NDArray[np.uint8]
    answers: tuple[Answer, ...]
    panels: tuple[Panel | Failure, ...]
    layers: tuple[LayerPicture, ...] = ()
    surroundings: Surroundings | None = None
    failures: tuple[Failure, ...] = ()


Entry: TypeAlias = Subject | Failure


@final
@dataclass(frozen=True, eq=False)
class Report:
    """What a person opens in a browser; made by `make_report`.

    Attributes:
        title: of the page.
        network: what it is about.
        subjects: one for each image, or why there is none.
    """

    title: str
    network: Network
    subjects: tuple[Entry, ...]

    def __len__(self) -> int:
        return len(self.subjects)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.subjects)

    def html(self) -> str:
        """The page as one string: pictures, style and script are in it, and nothing is ever asked for."""
        from agnoscope.report.rendering import rendered

        return rendered(self)

    def save(self, path: str | Path) -> Path:
        """Write the page to one file, whole or not at all.

        Args:
            path: ends in .html.

        Raises:
            FileError: the ending is another one, or the file cannot be written.
        """
        return write_whole(writable(path), self.html().encode())

    def __repr__(self) -> str:
        panels = sum(isinstance(p, Panel) for s in self.subjects if isinstance(s, Subject) for p in s.panels)
        return f"Report({self.title!r}; {len(self)} images, {panels} maps)"

    def _repr_html_(self) -> str:
        """For a notebook: the maps over their photos and the answers, without scripts or style sheets."""
        from agnoscope.report.rendering import for_notebook

        return for_notebook(self)


def writable(path: Any) -> Path:
    """Make sure, before long work, that a report can be written there.

    Raises:
        FileError: it does not end in .html, or its folder does not exist or cannot be written to.
    """
    path = Path(path)
    if path.suffix.lower() not in ENDINGS:
        raise FileError(f"{path.name!r} must end in .html: a report is a page for a browser.")
    if path.is_dir():
        raise FileError(f"{str(path)!r} is a folder: give the name of a file.")
    if not path.parent.is_dir():
        raise FileError(f"{str(path)!r} lies in a folder that does not exist.")
    if not os.access(path.parent, os.W_OK):
        raise FileError(f"{str(path)!r} cannot be written: its folder does not allow it.")
    return path
