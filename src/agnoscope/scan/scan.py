"""What a scan left, read from its folder piece by piece: features, the images that excite units most, answers."""

import html
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.answers import class_name
from agnoscope.archive import read_archive
from agnoscope.errors import FileError, LayerError, OptionError, nearest
from agnoscope.images import ImageLike, InputSpec, load_one
from agnoscope.model import Model
from agnoscope.runs import fingerprint
from agnoscope.scan.collection import Labels, Listed, as_label, collection, folder_of
from agnoscope.scan.ledger import Ledger
from agnoscope.scan.shard import FORMAT, KIND, Peaks


@final
@dataclass(frozen=True)
class Top:
    """The images that excite the units of a layer most, best first; equal ones in the order of the images.

    Attributes:
        values: shape (units, k); -inf where there are fewer images.
        rows: of the scan, shape (units, k); -1 where there are fewer images.
        y: row in the layer's map, shape (units, k); 0 in a layer without maps.
        x: column, likewise.
    """

    values: NDArray[np.float32]
    rows: NDArray[np.int64]
    y: NDArray[np.int32]
    x: NDArray[np.int32]


@final
@dataclass(frozen=True)
class Scan:
    """What a scan left. Rows are the images that were done, in the order of the collection.

    Attributes:
        folder: where it lies.
        manifest: what was asked of which network, as `scan.json` has it.
        ids: the images' numbers in the collection, increasing.
        names: of the images.
        labels: of the images, "" where unknown; None where there are none at all.
        failures: name and reason of each image that was left out.
    """

    folder: Path
    manifest: Mapping[str, Any] = field(repr=False)
    ids: NDArray[np.int64] = field(repr=False)
    names: Sequence[str] = field(repr=False)
    labels: Sequence[str] | None = field(repr=False)
    failures: Sequence[tuple[str, str]] = field(repr=False)
    _images: Any = field(default=None, repr=False)

    @classmethod
    def open(cls, folder: str | Path, *, images: Any = None, labels: Labels = None) -> Self:
        """Read a scan, finished or not.

        Args:
            folder: where it lies.
            images: the collection, where it has moved or was not a folder or file.
            labels: one for each image of the collection, or "folders" for the names of the photos' folders, where the
                scan has none.

        Raises:
            FileError: there is no scan in the folder, nothing in it yet, or it is damaged.
            OptionError: there are not as many labels as images.
        """
        ledger = Ledger(Path(folder))
        manifest, ids, names, told, failures = ledger.manifest(), [], [], [], []
        for path in ledger.shards():
            header, arrays = _read(path, "ids")
            ids.append(arrays["ids"])
            names += header["names"]
            told += header["labels"]
            failures += [(name, reason) for name, reason in header["failures"]]
        if not ids:
            raise FileError(f"The scan in {str(folder)!r} has not done any image yet.")
        numbers = np.concatenate(ids)
        if isinstance(labels, str):
            told = [folder_of(name) for name in names]
        elif labels is not None:
            least = int(numbers.max(initial=-1)) + 1
            if len(labels) != manifest["images"].get("count", max(len(labels), least)):
                count = manifest["images"].get("count", least)
                raise OptionError(f"There are {len(labels)} labels for {count} images: give one for each.")
            told = [as_label(labels[number]) for number in numbers.tolist()]
        return cls(ledger.folder, manifest, numbers, names, told if any(told) else None, failures, images)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers whose features were kept; the first one is the default everywhere."""
        return tuple(layer["name"] for layer in self.manifest["plan"]["layers"])

    @property
    def size(self) -> tuple[int, int]:
        """Height and width at which the network saw the images."""
        height, width = self.manifest["plan"]["size"]
        return height, width

    @property
    def finished(self) -> bool:
        """Whether all images of the collection are done or left out."""
        return Ledger(self.folder).finished

    def check(self, model: Model) -> None:
        """Make sure that a network is the one that was scanned.

        Raises:
            OptionError: it is another one.
        """
        if fingerprint(model) != self.manifest["network"]:
            raise OptionError(
                f"The scan in {str(self.folder)!r} is of another network ({self.manifest['backend']}): its features "
                "cannot be compared with this one's. Scan again, or give the network that was scanned."
            )

    def layer(self, name: str | None = None) -> str:
        """The full name of a layer whose features were kept.

        Args:
            name: any ending of its path that only one of them has; by default the first one.

        Raises:
            LayerError: the scan did not keep this layer.
        """
        if name is None or name in self.layers:
            return name or self.layers[0]
        found = [kept for kept in self.layers if kept.endswith(("." + name, "/" + name))]
        if len(found) != 1:
            raise LayerError(
                f"The scan in {str(self.folder)!r} kept no layer {name!r}, but {', '.join(self.layers)}: "
                "scan again with layers=."
            )
        return found[0]

    def chunks(self, layer: str | None = None) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """The features, shard by shard, so that memory stays small.

        Args:
            layer: by default the first one.

        Yields:
            Rows of the scan, and their features, shape (images, channels): the mean of each channel over the positions.

        Raises:
            LayerError: the scan did not keep this layer.
        """
        name, start = f"mean {self.layers.index(self.layer(layer))}", 0
        for arrays in self._shards(name):
            yield np.arange(start, start + len(arrays[name])), arrays[name]
            start += len(arrays[name])

    def features(self, layer: str | None = None) -> NDArray[np.float32]:
        """The features of all images, shape (images, channels); as `chunks`, in one array."""
        return np.concatenate([features for _, features in self.chunks(layer)])

    def top(self, layer: str | None = None, k: int = 9) -> Top:
        """The images that excite each channel of a layer most.

        Args:
            layer: by default the first one.
            k: images per channel, up to what the scan kept.

        Raises:
            LayerError: the scan did not keep this layer.
            OptionError: it kept fewer images.
        """
        place = self.layers.index(self.layer(layer))
        shape, grid = (self.manifest["plan"]["layers"][place][key] for key in ("shape", "grid"))
        width = grid[1] if grid else shape[1] if len(shape) == 3 else 1
        return self._top(str(place), k, np.array(width))

    def top_neurons(self, k: int = 9) -> Top:
        """The images that excite each of the scan's neurons most; units are the neurons, in the order given.

        Raises:
            LayerError: the scan kept no neurons.
            OptionError: it kept fewer images.
        """
        neurons = self.manifest["plan"]["neurons"]
        if not neurons:
            raise LayerError(f"The scan in {str(self.folder)!r} kept no neurons: scan with neurons=.")
        widths = [neuron["width"] for neuron in neurons]
        return self._top("n", k, np.array(widths)[:, None])

    @cached_property
    def answers(self) -> tuple[tuple[tuple[str, float], ...], ...]:
        """For each image the network's first answers, best first, with their scores before the softmax or sigmoid."""
        labels = self.manifest["classes"] and tuple(self.manifest["classes"])
        return tuple(
            tuple((class_name(int(c), labels), float(s)) for c, s in zip(classes, scores, strict=True))
            for arrays in self._shards("classes", "scores")
            for classes, scores in zip(arrays["classes"], arrays["scores"], strict=True)
        )

    def maps(self, layer: str) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float16]]]:
        """Whole maps, shard by shard, of a layer that the scan kept whole.

        Yields:
            Rows of the scan, and their maps, shape (images, height, width, channels).

        Raises:
            LayerError: the scan did not keep this layer's maps.
        """
        kept = self.manifest["plan"]["maps"]
        if layer not in kept:
            raise LayerError(f"The scan kept no maps of {layer!r}, but of {', '.join(kept) or 'no layer'}.")
        name, start = f"map {kept.index(layer)}", 0
        for arrays in self._shards(name):
            yield np.arange(start, start + len(arrays[name])), arrays[name]
            start += len(arrays[name])

    def image(self, row: int) -> ImageLike:
        """An image itself: its path, its pixels or its picture.

        Raises:
            FileError: the collection was read once, and was not given to `Scan.open`; or it has gone.
            ImageError: it has changed, and this image cannot be read any more.
        """
        about = self.manifest["images"]
        source = about.get("path") if self._images is None else self._images
        if about["kind"] != "folder" or not isinstance(source, str | Path):
            return self._listed[int(self.ids[row])].read()
        if not Path(source).is_dir():
            raise FileError(
                f"There is no folder {str(source)!r} any more: where it has moved, say Scan.open(run, images=...)."
            )
        return Path(source, self.names[row])  # by its name, as other photos may have come or gone

    def picture(self, row: int, side: int | None = None) -> NDArray[np.uint8]:
        """An image as a picture, shape (height, width, 3), at its own proportions.

        Args:
            row: of the scan.
            side: longer side in pixels; by default its own.

        Raises:
            FileError: as `image`.
            ImageError: it cannot be read any more.
        """
        from PIL import Image

        told = self.manifest["input"]
        spec = InputSpec(bounds=tuple(told["bounds"]), channels=told["channels"])  # of any size
        _, photo = load_one(self.image(row), spec, name=self.names[row])
        if side is None or max(photo.shape[:2]) <= side:
            return np.asarray(photo)
        picture = Image.fromarray(photo)
        picture.thumbnail((side, side))
        return np.asarray(picture)

    def row(self, name: str) -> int:
        """The row of an image.

        Raises:
            OptionError: there is no image of this name.
        """
        if name not in self.names:
            raise OptionError(f"The scan has no image {name!r}. Near it: {nearest(name, self.names)}.")
        return list(self.names).index(name)

    def __repr__(self) -> str:
        left = f", {len(self.failures)} left out" if self.failures else ""
        return f"Scan({len(self)} images{left}; layers {', '.join(self.layers)}; {self.manifest['backend']})"

    def _repr_html_(self) -> str:
        plan = self.manifest["plan"]
        facts = {
            "folder": self.folder,
            "images": f"{len(self)}{'' if self.finished else ' so far'}",
            "left out": "; ".join(f"{name}: {why}" for name, why in self.failures[:5]) or "none",
            "layers": ", ".join(self.layers),
            "kept of each channel": f"{plan['keep']} images",
            "seen at": f"{self.size[0]} × {self.size[1]} pixels",
            "backend": self.manifest["backend"],
            "classes": ", ".join(f"{k} ({n})" for k, n in Counter(self.labels or ()).most_common(8)) or "no labels",
        }
        rows = "".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(str(v))}</td></tr>" for k, v in facts.items())
        return f"<table><caption>A scan of {len(self)} images</caption>{rows}</table>"

    @cached_property
    def _listed(self) -> Listed:
        about = self.manifest["images"]
        source = self._images if self._images is not None else about.get("path")
        found = None if source is None else collection(source)
        if not isinstance(found, Listed):
            raise FileError(
                f"The images of the scan in {str(self.folder)!r} came from a {about['kind']}, which cannot be read "
                "again: give them to Scan.open(folder, images=...)."
            )
        if any(found.about.get(key) != about.get(key) for key in ("count", "digest")):
            raise FileError(f"These are not the {about['count']} images of which {str(self.folder)!r} is a scan.")
        return found

    def _shards(self, *names: str) -> Iterator[dict[str, NDArray[Any]]]:
        for path in Ledger(self.folder).shards():
            yield _read(path, *names)[1]

    def _top(self, unit: str, k: int, width: NDArray[Any]) -> Top:
        keep = self.manifest["plan"]["keep"]
        if not 1 <= k <= keep:
            raise OptionError(f"k={k!r} must lie from 1 to {keep}, as the scan kept so many: scan again with keep=.")
        names, found = (f"values {unit}", f"owners {unit}", f"places {unit}"), None
        for arrays in self._shards(*names):
            peaks = Peaks(*(arrays[name][:, :k] for name in names))
            found = peaks if found is None else found.with_others(peaks)
        assert found is not None  # noqa: S101
        rows = np.where(found.owners < 0, -1, np.searchsorted(self.ids, found.owners))
        y, x = np.divmod(found.places, width)
        return Top(found.values, rows, y.astype(np.int32), x.astype(np.int32))


def _read(path: Path, *names: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    try:
        return read_archive(path, KIND, FORMAT, only=names)
    except FileError as error:
        raise FileError(f"{error} Resume the scan, which makes damaged shards again.") from error
