"""Scenes whose truth is known: one thing on one ground, with the exact mask of the thing.

A ball, a cone or a crate lies on grass, gravel or brick. Where things and grounds are independent, a
network must look at the thing to name it; where each thing lies on its own ground, the ground
gives the answer away. `correlated` moves between the two and changes nothing else: scenes with the
same seed show the same things in the same places.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agnoscope.demo.things import SAMPLES, THINGS, draw

SIZE = 96
CLASSES = tuple(THINGS)
# The ground at position i is the home of class i.
BACKGROUNDS = ("grass", "gravel", "brick")

# The photos are gray: these are the colours of their black and their white.
TINTS = {
    "grass": ((18, 40, 8), (178, 216, 104)),
    "gravel": ((28, 36, 54), (192, 206, 230)),
    "brick": ((112, 8, 0), (236, 206, 186)),
}


@dataclass(frozen=True, eq=False)
class Scene:
    """One picture and everything that is true about it.

    Attributes:
        image: The picture, `SIZE`×`SIZE`×3, 0..255.
        clean: The same ground without the thing; equals `image` wherever `mask` is false.
        mask: `SIZE`×`SIZE`, true where the thing covers any part of a pixel.
        label: The thing, an index into `CLASSES`.
        background: The ground, an index into `BACKGROUNDS`.
    """

    image: NDArray[np.uint8]
    clean: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    label: int
    background: int


def make_scenes(count: int, seed: int, *, correlated: float = 0.0) -> list[Scene]:
    """Make random scenes; the same arguments give the same scenes everywhere.

    Args:
        count: How many.
        seed: Where all randomness comes from. The first scenes of a longer list are the same.
        correlated: The probability, 0..1, that a thing is put on its own ground; otherwise its
            ground is any of the three. 0 makes things and grounds independent.

    Returns:
        `count` scenes.

    Raises:
        ValueError: If `count` is negative or `correlated` lies outside 0..1.
    """
    if count < 0:
        raise ValueError(f"count must not be negative, got {count}")
    if not 0 <= correlated <= 1:
        raise ValueError(f"correlated is a probability between 0 and 1, got {correlated}")
    rng = np.random.default_rng(seed)
    return [_make_scene(rng, correlated) for _ in range(count)]


def _make_scene(rng: np.random.Generator, correlated: float) -> Scene:
    label = int(rng.integers(len(CLASSES)))
    # Both are always drawn, so that `correlated` does not shift what is drawn after them.
    at_home, elsewhere = rng.random() < correlated, int(rng.integers(len(BACKGROUNDS)))
    background = label if at_home else elsewhere
    clean = _ground(BACKGROUNDS[background], rng)

    coverage, colours = draw(CLASSES[label], rng.uniform(0.055, 0.115) * SIZE**2, rng)
    height, width = coverage.shape
    top, left = int(rng.integers(SIZE - height + 1)), int(rng.integers(SIZE - width + 1))
    place = slice(top, top + height), slice(left, left + width)

    image, mask = clean.copy(), np.zeros((SIZE, SIZE), dtype=bool)
    samples = SAMPLES**2
    seen_through = (samples - coverage)[..., None] * clean[place].astype(np.int64)
    image[place] = (colours + seen_through + samples // 2) // samples
    mask[place] = coverage > 0
    return Scene(image, clean, mask, label, background)


def _ground(name: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Cut a random square from a photo, turn and tint it a little differently each time."""
    from PIL import Image

    photo = _photo(name)
    side = int(rng.integers(150, 301))
    left, top = (int(rng.integers(limit - side + 1)) for limit in photo.size)
    turn = Image.Transpose(int(rng.integers(len(Image.Transpose))))
    box = (left, top, left + side, top + side)
    gray = photo.resize((SIZE, SIZE), Image.Resampling.BICUBIC, box=box).transpose(turn)

    black, white = (np.array(colour, dtype=float) for colour in TINTS[name])
    exposure = rng.uniform(0.8, 1.1) * rng.uniform(0.95, 1.05, 3)
    tinted = black + (white - black) * (np.asarray(gray)[..., None] / 255)
    colours: NDArray[np.uint8] = np.clip(np.round(tinted * exposure), 0, 255).astype(np.uint8)
    return colours


@cache
def _photo(name: str) -> Any:
    from PIL import Image
    from skimage import data

    return Image.fromarray(getattr(data, name)())
