"""Tasks: images of which it is known where an explanation must look, and a gate that makes sure of it.

scenes        the object is the cause: the network recognises it, and no longer does once it is replaced by its
background
grid          four pictures in one; the class of one of them is asked for (Rao, Böhle and Schiele, CVPR 2022)
disconnected  a network whose scores each see one quarter of the image: mass elsewhere is provably wrong
"""

import copy
from dataclasses import dataclass, replace
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.arrays import resize_matrix
from agnoscope.backends.reference import Conv, GlobalAverage, Network, Relu
from agnoscope.batches import comfortable_batch
from agnoscope.errors import ModelError, OptionError
from agnoscope.evaluation.cases import Cases, probabilities
from agnoscope.model import Model

CONFIDENT: Final = 0.8
"""How sure the network must be of a picture that goes into a grid."""


@final
@dataclass(frozen=True, eq=False)
class Task:
    """Images, what is asked about them, and where the answer lies.

    Attributes:
        name: of the task.
        about: one sentence.
        model: the network that is asked; a copy for other image sizes, where a task needs them.
        images: shape (images, height, width, channels).
        targets: shape (images,), the class asked for.
        masks: shape (images, height, width), where the evidence lies.
        drawn: how many there were before the gate.
    """

    name: str
    about: str
    model: Model
    images: NDArray[Any]
    targets: NDArray[np.intp]
    masks: NDArray[np.bool_]
    drawn: int

    def __len__(self) -> int:
        return len(self.images)


def object_task(model: Model, cases: Cases, name: str = "object") -> Task:
    """Explain why the network recognises the object.

    The gate keeps a case if the network answers the true class (any class, where it is not known) and its
    probability falls by half at the least when the object is replaced by its background: then the object is the cause.

    Args:
        model: a network with one score per class.
        cases: pictures with masks.
        name: of the task.

    Raises:
        OptionError: no case passes the gate.
    """
    batch = comfortable_batch(model, (cases.images.shape[1], cases.images.shape[2]))
    table = probabilities(model, cases.images, batch)
    answers = table.argmax(axis=1)
    empty = np.where(cases.masks[..., None], cases.backgrounds, cases.images)
    left = probabilities(model, empty, batch)[np.arange(len(cases)), answers]
    right = (cases.labels < 0) | (answers == cases.labels)
    kept = np.flatnonzero(right & (left <= table.max(axis=1) / 2))
    if not len(kept):
        raise OptionError(
            f"In none of {len(cases)} pictures does the answer depend on the object, so that no explanation can be "
            "judged by it. See: agnoscope diagnose."
        )
    about = "The network knows the object, and no longer does once its background stands in its place."
    return Task(name, about, model, cases.images[kept], answers[kept], cases.masks[kept], len(cases))


def grid_task(model: Model, cases: Cases, count: int = 100, seed: int = 0) -> Task:
    """Find the one of four pictures that the class belongs to; chance is a quarter.

    The other three are of other classes than the one asked for, and each of the four is recognised with a probability
    of at least 0.8 by itself. The mosaic has twice the network's size where the network can take that; else the
    pictures are shrunk.

    Args:
        model: a network with one score per class.
        cases: where the pictures come from; the answers are the network's own.
        count: how many mosaics.
        seed: of the choice.

    Raises:
        OptionError: the pictures that are recognised are all of one class.
    """
    height, width = cases.images.shape[1:3]
    table = probabilities(model, cases.images, comfortable_batch(model, (height, width)))
    sure = np.flatnonzero(table.max(axis=1) >= CONFIDENT)
    answers = table.argmax(axis=1)
    if len(np.unique(answers[sure])) < 2:
        raise OptionError(
            f"Of {len(cases)} pictures the network is sure of {len(sure)}, and they are not of two classes at least: "
            "a grid needs more pictures."
        )
    larger = _enlarged(model, (2 * height, 2 * width))
    rng = np.random.default_rng(seed)
    images, targets, masks = [], [], []
    for _ in range(count):
        asked = rng.choice(sure)
        others = rng.choice(sure[answers[sure] != answers[asked]], 3)
        place = int(rng.integers(4))
        four = np.insert(others, place, asked)
        upper, lower = (np.concatenate(cases.images[pair], axis=1) for pair in (four[:2], four[2:]))
        images.append(np.concatenate([upper, lower]))
        targets.append(answers[asked])
        masks.append(_quarter(place, (2 * height, 2 * width)))
    pictures, where = np.stack(images), np.stack(masks)
    if larger is None:
        rows, columns = resize_matrix(2 * height, height), resize_matrix(2 * width, width)
        pictures = np.einsum("yh,nhwc,xw->nyxc", rows, pictures, columns).astype(cases.images.dtype)
        where = np.stack([_quarter(int(np.argmax(_corners(mask))), (height, width)) for mask in where])
    about = "Four pictures in one, and the class of one of them is asked for."
    return Task("grid", about, larger or model, pictures, np.array(targets), where, count)


