"""Cases: images whose object is known by a mask, from the bundled scenes or from the user's folders."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.batches import chunks
from agnoscope.errors import FileError, ImageError
from agnoscope.images import load
from agnoscope.metrics.perturbation import imputed
from agnoscope.model import Model
from agnoscope.patches import Array
from agnoscope.photos import decode, decode_mask
from agnoscope.runs import photos_in
from agnoscope.targets import classes as class_scores


@final
@dataclass(frozen=True, eq=False)
class Cases:
    """Images, each with a mask of its object.

    Attributes:
        names: of the images.
        images: shape (cases, height, width, channels), as the network's explainers take them.
        photos: one uint8 picture for each, to draw on.
        masks: shape (cases, height, width), true where the object is.
        backgrounds: shape as `images`: the same picture without its object; the truth where it is known, else filled
            in from around.
        labels: shape (cases,), the true class, -1 where it is not known.
        left_out: name to why a picture is no case.
    """

    names: tuple[str, ...]
    images: NDArray[Any]
    photos: tuple[NDArray[np.uint8], ...]
    masks: NDArray[np.bool_]
    backgrounds: NDArray[Any]
    labels: NDArray[np.intp]
    left_out: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: NDArray[np.intp]) -> "Cases":
        """Some of the cases, by their numbers."""
        return Cases(
            tuple(self.names[i] for i in rows),
            self.images[rows],
            tuple(self.photos[i] for i in rows),
            self.masks[rows],
            self.backgrounds[rows],
            self.labels[rows],
            self.left_out,
        )


def scenes(model: Model, count: int, seed: int = 0) -> Cases:
    """Bundled scenes: things and grounds are independent, and both masks and backgrounds are the truth.

    Args:
        model: one of the bundled networks, or another one for images of 96 × 96 pixels and the same classes.
        count: how many.
        seed: where they come from.

    Raises:
        ImageError: the network takes images of another size.
    """
    from agnoscope.demo.scenes import make_scenes

    made = make_scenes(count, seed)
    batch = load([scene.image for scene in made], model.spec, model.dtype)
    clean = load([scene.clean for scene in made], model.spec, model.dtype)
    masks = np.stack([scene.mask for scene in made])
    if batch.images.shape[1:3] != masks.shape[1:]:
        raise ImageError(
            f"The bundled scenes have {masks.shape[1]} × {masks.shape[2]} pixels, and the network takes "
            f"{batch.images.shape[1]} × {batch.images.shape[2]}: give a folder of your own images with masks."
        )
    names = tuple(f"scene {number}" for number in range(count))
    return Cases(names, batch.images, batch.photos, masks, clean.images, np.array([scene.label for scene in made]))


def from_folders(model: Model, images: str | Path, masks: str | Path) -> Cases:
    """A folder of photos with one of masks beside or in it: black or transparent is background, all else the object.

    A mask has its photo's name, whatever the ending. Where photos lie in subfolders named like the network's labels,
    these are their classes. Photos without a fit mask are left out, and listed.

    Args:
        model: the network.
        images: folder of photos.
        masks: folder of masks, with the same subfolders or none.

    Raises:
        FileError: a folder is missing or holds nothing, or no photo has a mask.
        OptionError: the network's input size is not known.
    """
    images, masks = Path(images), Path(masks)
    size = model.spec.size_or(None)
    photos = photos_in(images)
    known = {_key(path, masks): path for path in photos_in(masks)}
    if masks.resolve() != images.resolve():
        photos = [path for path in photos if masks.resolve() not in path.resolve().parents]
    left_out: dict[str, str] = {}
    kept: list[tuple[str, Any, NDArray[np.bool_], int]] = []
    for path in photos:
        name = str(path.relative_to(images))
        place = known.get(_key(path, images)) or known.get(path.stem)
        if place is None:
            left_out[name] = "it has no mask"
            continue
        try:
            photo = decode(path)
            mask = _mask(place, photo.size, size)
        except ImageError as error:
            left_out[name] = str(error)
            continue
        kept.append((name, photo, mask, _label(path.parent.name, model.labels)))
    if not kept:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(left_out.items())[:3])
        raise FileError(f"No photo in {str(images)!r} has a fit mask in {str(masks)!r} ({reasons}).")
    batch = load([photo for _, photo, _, _ in kept], model.spec, model.dtype)
    shapes = np.stack([mask for _, _, mask, _ in kept])
    backgrounds = np.stack([imputed(image, mask) for image, mask in zip(batch.images, shapes, strict=True)])
    return Cases(
        tuple(name for name, *_ in kept),
        batch.images,
        batch.photos,
        shapes,
        backgrounds.astype(batch.images.dtype),
        np.array([label for *_, label in kept]),
        left_out,
    )


def probabilities(model: Model, images: NDArray[Any], batch_size: int) -> NDArray[np.float64]:
    """The probability of every class, shape (images, classes); of one unit, those of its complement and itself.

    Args:
        model: a network with one score per class.
        images: shape (images, height, width, channels).
        batch_size: how many go through the network at once.
    """
    program = model.compile(_probabilities, model.outline((images.shape[1], images.shape[2])).head)
    parts = [program(images[rows])["probabilities"][:kept] for rows, kept in chunks(len(images), batch_size)]
    return np.concatenate(parts).astype(np.float64)


def _probabilities(model: Model, head: str, images: Array) -> dict[str, Array]:
    xp = model.xp
    scores = model.run(images, ("scores",))["scores"]
    scores = xp.reshape(scores, (scores.shape[0], -1))
    sigmoid = head == "sigmoid" or scores.shape[1] == 1
    return {"probabilities": class_scores.probabilities(xp, class_scores.both_classes(xp, scores), sigmoid)}


def _key(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder).with_suffix(""))


def _label(name: str, labels: tuple[str, ...] | None) -> int:
    lowered = [label.lower() for label in labels or ()]
    return lowered.index(name.lower()) if name.lower() in lowered else -1


def _mask(path: Path, photo: tuple[int, int], size: tuple[int, int]) -> NDArray[np.bool_]:
    """A mask at the network's size.

    Raises:
        ImageError: it cannot be read, has other proportions than its photo, or holds no object or nothing else.
    """
    from PIL import Image

    drawn = decode_mask(path)
    height, width = drawn.shape
    if (width, height) != photo and abs(width * photo[1] - height * photo[0]) > max(photo):
        raise ImageError(f"the mask {path.name!r} has {width} × {height} pixels, its photo {photo[0]} × {photo[1]}")
    mask = np.asarray(Image.fromarray(drawn).resize((size[1], size[0]), Image.Resampling.NEAREST))
    if not mask.any() or mask.all():
        raise ImageError(f"the mask {path.name!r} holds {'no object' if not mask.any() else 'nothing but object'}")
    return mask
