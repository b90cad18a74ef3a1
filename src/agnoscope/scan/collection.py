"""Collections: images with numbers, names and perhaps labels, wherever they lie.

    folder              every photo in it and below, named by its path; labels are the folders' names where asked for
    file.npy            uint8 or float pixels, shape (images, height, width, channels), read one by one
    a sequence          paths, arrays, pictures, or pairs of these and a label; also a map-style dataset
    an iterable         likewise, or batches of them; read once, front to back

An image's number is its place in the collection. Nothing is read before it is needed. What cannot be read is an image
all the same, of which a scan notes the reason.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import FileError, ImageError, OptionError
from agnoscope.images import ImageLike
from agnoscope.runs import PHOTOS
from agnoscope.scan.array_files import ArrayFile, Row

Labels: TypeAlias = str | Sequence[Any] | None
"""The labels of a collection: "folders" for the name of each photo's folder, one per image, or none."""

FOLDERS: Final = "folders"
EMPTY: Final = "There is no image to scan: the collection is empty."
SAMPLE: Final = 64
"""How many images of an array tell it from another one."""


@final
@dataclass(frozen=True)
class Unreadable:
    """An image that a data set refused to give."""

    reason: str

    def read(self) -> NDArray[Any]:
        """Say so.

        Raises:
            ImageError: always.
        """
        raise ImageError(self.reason)


@final
@dataclass(frozen=True)
class Item:
    """One image of a collection.

    Attributes:
        number: its place in the collection, from 0.
        name: for example its path within the folder, or "image 17".
        image: the picture, or where it lies.
        label: its class by name, "" where that is unknown.
    """

    number: int
    name: str
    image: ImageLike | Row | Unreadable
    label: str = ""

    def read(self) -> ImageLike:
        """The picture, or the path of its photo.

        Raises:
            ImageError: it cannot be read.
        """
        return self.image.read() if isinstance(self.image, Row | Unreadable) else self.image


class Collection(ABC):
    """Images with numbers, from 0.

    Attributes:
        about: which collection this is, ready for JSON; a scan is resumed only where it is the same.
        count: how many images, or None where that is known only at the end.
    """

    about: dict[str, Any]
    count: int | None

    @abstractmethod
    def blocks(self, length: int, skip: frozenset[int]) -> Iterator[tuple[int, list[Item]]]:
        """The images in blocks.

        Args:
            length: how many images a block has; the last one may have fewer.
            skip: numbers of blocks that are not wanted.

        Yields:
            A block's number and its images.
        """


