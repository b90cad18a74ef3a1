"""Runs: one method over many images, one file each, stopped and resumed at will.

    run = explain_all(model, "photos/", ag.GradCAM(), "run/")
    for explanation in run: ...

Every result is written whole or not at all, as soon as it is there; so a stop at any moment keeps what is done. The
folder's `run.json` says what was asked of which network; a run is resumed only where all of it is the same.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from agnoscope.archive import write_whole
from agnoscope.errors import FileError, ImageError, NonFiniteError, OptionError, TargetError
from agnoscope.explainers.base import Explainer, Progress, as_explainer, record, silent
from agnoscope.explanation import Explanation
from agnoscope.images import ImageLike, name_of
from agnoscope.model import Model
from agnoscope.target import as_target
from agnoscope.weights import unused

MANIFEST: Final = "run.json"
GROUP: Final = 8
"""Images that are explained in one call and then written."""
PHOTOS: Final = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")


@final
@dataclass(frozen=True)
class Run:
    """What a run has written so far: a sequence of explanations, read when they are asked for.

    Attributes:
        folder: where it lies.
        files: image name to the file of its explanation, in the order of the images; those done only.
        failures: image name to why it could not be explained.
        total: how many images it is about.
    """

    folder: Path
    files: Mapping[str, Path]
    failures: Mapping[str, str] = field(default_factory=dict)
    total: int = 0

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[Explanation]:
        return (Explanation.load(path) for path in self.files.values())

    def __getitem__(self, name: str) -> Explanation:
        return Explanation.load(self.files[name])


def explain_all(
    model: Any,
    images: str | Path | Iterable[ImageLike],
    explainer: Explainer,
    folder: str | Path,
    target: Any = None,
    *,
    resume: bool = False,
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> Run:
    """Explain many images, one file each.

    Args:
        model: what `agnoscope.wrap` returned, or a network that it can wrap by itself.
        images: a folder of photos, or paths and arrays one by one, or one of these; arrays are named by their number.
        explainer: the method, or its name.
        folder: where the results go; made if it is not there.
        target: one for all images: class number or label, a `Target`; by default each image's first answer.
        resume: whether to go on with what the folder holds; otherwise it must hold no run.
        batch_size: as for an explainer.
        progress: called with the images done and their number.

    Returns:
        What was done. Images that cannot be read, and those that the method refuses, are in `failures`.

    Raises:
        FileError: the folder cannot be written to, or there is no such folder of images.
        ImageError: one of the images is a batch.
        TargetError: the network has no such class, or there is one target for each image.
        OptionError: the folder holds a run already (and `resume` was not asked for), or one of another network, method,
            target or list of images; the message says what differs.
    """
    from agnoscope.api import wrap

    model, folder, explainer = wrap(model), Path(folder), as_explainer(explainer)
    if isinstance(getattr(as_target(target), "index", None), tuple):
        raise TargetError("A run asks all images alike: give one target, or explain the images by the method itself.")
    named = dict(_named(images))
    manifest = {
        "format": 1,
        "method": {"method": explainer.name, **record(explainer)},
        "target": _told(target),
        "network": fingerprint(model),
        "images": hashlib.sha256(
            "\n".join(f"{name} {_content(one)}" for name, one in named.items()).encode()
        ).hexdigest(),
    }
    _open(folder, json.loads(json.dumps(manifest)), resume)
    places = {name: folder / f"{number:05d}_{_safe(name)}.npz" for number, name in enumerate(named)}
    left = [name for name, path in places.items() if not _intact(path)]
    failures: dict[str, str] = {}
    report = progress or silent
    report(len(named) - len(left), len(named))
    for start in range(0, len(left), GROUP):
        group = left[start : start + GROUP]
        for name, found in _explained(model, explainer, {n: named[n] for n in group}, target, batch_size):
            if isinstance(found, str):
                failures[name] = found
            else:
                found.save(places[name])
        report(len(named) - len(left) + min(start + GROUP, len(left)), len(named))
    done = {name: path for name, path in places.items() if name not in failures and path.exists()}
    return Run(folder, done, failures, len(named))


def photos_in(folder: str | Path) -> list[Path]:
    """The photos in a folder and the folders below it, by name.

    Raises:
        FileError: there is no such folder, or no photo in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileError(f"There is no folder {str(folder)!r}.")
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in PHOTOS and not p.name.startswith("."))
    if not found:
        raise FileError(f"The folder {str(folder)!r} holds no photo ({', '.join(PHOTOS)}).")
    return found


