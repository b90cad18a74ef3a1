"""Two real networks, MobileNet v2 and ResNet-20, described once and built in every framework.

What the frameworks share stands here: where weights and photos lie, how a photo is prepared, and the plan of
both architectures. `torch.py`, `linen.py`, `nnx.py` and `keras.py` beside this file each write them down as a
user of that framework would, with the same names (`block3.expand`, `layer3.2.conv1`).

Weights and photos are data beside the repository, in `shared/`; a test that asks for one that is not there is
skipped. So ask inside tests and fixtures, not while a module is imported.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import skimage.data
from PIL import Image

SHARED = Path(os.environ.get("AGNOSCOPE_SHARED") or Path(__file__).parents[3] / "shared")


class Bottleneck(NamedTuple):
    """One block of MobileNet v2: widen to `hidden` channels, filter each by itself, narrow to `outputs`."""

    name: str
    inputs: int
    hidden: int
    outputs: int
    stride: int

    @property
    def expands(self) -> bool:
        """Whether the first of its convolutions is there."""
        return self.hidden != self.inputs

    @property
    def residual(self) -> bool:
        """Whether the block's input is added to its output."""
        return self.stride == 1 and self.inputs == self.outputs


def _bottlenecks() -> Iterator[Bottleneck]:
    block, inputs = 0, 32
    # expansion, outputs, repetitions, stride of the first: table 2 of the MobileNet v2 paper
    stages = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2)]
    for expansion, outputs, repetitions, first in [*stages, (6, 320, 1, 1)]:
        for stride in [first] + [1] * (repetitions - 1):
            yield Bottleneck(f"block{block}", inputs, expansion * inputs, outputs, stride)
            block, inputs = block + 1, outputs


BOTTLENECKS = tuple(_bottlenecks())

# The stages of ResNet-20: name, channels, stride of the first of three blocks. A stage that halves the image
# doubles the channels, so a block's inputs are `channels // stride`.
STAGES = (("layer1", 16, 1), ("layer2", 32, 2), ("layer3", 64, 2))
BATCH_NORM_EPSILON = 1e-5


@dataclass(frozen=True)
class Case:
    """A network and what it expects of an image: `(lo + image * (hi - lo) - mean) / std`, image in (0, 1)."""

    name: str  # the builder's name in each framework's module
    weights: str
    size: int
    range: tuple[float, float]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...] = ()  # empty: they stand in a file beside the weights

    def photo(self, name: str) -> np.ndarray:
        """A photo in the network's size, uint8: a file in `shared/images`, or one of scikit-image."""
        image = Image.open(_shared("images", name)) if Path(name).suffix else _skimage(name)
        return np.asarray(image.convert("RGB").resize((self.size, self.size), Image.Resampling.BILINEAR))

    def ramp(self) -> np.ndarray:
        """An image that needs no file, uint8."""
        i, j, c = np.ogrid[: self.size, : self.size, :3]
        return ((i + j) * (c + 1) % 256).astype(np.uint8)

    def normalise(self, images: np.ndarray) -> np.ndarray:
        """Images in (0, 1) as the network wants them, in their own dtype."""
        lo, hi = self.range
        mean, std = (np.asarray(values, images.dtype) for values in (self.mean, self.std))
        return (lo + images * (hi - lo) - mean) / std


MOBILENET_V2 = Case(
    name="mobilenet_v2",
    weights="mobilenet_v2_imagenet",
    size=224,
    range=(0, 255),
    mean=(128, 128, 128),
    std=(128, 128, 128),
)
RESNET20 = Case(
    name="resnet20",
    weights="resnet20_cifar10",
    size=32,
    range=(0, 1),
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
)


def load_weights(name: str) -> dict[str, np.ndarray]:
    """The arrays of `shared/models/<name>.npz`, by name."""
    with np.load(_shared("models", f"{name}.npz")) as arrays:
        return dict(arrays)


def labels(case: Case = MOBILENET_V2) -> tuple[str, ...]:
    """The names of the classes, in the order of the scores."""
    return case.classes or tuple(_shared("models", "imagenet_labels.txt").read_text().splitlines())


def channels_last(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """PyTorch's kernels with the axes that Flax and Keras use: height, width, inputs, outputs."""
    return {name: w.transpose(2, 3, 1, 0) if w.ndim == 4 else w.T for name, w in weights.items()}


def _shared(folder: str, name: str) -> Path:
    path = SHARED / folder / name
    if not path.exists():
        pytest.skip(f"test data {folder}/{name} is not beside the repository")
    return path


def _skimage(name: str) -> Image.Image:
    return Image.fromarray(getattr(skimage.data, name)())
