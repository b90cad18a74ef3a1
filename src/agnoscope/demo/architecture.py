"""The demo network described once, for every framework: its input, its layers and its weights.

Five convolutions, each followed by a ReLU, then the mean over the picture and one dense layer that
gives a score per class. `honest`, `cheater` and `memoriser` are sets of weights for it.
"""

import io
from collections.abc import Mapping
from importlib import resources
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agnoscope.demo.scenes import CLASSES, SIZE

Weights = Mapping[str, NDArray[np.float32]]

INPUT_SIZE = (SIZE, SIZE)
CLASS_NAMES = CLASSES
# The network receives (x - MEAN) / STD of colours x in 0..1.
MEAN = 0.5
STD = 0.25


class Convolution(NamedTuple):
    """One convolution with a ring of one zero around its input: name, channels, kernel side, stride."""

    name: str
    inputs: int
    outputs: int
    kernel: int
    stride: int


# Steps of 2 have a kernel of 4: it halves an even side with the same padding everywhere, and covers
# every pixel equally often, so gradients show no chequerboard.
CONVOLUTIONS = (
    Convolution("conv1", 3, 16, 4, 2),
    Convolution("conv2", 16, 24, 3, 1),
    Convolution("conv3", 24, 32, 4, 2),
    Convolution("conv4", 32, 32, 3, 1),
    Convolution("conv5", 32, 48, 4, 2),
)
FEATURES = CONVOLUTIONS[-1].outputs


def load_weights(name: str) -> dict[str, NDArray[np.float32]]:
    """Load weights that ship with the package.

    Args:
        name: "honest", trained where things and grounds are independent, "cheater", trained where
            each thing lies on its own ground, "memoriser", trained on shuffled labels, or "generator",
            the network of `agnoscope.demo.generator`.

    Returns:
        `conv1/kernel` (height, width, inputs, outputs) and `conv1/bias` (outputs) up to `conv5`,
        then, but for the generator, `dense/kernel` (inputs, outputs) and `dense/bias` (outputs).

    Raises:
        FileNotFoundError: If no weights have this name.
    """
    data = resources.files("agnoscope.demo").joinpath(f"{name}.npz").read_bytes()
    with np.load(io.BytesIO(data)) as arrays:
        return {name: array.astype(np.float32) for name, array in arrays.items()}
