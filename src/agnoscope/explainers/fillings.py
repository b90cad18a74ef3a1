"""What stands for "nothing": the picture that hides a part of an image, or from which a path to it begins.

An option of many methods. Each gives a name, a colour or pictures of their own:

    "black", "white", "gray"    the lowest, highest and middle value of the image's bounds
    "mean"                      each channel's mean over the image
    "zero"                      what the network receives as zeros: the mean that it was normalised by
    "blur"                      the image, blurred by a sixteenth of its shorter side
    0.3 or (0.5, 0.4, 0.3)      one number, or one per channel, within the bounds
    an array                    a picture (height, width, channels), or of one channel, within the bounds
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import OptionError
from agnoscope.images import InputSpec

Fill: TypeAlias = "str | float | tuple[float, ...] | Picture | NDArray[Any]"
"""A name, a number, one number per channel, or a picture."""

NAMES: Final = ("black", "white", "gray", "mean", "zero", "blur")
BLUR: Final = 1 / 16
"""Standard deviation of the "blur" fill, as a share of the image's shorter side."""


@final
@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as an option: hashable, equal where the pixels are.

    Attributes:
        pixels: shape (height, width, channels), within the bounds of an image.
    """

    pixels: NDArray[Any]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Picture) and np.array_equal(self.pixels, other.pixels)

    def __hash__(self) -> int:
        return hash(self.digest)

    @property
    def digest(self) -> str:
        """The first digits of the pixels' SHA-256."""
        return hashlib.sha256(np.ascontiguousarray(self.pixels, dtype=np.float64).tobytes()).hexdigest()[:12]

    def __repr__(self) -> str:
        return f"picture {' × '.join(map(str, self.pixels.shape))} ({self.digest})"


def hashable(given: Any) -> Any:
    """An option's value with its arrays as pictures; for `__post_init__`."""
    if isinstance(given, list | tuple):
        return tuple(hashable(item) for item in given)
    if hasattr(given, "detach"):  # PyTorch's, which may need a gradient or lie on a device
        given = given.detach().cpu().numpy()
    elif hasattr(given, "__array__") and not isinstance(given, np.generic):  # any other array or picture
        given = np.asarray(given)
    if isinstance(given, np.ndarray) and given.ndim == 4:  # several pictures
        return tuple(hashable(picture) for picture in given)
    if isinstance(given, np.ndarray):
        if given.ndim < 2:
            return hashable(given.tolist())
        return Picture(np.array(given if given.ndim > 2 else given[..., None]))  # a copy, which nobody changes
    return given.item() if isinstance(given, np.generic) else given


def several(given: Any) -> tuple[Fill, ...]:
    """The fills that an option holds: one, or a tuple of names, pictures or colours."""
    one = not isinstance(given, tuple) or all(isinstance(item, int | float) for item in given)
    return (given,) if one else given


def check_fill(option: str, fill: Any, spec: InputSpec, size: tuple[int, int]) -> None:
    """Refuse what is no filling for images of this size.

    Args:
        option: its name, for the message.
        fill: what the user gave.
        spec: what the network expects of an image.
        size: height and width of the image in pixels.

    Raises:
        OptionError: an unknown name, a colour of another number of channels or beyond the bounds, or a picture of
            another shape.
    """
    low, high = spec.bounds
    if isinstance(fill, str):
        if fill not in NAMES:
            known = ", ".join(map(repr, NAMES))
            raise OptionError(f"{option}={fill!r} is unknown: use {known}, a number, one per channel, or a picture.")
        return
    pixels = fill.pixels if isinstance(fill, Picture) else _numbers(fill)
    shapes = [(1,), (spec.depth,)] if not isinstance(fill, Picture) else [(*size, 1), (*size, spec.depth)]
    if pixels.shape not in shapes:
        wanted = f"one number or {spec.depth}" if not isinstance(fill, Picture) else f"of shape {shapes[-1]}"
        raise OptionError(f"{option}={fill!r} must be {wanted}, within ({low:g}, {high:g}).")
    if not ((low <= pixels) & (pixels <= high)).all():
        hint = " Divide it by 255." if isinstance(fill, Picture) and fill.pixels.dtype == np.uint8 else ""
        raise OptionError(f"{option}={fill!r} holds values that lie not within the bounds ({low:g}, {high:g}).{hint}")


def filling(fill: Any, image: NDArray[Any], spec: InputSpec) -> NDArray[Any]:
    """The picture that a fill stands for, of the image's shape and dtype.

    Args:
        fill: checked before by `check_fill`.
        image: shape (height, width, channels), within the bounds.
        spec: what the network expects of an image.
    """
    low, high = spec.bounds
    match fill:
        case "black" | "white" | "gray":
            colour: Any = {"black": low, "white": high, "gray": (low + high) / 2}[fill]
        case "mean":
            colour = image.mean(axis=(0, 1), dtype=np.float64)
        case "zero":
            colour = spec.centre
        case "blur":
            colour = blurred(image, min(image.shape[:2]) * BLUR)
        case Picture(pixels=pixels):
            colour = pixels
        case _:
            colour = np.asarray(fill)
    return np.broadcast_to(colour, image.shape).astype(image.dtype)


def blurred(image: NDArray[Any], sigma: float) -> NDArray[np.float64]:
    """The image under a Gaussian, its border going on beyond the edge.

    Args:
        image: shape (height, width, channels).
        sigma: standard deviation in pixels.
    """
    from skimage.filters import gaussian

    return np.asarray(gaussian(image.astype(np.float64), sigma, channel_axis=-1, mode="nearest"))


def _numbers(given: Any) -> NDArray[np.float64]:
    """Numbers, or none at all where it holds something else."""
    if given is None:  # of which NumPy makes a NaN
        return np.empty(0)
    try:
        return np.atleast_1d(np.asarray(given, dtype=np.float64))
    except (TypeError, ValueError):
        return np.empty(0)
