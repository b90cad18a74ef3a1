"""A small network with hostile names, and methods that fail in their own ways."""

from dataclasses import dataclass
from typing import final

import numpy as np

import agnoscope as ag
from agnoscope.explainers.base import Explainer
from agnoscope.explainers.controls import Control
from agnoscope.model import Model
from agnoscope.testing import deep_network

LABELS = (
    "</script><script>window.taken = 1</script>",
    "<img src=x onerror='window.taken = 2'>",
    '"\' onmouseover="window.taken = 3" &amp;',
    "new\nline \u202eedis gnorw eht\u202c 🐈",
)


def hostile_model() -> Model:
    """Four classes whose names attack the page."""
    return ag.wrap(deep_network(), input_size=(5, 7), labels=LABELS)


def pictures(count: int = 1) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (count, 20, 28, 3), dtype=np.uint8))


@final
@dataclass(frozen=True)
class Broken(Control):
    """Somebody's method with an error in it."""

    name = "broken <b>method</b>"

    def map_of(self, image: np.ndarray) -> np.ndarray:
        raise ZeroDivisionError("division by <i>zero</i>")


@final
@dataclass(frozen=True)
class Gradient(Control):
    """Numbers from left to right: from -1 to `high`."""

    name = "gradient"

    high: float = 1.0

    def map_of(self, image: np.ndarray) -> np.ndarray:
        return np.broadcast_to(np.linspace(-1, self.high, image.shape[1]), image.shape[:2]).astype(np.float32)


@final
@dataclass(frozen=True)
class Blank(Control):
    """Finds nothing."""

    name = "blank"

    def map_of(self, image: np.ndarray) -> np.ndarray:
        return np.zeros(image.shape[:2], np.float32)


@final
@dataclass(frozen=True)
class Grain(Control):
    """Noise of its own for every image: what takes most room."""

    name = "grain"

    def map_of(self, image: np.ndarray) -> np.ndarray:
        return np.random.default_rng(int(1e6 * image.sum()) % 2**31).normal(size=image.shape[:2]).astype(np.float32)


METHODS: tuple[str | Explainer, ...] = ("saliency", "occlusion", Gradient())
