"""Inputs at the door: a path, picture, array or tensor becomes images as the network expects them.

Photos are decoded in `agnoscope.photos`. After this door there are only float arrays, channels last, in known bounds.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import ImageError, OptionError
from agnoscope.photos import decode, reading, upright_rgb

PREVIEW_SIDE = 1024
"""Longer side, in pixels, of the photo that is kept for drawing."""

ImageLike: TypeAlias = Any
"""A path, PIL image, NumPy array or tensor of one image or several, or a sequence of these."""


@dataclass(frozen=True)
class InputSpec:
    """What a network expects of an image.

    The network receives `(scaled - mean) / std`, where `scaled` is the image moved from `bounds` to `range`
    and its channels brought into the network's order.

    Attributes:
        size: height and width in pixels; None takes every image at its own size.
        bounds: lowest and highest value of an image as the user and the explainers see it.
        range: what these become before mean and std: (0, 255) for networks that were fed bytes.
        mean: one value per channel or one for all, in units of `range`, in the network's channel order.
        std: likewise.
        channels: "RGB", "BGR", "L" (gray), or a number of channels that is no photo.
    """

    size: tuple[int, int] | None = None
    bounds: tuple[float, float] = (0.0, 1.0)
    range: tuple[float, float] | None = None
    mean: float | tuple[float, ...] = 0.0
    std: float | tuple[float, ...] = 1.0
    channels: str | int = "RGB"

    def __post_init__(self) -> None:
        if self.channels not in ("RGB", "BGR", "L") and not (isinstance(self.channels, int) and self.channels > 0):
            raise OptionError(
                f"channels={self.channels!r} is not an order of channels: give 'RGB', 'BGR', 'L' or a number."
            )
        for name in ("mean", "std"):
            given = np.atleast_1d(np.asarray(getattr(self, name), dtype=np.float64))
            if given.ndim != 1 or given.size not in (1, self.depth) or not np.isfinite(given).all():
                raise OptionError(
                    f"{name}={getattr(self, name)!r} does not fit a network of {self.depth} channels: "
                    f"give one finite number or {self.depth}."
                )
        if not np.all(np.asarray(self.std) != 0):
            raise OptionError(f"std={self.std!r} holds a zero, by which no image can be divided.")
        if not (np.isfinite(self.bounds).all() and self.bounds[0] < self.bounds[1]):
            raise OptionError(f"bounds={self.bounds!r} must hold a lower and a higher number.")
        if self.range is not None and not (np.isfinite(self.range).all() and self.range[0] != self.range[1]):
            raise OptionError(f"range={self.range!r} must hold two different numbers.")
        if self.size is not None and (len(self.size) != 2 or min(self.size) < 1):
            raise OptionError(f"input_size={self.size!r} must be (height, width) in pixels.")

    @cached_property
    def depth(self) -> int:
        """How many channels an image has."""
        return self.channels if isinstance(self.channels, int) else {"RGB": 3, "BGR": 3, "L": 1}[self.channels]

    @cached_property
    def centre(self) -> NDArray[np.float64]:
        """What the network receives as zeros, in the bounds and channels of an image: one value or one per channel."""
        (low, high), (start, end) = self.bounds, self.range or self.bounds
        centre = low + (np.atleast_1d(np.asarray(self.mean, dtype=np.float64)) - start) * (high - low) / (end - start)
        return centre[::-1].copy() if self.channels == "BGR" else centre  # PyTorch takes no negative strides

    def size_or(self, size: Sequence[int] | None) -> tuple[int, int]:
        """The size asked for, else the network's own.

        Raises:
            OptionError: there is neither.
        """
        chosen = self.size if size is None else size
        if chosen is None:
            raise OptionError(
                "The network's input size is not known: give input_size=(height, width) to wrap, or a size here."
            )
        height, width = chosen
        return int(height), int(width)

    def prepare(self, xp: Any, images: Any) -> Any:
        """What the network receives, channels still last. Runs inside the compiled program.

        Args:
            xp: the array namespace of `images`.
            images: shape (images, height, width, channels), within `bounds`.
        """
        if self.channels == "BGR":
            images = xp.flip(images, axis=-1)
        (low, high), (start, end) = self.bounds, self.range or self.bounds
        scale = (end - start) / (high - low)
        centre = low + (np.asarray(self.mean, dtype=np.float64) - start) / scale
        factor = scale / np.asarray(self.std, dtype=np.float64)
        if np.all(centre == 0) and np.all(factor == 1):
            return images
        # The difference first, then the product: no compiler fuses these, so that every framework rounds alike.
        return (images - xp.asarray(centre, dtype=images.dtype)) * xp.asarray(factor, dtype=images.dtype)


@dataclass(frozen=True)
class Batch:
    """Images that are ready to be explained.

    Attributes:
        images: shape (images, height, width, channels), in the bounds and dtype of the network.
        photos: one uint8 picture (height, width, 3) for each, to draw the explanation on; at the photo's
            own proportions, its longer side at most 1024 pixels.
        names: one for each: the file's name, or "image 1".
    """

    images: NDArray[Any]
    photos: tuple[NDArray[np.uint8], ...]
    names: tuple[str, ...]


def load(images: ImageLike, spec: InputSpec, dtype: str = "float32") -> Batch:
    """Bring whatever the user has into the network's form.

    Photos (paths, PIL images, uint8 arrays) are resized to the network's size, bilinearly and without
    keeping the proportions; float arrays and tensors must have that size and lie within the bounds.

    Args:
        images: one image or several. Arrays are (height, width), (height, width, channels) or
            (images, height, width, channels); PyTorch tensors have their channels first.
        spec: what the network expects.
        dtype: of the network, "float32" or "float64".

    Raises:
        ImageError: an image is missing, corrupt, too large, of a wrong shape or range, or has NaN.
    """
    items = [single for item in _listed(images) for single in _singles(item, spec)]
    if not items:
        raise ImageError("There is no image to explain: the batch is empty. Give at least one.")
    arrays, photos, names = [], [], []
    for number, (item, name) in enumerate(items, start=1):
        array, photo = _prepared(item, name or f"image {number}", spec, dtype)
        arrays.append(array)
        photos.append(_preview(photo))
        names.append(name or f"image {number}")
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise ImageError(
            f"The images have different sizes, {sorted(shapes)}, and the network has none of its own: "
            "give input_size=(height, width) to wrap, or explain them one by one."
        )
    return Batch(
        np.stack(arrays) if len(arrays) > 1 else arrays[0].reshape(1, *arrays[0].shape), tuple(photos), tuple(names)
    )


def load_one(
    image: ImageLike, spec: InputSpec, dtype: str = "float32", name: str = "The image"
) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """One image as the network receives it, shape (height, width, channels), and its photo at its own size.

    Raises:
        ImageError: as `load`; or there are several.
    """
    return _prepared(_single(image, spec, name), name, spec, dtype)


def name_of(image: ImageLike) -> str:
    """The name of an image's file: of a path, or of a picture that Pillow opened; "" for what has none."""
    path = getattr(image, "filename", "") if _is_picture(image) else image
    return Path(path).name if isinstance(path, str | Path) else ""