def fingerprint(model: Model) -> str:
    """Which network this is: a digest of its weights where they can be read, else of its layers and their shapes.

    Inputs that are bound count, too.
    """
    digest = hashlib.sha256(repr([getattr(model.spec, field.name) for field in fields(model.spec)]).encode())
    if "weights" in model.can:
        for name, array in model.parameters().items():
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    elif model.spec.size is not None:
        digest.update(repr([(layer.name, layer.shape) for layer in model.layers().values()]).encode())
    for name, array in model.bound.items():
        digest.update(f"{name} {_content(array)}".encode())
    return digest.hexdigest()


def _named(images: str | Path | Iterable[ImageLike]) -> Iterator[tuple[str, ImageLike]]:
    if isinstance(images, str | Path) and Path(images).is_dir():
        yield from ((str(path.relative_to(images)), path) for path in photos_in(images))
        return
    # One image: a path, a PIL image, or an array without a leading axis.
    alone = isinstance(images, str | Path) or not isinstance(images, Iterable) or getattr(images, "ndim", 4) < 4
    uses: Counter[str] = Counter()
    each: Iterable[ImageLike] = [images] if alone else images  # type: ignore[assignment]
    for number, image in enumerate(each, start=1):
        if getattr(image, "ndim", 3) > 3:
            raise ImageError(
                f"Image {number} has shape {tuple(image.shape)}: give the images one by one, or one batch."
            )
        name = str(image) if isinstance(image, str | Path) else name_of(image) or f"image {number}"
        yield unused(name, uses), image


def _told(value: Any) -> str:
    """A target with all the numbers that it holds, which `repr` may leave out."""
    if is_dataclass(value) and not isinstance(value, type):
        return (
            f"{type(value).__name__}({', '.join(f'{f.name}={_told(getattr(value, f.name))}' for f in fields(value))})"
        )
    if isinstance(value, tuple):
        return f"({', '.join(map(_told, value))})"
    return _content(value) if isinstance(value, np.ndarray) else repr(value)


def _content(value: Any) -> str:
    """A digest of an array; a path stands for its photo."""
    if not isinstance(value, np.ndarray):
        return ""
    return f"{value.dtype}{value.shape}{hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()}"


def _safe(name: str) -> str:
    """A file name that stays in its folder."""
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in Path(name).stem)[:80]


def _open(folder: Path, manifest: dict[str, Any], resume: bool) -> None:
    """Begin a run in the folder, or make sure that it is this one that it holds. One without a result is none."""
    path = folder / MANIFEST
    if not path.exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileError(f"The folder {str(folder)!r} cannot be made: {error.strerror or error}.") from error
        write_whole(path, json.dumps(manifest, indent=1).encode())
        return
    try:
        known = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise FileError(f"{str(path)!r} cannot be read: {error}. Give another folder.") from error
    different = [key for key in manifest if known.get(key) != manifest[key]]
    if different and not any(folder.glob("*.npz")):
        write_whole(path, json.dumps(manifest, indent=1).encode())
        return
    if different:
        raise OptionError(
            f"The folder {str(folder)!r} holds a run that differs in {', '.join(different)}: give another folder."
        )
    if not resume:
        raise OptionError(f"The folder {str(folder)!r} holds this run already: resume it, or give another folder.")


def _intact(path: Path) -> bool:
    """Whether a result is there and whole."""
    try:
        Explanation.load(path)
    except FileError:
        return False
    return True


def _explained(
    model: Model, explainer: Explainer, named: Mapping[str, ImageLike], target: Any, batch_size: int | None
) -> Iterator[tuple[str, Explanation | str]]:
    """A group in one call; where one image spoils it, one by one."""
    names: Sequence[str] = tuple(named)
    try:
        found = explainer(model, list(named.values()), target, batch_size=batch_size)
    except (ImageError, NonFiniteError) as error:
        if len(named) == 1:
            yield names[0], str(error)
            return
        for name in names:
            yield from _explained(model, explainer, {name: named[name]}, target, batch_size)
        return
    for name, one in zip(names, found, strict=True):
        yield name, replace(one, names=(name,))
