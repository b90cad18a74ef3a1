"""How other libraries resize a map: a matrix along each axis for every rule, to be multiplied with.

    "corners"    linear, the corners' pixels on one another: `scipy.ndimage.zoom`, and PyTorch with `align_corners`
    "mirrored"   linear with half-pixel centres, mirrored at the border's pixels: `skimage.transform.resize`
    "nearest"    the pixel under the upper left corner of the new one: PyTorch

agnoscope's own rule is in `arrays`: linear with half-pixel centres, the border's pixels going on, as TensorFlow, OpenCV
and PyTorch enlarge. The three rules above do not
average where they shrink.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agnoscope.arrays import resize
from agnoscope.errors import OptionError


@lru_cache(maxsize=64)
def corners_matrix(length: int, wanted: int) -> NDArray[np.float64]:
    """The matrix of the rule "corners", shape (wanted, length)."""
    return _linear(np.arange(wanted) * (length - 1) / max(wanted - 1, 1), length)


@lru_cache(maxsize=64)
def mirrored_matrix(length: int, wanted: int) -> NDArray[np.float64]:
    """The matrix of the rule "mirrored", shape (wanted, length)."""
    places = np.abs((np.arange(wanted) + 0.5) * length / wanted - 0.5)
    return _linear((length - 1) - np.abs((length - 1) - places), length)


@lru_cache(maxsize=64)
def nearest_matrix(length: int, wanted: int) -> NDArray[np.float64]:
    """The matrix of the rule "nearest", shape (wanted, length)."""
    return np.eye(length)[np.arange(wanted) * length // wanted]


def _linear(places: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """What lies at places between pixels, counted in pixels from the first one's centre to the last one's."""
    places = np.clip(places, 0, length - 1)
    return np.clip(1 - np.abs(places[:, None] - np.arange(length)), 0, None)


def resized(xp: Any, maps: Any, size: tuple[int, int], rule: str) -> Any:
    """Maps at another size, by "linear", which is agnoscope's own, or by another rule; as `agnoscope.arrays.resize`.

    Args:
        xp: the array namespace of `maps`.
        maps: shape (images, height, width).
        size: height and width wanted.
        rule: checked before by `check_rule`.
    """
    if rule == "linear":
        return resize(xp, maps, size)
    down, across = (RULES[rule](before, after) for before, after in zip(maps.shape[1:], size, strict=True))
    return xp.matmul(xp.matmul(xp.asarray(down, dtype=maps.dtype), maps), xp.asarray(across.T, dtype=maps.dtype))


def check_rule(option: str, given: Any) -> None:
    """Refuse what is no rule.

    Raises:
        OptionError: it is neither "linear" nor among `RULES`.
    """
    if given != "linear" and given not in RULES:
        raise OptionError(f"{option}={given!r} is unknown: use 'linear', {', '.join(map(repr, RULES))}.")


RULES: Final[Mapping[str, Callable[[int, int], NDArray[Any]]]] = MappingProxyType(
    {"corners": corners_matrix, "mirrored": mirrored_matrix, "nearest": nearest_matrix}
)
"""Name to the function that makes the matrix from the pixels before and after."""