def disconnected_task(count: int = 50, seed: int = 0) -> Task:
    """A network with random weights whose score for class k sees the k-th quarter of the image and nothing else.

    After Rao, Böhle and Schiele (CVPR 2022): no explanation of a score may leave its quarter. It runs in NumPy.

    Args:
        count: how many images, of noise.
        seed: of images and weights.
    """
    from agnoscope.api import wrap

    rng = np.random.default_rng(seed)
    side = 64
    images = rng.uniform(size=(count, side, side, 3)).astype(np.float32)
    labels = ("upper left", "upper right", "lower left", "lower right")
    model = wrap(disconnected_network(rng), input_size=side, labels=labels)
    targets = rng.integers(4, size=count)
    masks = np.stack([_quarter(int(target), (side, side)) for target in targets])
    about = "Each score sees one quarter of the image; what lies elsewhere is provably wrong."
    return Task("disconnected", about, model, images, targets, masks, count)


def disconnected_network(rng: np.random.Generator) -> Network:
    """Patches of 8 × 8 pixels are looked at one by one, and each class adds up those of its own quarter of 64 × 64."""

    def kernel(*shape: int) -> NDArray[np.float32]:
        return rng.normal(0, np.sqrt(2 / np.prod(shape[:3])), shape).astype(np.float32)

    def bias(length: int) -> NDArray[np.float32]:
        return rng.normal(0, 0.1, length).astype(np.float32)

    head = kernel(8, 8, 24, 4)
    for k in range(4):
        head[~_quarter(k, (8, 8)), :, k] = 0
    return Network(
        {
            "patches": Conv(kernel(8, 8, 3, 16), bias(16), stride=8),
            "relu1": Relu(),
            "mix": Conv(kernel(1, 1, 16, 24), bias(24)),
            "relu2": Relu(),
            "quarters": Conv(head, np.zeros(4, np.float32)),
            "scores": GlobalAverage(),
        }
    )


def _quarter(place: int, size: tuple[int, int]) -> NDArray[np.bool_]:
    """True in one quarter of an image: 0 and 1 above, 2 and 3 below."""
    row, column = divmod(place, 2)
    mask = np.zeros(size, dtype=bool)
    mask[row * size[0] // 2 : (row + 1) * size[0] // 2, column * size[1] // 2 : (column + 1) * size[1] // 2] = True
    return mask


def _corners(mask: NDArray[np.bool_]) -> list[bool]:
    return [bool(mask[0, 0]), bool(mask[0, -1]), bool(mask[-1, 0]), bool(mask[-1, -1])]


def _enlarged(model: Model, size: tuple[int, int]) -> Model | None:
    """The network for images of another size, if it can take them and answers in the same form."""
    larger = copy.copy(model)
    larger.spec = replace(model.spec, size=size)
    try:
        same = larger.outline(size).scores == model.outline((size[0] // 2, size[1] // 2)).scores
    except (ModelError, OptionError):  # by itself, or beside bound inputs
        return None
    return larger if same else None