def load_array(image: ImageLike, spec: InputSpec, dtype: str = "float32", name: str = "The image") -> NDArray[Any]:
    """The array of `load_one` alone, for those who look at many; raises likewise."""
    return _array_for(np.asarray(_single(image, spec, name)), name, spec, dtype)


def brought_into(spec: InputSpec, photos: NDArray[np.uint8], out: NDArray[Any]) -> NDArray[Any]:
    """Pixels of photos in the bounds of the network's images, written into `out`, of the same shape."""
    low, high = spec.bounds
    if (low, high) == (0, 1):  # one division is rounded as the table below is, and takes a quarter of its time
        return np.divide(photos, out.dtype.type(255), out=out)
    shades = (low + np.arange(256) / 255.0 * (high - low)).astype(out.dtype)
    return np.take(shades, photos, out=out, mode="clip")


def _single(image: ImageLike, spec: InputSpec, name: str) -> Any:
    items = [single for item in _listed(image) for single in _singles(item, spec)]
    if len(items) != 1:
        raise ImageError(f"{name} is a batch of {len(items)}: give its images one by one.")
    return items[0][0]


def _listed(images: ImageLike) -> list[Any]:
    return list(images) if isinstance(images, list | tuple) else [images]


def _singles(item: Any, spec: InputSpec) -> list[tuple[Any, str]]:
    """Split a batch into single images, each with the name of its file, if any."""
    if isinstance(item, str | Path):
        return [(decode(item), name_of(item))]
    if isinstance(item, list | tuple):
        raise ImageError("A list of numbers is no image: make an array of it.")
    if _is_picture(item):
        with reading("The picture"):
            return [(upright_rgb(item, "The picture"), name_of(item))]
    array = _array(item, spec)
    if array.ndim == 4:
        return [(single, "") for single in array]
    if array.ndim in (2, 3):
        return [(array, "")]
    raise ImageError(
        f"An array of shape {array.shape} is no image: give (height, width), (height, width, channels) "
        "or (images, height, width, channels)."
    )


def _is_picture(item: Any) -> bool:
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(item, pillow.Image)