@final
@dataclass(frozen=True)
class Listed(Collection):
    """Images that can be reached by their numbers.

    Attributes:
        images: indexable; each one an image, its place, or a pair of an image and a label.
        names: one each, or "image 1" and so on.
        labels: one each.
    """

    images: Any = field(repr=False)
    about: dict[str, Any]
    names: Sequence[str] | None = None
    labels: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def count(self) -> int:  # type: ignore[override]
        """How many images."""
        return len(self)

    def __getitem__(self, number: int) -> Item:
        try:
            element = self.images[number]
        except Exception as error:  # the user's data set may fail in any way
            element = Unreadable(f"The collection does not give image {number}: {type(error).__name__}: {error}.")
        return _item(number, element, self.names, self.labels)

    def blocks(self, length: int, skip: frozenset[int]) -> Iterator[tuple[int, list[Item]]]:
        for block in range(-(-len(self) // length)):
            if block not in skip:
                numbers = range(block * length, min((block + 1) * length, len(self)))
                yield block, [self[number] for number in numbers]


@final
@dataclass(frozen=True)
class Streamed(Collection):
    """Images that come one after the other, or in batches; how many shows at the end.

    Attributes:
        images: iterable; each one an image, a batch, or a pair of these and a label.
        labels: one each.
    """

    images: Iterable[Any] = field(repr=False)
    about: dict[str, Any]
    labels: Sequence[str] | None = None
    count = None

    def blocks(self, length: int, skip: frozenset[int]) -> Iterator[tuple[int, list[Item]]]:
        singles = (single for element in self.images for single in _singles(element))
        for block in range(2**62):
            found = list(islice(singles, length))
            if not found:
                return
            if block not in skip:
                yield block, [_item(block * length + i, one, None, self.labels) for i, one in enumerate(found)]


def collection(images: Any, labels: Labels = None) -> Collection:
    """What the user means by a collection.

    Args:
        images: a folder, the path of a `.npy` file, an array (images, height, width, channels), a sequence or map-style
            data set, or any iterable (a data loader, a `tf.data.Dataset`, a generator), whose elements are images,
            batches of images, or pairs of either and labels.
        labels: one per image, or "folders" for the names of the photos' folders; labels in pairs need no saying.

    Raises:
        FileError: there is no such folder or file, or the folder holds no photo.
        ImageError: it is empty, or an array of another shape.
        OptionError: there are not as many labels as images, or this is no collection.
    """
    if isinstance(labels, str) and labels != FOLDERS:
        raise OptionError(f"labels={labels!r} is unknown: give {FOLDERS!r}, or one label for each image.")
    if isinstance(images, Collection):
        return images
    if isinstance(images, str | Path):
        path = Path(images)
        found: Listed | Streamed = _folder(path, labels) if path.is_dir() else _file(path, _told(labels))
    elif labels == FOLDERS:
        raise OptionError("labels='folders' are the names of a folder's folders: give a folder of photos.")
    elif hasattr(images, "__getitem__") and hasattr(images, "__len__") and not isinstance(images, Mapping):
        found = _sequence(images, _told(labels))
    elif isinstance(images, Iterable) and not isinstance(images, Mapping):
        found = Streamed(images, {"kind": type(images).__name__}, _told(labels))
    else:
        raise OptionError(
            f"A {type(images).__name__} is no collection of images: give a folder, a .npy file, an array, a sequence, "
            "or something to iterate over."
        )
    if found.count == 0:
        raise ImageError(EMPTY)
    if found.labels is not None:
        if found.count not in (None, len(found.labels)):
            raise OptionError(f"There are {len(found.labels)} labels for {found.count} images: give one for each.")
        found.about["labels"] = _digest(found.labels)
    return found


def _folder(folder: Path, labels: Labels) -> Listed:
    names = _photos(folder)
    if not names:
        raise FileError(f"The folder {str(folder)!r} holds no photo ({', '.join(PHOTOS)}).")
    chosen = [folder_of(name) for name in names] if labels == FOLDERS else _told(labels)
    about: dict[str, Any] = {
        "kind": "folder",
        "path": str(folder.absolute()),
        "count": len(names),
        "digest": _digest(names),
    }
    return Listed(_Paths(about["path"], names), about, names, chosen)


def _photos(folder: Path) -> list[str]:
    """What has a photo's ending, in the folder and below; as plain words, since there may be millions."""
    found = []
    for place, folders, files in os.walk(folder):
        below = Path(place).relative_to(folder).as_posix()
        start = "" if below == "." else f"{below}/"
        found += [f"{start}{n}" for n in (*folders, *files) if n.lower().endswith(PHOTOS) and not n.startswith(".")]
    return sorted(found)


def folder_of(name: str) -> str:
    """The name of the folder in which a photo lies; "" for the collection's own."""
    return name.rpartition("/")[0].rpartition("/")[2]


def _file(path: Path, labels: list[str] | None) -> Listed:
    if not path.exists():
        raise FileError(f"There is no folder or file {str(path)!r}.")
    if path.suffix.lower() != ".npy":
        raise FileError(f"{path.name!r} is no collection: give a folder of photos, or a .npy file of pixels.")
    try:
        found = ArrayFile.open(str(path.absolute()))
    except (OSError, ValueError, EOFError):  # not NumPy's own words, which advise to allow pickles
        raise FileError(f"{str(path)!r} holds no array of pixels, or is damaged.") from None
    about: dict[str, Any] = {"kind": "file", "path": found.path} | _about_array(found, path.name)
    return Listed(_Rows(found), about, None, labels)


def _sequence(images: Any, labels: list[str] | None) -> Listed | Streamed:
    kind = type(images).__name__
    if hasattr(images, "ndim") and hasattr(images, "shape"):
        return Listed(images, {"kind": kind} | _about_array(images, f"The {kind}"), None, labels)
    if len(images) and _batched(Listed(images, {})[0].image):
        return Streamed(_Elements(images), {"kind": kind, "batches": len(images)}, labels)
    about = {"kind": kind, "count": len(images)}
    if isinstance(images, list | tuple) and all(isinstance(one, str | Path) for one in images):
        about["digest"] = _digest(map(str, images))
    return Listed(images, about, None, labels)


def _about_array(array: Any, name: str) -> dict[str, Any]:
    """What tells an array of images, of any framework, from another one."""
    if len(array.shape) != 4:
        raise ImageError(f"{name} has shape {tuple(array.shape)}; pixels are (images, height, width, channels).")
    digest = sha256()
    for number in np.linspace(0, len(array) - 1, min(len(array), SAMPLE), dtype=np.intp).tolist():
        digest.update(np.asarray(array[number]).tobytes())
    shape = {"count": len(array), "shape": list(array.shape), "dtype": str(array.dtype)}
    return shape | {"digest": digest.hexdigest()}


def _digest(words: Iterable[str]) -> str:
    digest = sha256()
    for word in words:
        digest.update(word.encode(errors="surrogateescape") + b"\n")
    return digest.hexdigest()


@dataclass(frozen=True)
class _Paths:
    """The photos of a folder; only their names are kept."""

    folder: str
    names: list[str]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, number: int) -> Path:
        return Path(self.folder, self.names[number])


@dataclass(frozen=True)
class _Rows:
    """The images of an array file."""

    file: ArrayFile

    def __len__(self) -> int:
        return len(self.file)

    def __getitem__(self, number: int) -> Row:
        return Row(self.file, number)


def _told(labels: Labels) -> list[str] | None:
    return None if labels is None else [as_label(label) for label in labels]


def _item(number: int, element: Any, names: Sequence[str] | None, labels: Sequence[str] | None) -> Item:
    """An element with its number; a pair of an image and something else is an image and its label."""
    image, label = _pair(element) or (element, "")
    if labels is not None:
        label = labels[number] if number < len(labels) else ""
    named = image if isinstance(image, str | Path) else f"image {number}"
    return Item(number, str(named) if names is None else names[number], image, as_label(label))


def as_label(label: Any) -> str:
    """A label as a word, "" for what is none; numbers come as arrays of any framework."""
    if isinstance(label, str):
        return label
    value = np.asarray(label)
    word = value.item() if value.size == 1 else None
    return word.decode(errors="replace") if isinstance(word, bytes) else "" if word is None else str(word)


def _pair(element: Any) -> tuple[Any, Any] | None:
    """An image, or a batch, with its label; datasets yield tuples, lists or dictionaries."""
    if isinstance(element, (Row, np.ndarray)):  # the most frequent ones, told apart in no time
        return None
    if isinstance(element, Mapping) and "image" in element:
        return element["image"], element.get("label", "")
    if isinstance(element, tuple | list) and len(element) == 2 and not isinstance(element[0], int | float):
        return element[0], element[1]
    return None


def _batched(element: Any) -> bool:
    images, _ = _pair(element) or (element, "")
    return getattr(images, "ndim", 0) == 4


def _singles(element: Any) -> Iterator[Any]:
    """An element of a stream, or those of a batch, each with its label where there are labels."""
    if not _batched(element):
        yield element
        return
    images, labels = _pair(element) or (element, "")
    for i in range(len(images)):
        yield (images[i], labels[i] if hasattr(labels, "__getitem__") and not isinstance(labels, str) else "")


@dataclass(frozen=True)
class _Elements:
    """A sequence as something to iterate over, again and again."""

    sequence: Any

    def __iter__(self) -> Iterator[Any]:
        return (self.sequence[i] for i in range(len(self.sequence)))