def _array(item: Any, spec: InputSpec) -> NDArray[Any]:
    """Any framework's tensor as a NumPy array with its channels last."""
    first = type(item).__module__.split(".")[0] == "torch"
    try:
        if first:
            item = item.detach().cpu()
            item = item.float() if "bfloat16" in str(item.dtype) else item
        array = np.asarray(item)
    except Exception as error:
        raise ImageError(f"A {type(item).__name__} is no image: {error}.") from error
    if array.dtype.name == "bfloat16":  # NumPy has no such type of its own
        array = array.astype(np.float32)
    if array.dtype.kind not in "uif":
        raise ImageError(
            f"A {type(item).__name__} of dtype {array.dtype} is no image: give a path, a PIL image, "
            "an array or a tensor of numbers."
        )
    if first and array.ndim in (3, 4) and array.shape[-3] in (spec.depth, 1):
        array = np.moveaxis(array, -3, -1)
    return array


def _prepared(item: Any, name: str, spec: InputSpec, dtype: str) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    given = np.asarray(item)
    array = _array_for(given, name, spec, dtype)
    if _is_photo(given, spec):
        return array, np.broadcast_to(given[..., None] if given.ndim == 2 else given, (*given.shape[:2], 3))
    low, high = spec.bounds
    shown = array[..., :3] if array.shape[-1] >= 3 else np.repeat(array[..., :1], 3, axis=-1)
    shown = shown - array.dtype.type(low)
    shown *= 255 / (high - low)
    np.clip(shown.round(out=shown), 0, 255, out=shown)
    return array, shown.astype(np.uint8)


def _array_for(given: NDArray[Any], name: str, spec: InputSpec, dtype: str) -> NDArray[Any]:
    """What the network receives of one image: photos are resized, anything else must fit as it is."""
    array = given[..., None] if given.ndim == 2 else given
    if array.size == 0:
        raise ImageError(f"{name} has shape {array.shape}, which holds no pixel.")
    if _is_photo(array, spec):
        pixels = _resized(np.broadcast_to(array, (*array.shape[:2], 3)), spec)
        return brought_into(spec, pixels, np.empty(pixels.shape, dtype))
    return _checked(array, name, spec).astype(dtype)


def _is_photo(array: NDArray[Any], spec: InputSpec) -> bool:
    known = array.ndim == 2 or array.shape[-1] in (1, 3)
    return array.dtype == np.uint8 and known and spec.depth in (1, 3)


def _checked(array: NDArray[Any], name: str, spec: InputSpec) -> NDArray[Any]:
    """Refuse what would give a wrong picture: shape, size, NaN and range."""
    low, high = spec.bounds
    if array.dtype.kind in "ui":
        raise ImageError(
            f"{name} has dtype {array.dtype} and shape {array.shape}: whole numbers must be uint8 photos "
            f"with 1 or 3 channels; else give floats from {low:g} to {high:g}."
        )
    if array.shape[-1] == 1 and spec.depth == 3:
        array = np.repeat(array, 3, axis=-1)
    if array.shape[-1] != spec.depth:
        hint = " Its channels seem to come first: move them last." if array.shape[0] == spec.depth else ""
        raise ImageError(
            f"{name} has shape {array.shape}; the network expects {spec.depth} channels in the last axis "
            f"(height, width, {spec.depth}).{hint}"
        )
    if spec.size is not None and array.shape[:2] != spec.size:
        raise ImageError(
            f"{name} has height and width {array.shape[:2]}; the network expects {spec.size}. "
            "Resize it, or give a path, PIL image or uint8 array, which are resized here."
        )
    darkest, brightest = array.min(), array.max()
    if not (np.isfinite(darkest) and np.isfinite(brightest)):
        raise ImageError(f"{name} holds NaN or infinity at {np.argwhere(~np.isfinite(array))[0].tolist()}.")
    slack = 1e-4 * (high - low)
    if darkest < low - slack or brightest > high + slack:
        hint = " Divide it by 255, or give uint8." if (low, high) == (0, 1) and darkest >= 0 else ""
        raise ImageError(
            f"{name} has values from {darkest:g} to {brightest:g}; images here lie within "
            f"({low:g}, {high:g}).{hint} If they are normalised already, say so: wrap(..., bounds=(low, high))."
        )
    return array


def _resized(photo: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.uint8]:
    if spec.depth == 3 and spec.size in (None, photo.shape[:2]):
        return photo
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(photo))
    if spec.size is not None and photo.shape[:2] != spec.size:
        picture = picture.resize((spec.size[1], spec.size[0]), Image.Resampling.BILINEAR)
    if spec.depth == 1:
        picture = picture.convert("L")
    pixels = np.asarray(picture)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _preview(photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if max(photo.shape[:2]) <= PREVIEW_SIDE:
        return np.array(photo)
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(photo))
    picture.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    return np.asarray(picture)
