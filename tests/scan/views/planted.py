"""Images in which patterns are planted at known places, and a network with branches, steps and padding that finds them.

    wide   5×5, step 2, two zeros around     channels: one matched filter for each pattern, a dead one, noise
    narrow 3×3, step 2, one zero around      noise
    relu   of both
    last   3×3, step 2, one zero around      channel 0 passes the first filter on, and takes a little of all others
    seen   its ReLU, then the mean and one dense layer

The same weights in every framework.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import agnoscope as ag
from agnoscope.backends.reference import Conv, Dense, GlobalAverage, Network, Relu

SIDE = 32
OPTIONS: dict[str, Any] = {"input_size": SIDE, "mean": 0.5}
WIDE, NARROW, LAST = 2, 1, 1  # zeros around
# Channel 0 fires for the first pattern, 1 for the second, 2 never, 3 for noise.
NOISE = np.random.default_rng(7)
PATTERNS = np.sign(NOISE.normal(size=(2, 5, 5, 3)))


def weights() -> dict[str, np.ndarray]:
    """Kernels as (height, width, inputs, outputs), and biases."""
    draw = np.random.default_rng(3)
    wide = 0.02 * draw.normal(size=(5, 5, 3, 4))
    wide[..., :2] = np.moveaxis(PATTERNS, 0, -1) / 75
    last = 1e-3 * draw.uniform(0.5, 1, size=(3, 3, 8, 4))
    last[1, 1, 0, 0] = 1
    found = {
        "wide/kernel": wide,
        "wide/bias": np.array([0, 0, -100, 0]),
        "narrow/kernel": 0.02 * draw.normal(size=(3, 3, 3, 4)),
        "narrow/bias": np.zeros(4),
        "last/kernel": last,
        "last/bias": np.zeros(4),
        "dense/kernel": draw.normal(size=(4, 2)),
        "dense/bias": np.zeros(2),
    }
    return {name: array.astype(np.float32) for name, array in found.items()}


@dataclass(frozen=True)
class Planted:
    """Where a pattern was planted: the middle of its window, in pixels; parts of it may lie outside."""

    image: int
    pattern: int
    middle: tuple[int, int]
    strength: int


# Middles lie on the grid of `seen`, whose unit (y, x) looks around pixel (4y, 4x); two in corners, one at an edge.
PLACES = (
    Planted(3, 0, (8, 12), 90),
    Planted(5, 0, (0, 0), 110),
    Planted(8, 0, (28, 16), 80),
    Planted(11, 0, (16, 0), 100),
    Planted(13, 0, (20, 24), 60),
    Planted(17, 1, (12, 8), 90),
    Planted(20, 1, (24, 28), 70),
)
COPY = (3, 22)
"""The second of these images is a copy of the first."""


def images() -> np.ndarray:
    """24 images of little noise, uint8, with what was planted."""
    made = np.random.default_rng(1).integers(118, 139, (24, SIDE, SIDE, 3)).astype(np.int64)
    for one in PLACES:
        for v, row in enumerate(range(one.middle[0] - 2, one.middle[0] + 3)):
            for u, column in enumerate(range(one.middle[1] - 2, one.middle[1] + 3)):
                if 0 <= row < SIDE and 0 <= column < SIDE:
                    made[one.image, row, column] = 128 + one.strength * PATTERNS[one.pattern, v, u]
    made[COPY[1]] = made[COPY[0]]
    return made.astype(np.uint8)


def responses(pattern: int) -> np.ndarray:
    """What the matched filter makes of the images, one place after the other, shape (images, 16, 16)."""
    padded = np.pad(images() / 255 - 0.5, ((0, 0), (2, 2), (2, 2), (0, 0)))
    kernel = PATTERNS[pattern] / 75
    rows = [
        [(padded[:, y : y + 5, x : x + 5] * kernel).sum(axis=(1, 2, 3)) for x in range(0, 32, 2)]
        for y in range(0, 32, 2)
    ]
    return np.maximum(np.moveaxis(np.array(rows), -1, 0), 0)


def clipped(first: int, last: int) -> tuple[int, int]:
    """From which up to, without, which pixel of the image."""
    return max(first, 0), min(last, SIDE)


def chain() -> ag.Model:
    """The wide branch alone, in NumPy."""
    w = weights()
    last = w["last/kernel"][:, :, :4]
    layers = {
        "wide": Conv(w["wide/kernel"], w["wide/bias"], 2, WIDE),
        "relu": Relu(),
        "last": Conv(last, w["last/bias"], 2, LAST),
        "seen": Relu(),
        "pool": GlobalAverage(),
        "dense": Dense(w["dense/kernel"], w["dense/bias"]),
    }
    return ag.wrap(Network(layers), **OPTIONS)


def branched(framework: str) -> ag.Model:
    """The whole network."""
    return {"torch": _torch, "jax": _jax, "tensorflow": _tensorflow}[framework](weights())


def _torch(w: dict[str, np.ndarray]) -> ag.Model:
    import torch
    from torch import nn

    class Branched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wide = nn.Conv2d(3, 4, 5, 2, padding=WIDE)
            self.narrow = nn.Conv2d(3, 4, 3, 2, padding=NARROW)
            self.relu = nn.ReLU()
            self.last = nn.Conv2d(8, 4, 3, 2, padding=LAST)
            self.seen = nn.ReLU()
            self.dense = nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.relu(torch.cat([self.wide(x), self.narrow(x)], dim=1))
            return self.dense(self.seen(self.last(x)).mean(dim=(2, 3)))

    network = Branched().eval()
    axes = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}
    state = {
        name.replace("/kernel", ".weight").replace("/", "."): torch.tensor(array.transpose(axes[array.ndim]))
        for name, array in w.items()
    }
    network.load_state_dict(state)
    return ag.wrap(network, **OPTIONS)


def _jax(w: dict[str, np.ndarray]) -> ag.Model:
    import jax.numpy as jnp
    from flax import linen

    class ReLU(linen.Module):
        def __call__(self, x: Any) -> Any:
            return linen.relu(x)

    class Branched(linen.Module):
        @linen.compact
        def __call__(self, x: Any) -> Any:
            wide = linen.Conv(4, (5, 5), 2, padding=WIDE, name="wide")(x)
            narrow = linen.Conv(4, (3, 3), 2, padding=NARROW, name="narrow")(x)
            x = ReLU(name="relu")(jnp.concatenate([wide, narrow], axis=-1))
            x = ReLU(name="seen")(linen.Conv(4, (3, 3), 2, padding=LAST, name="last")(x))
            return linen.Dense(2, name="dense")(x.mean(axis=(1, 2)))

    parameters: dict[str, dict[str, Any]] = {}
    for name, array in w.items():
        layer, kind = name.split("/")
        parameters.setdefault(layer, {})[kind] = array
    return ag.wrap(Branched(), {"params": parameters}, **OPTIONS)


def _tensorflow(w: dict[str, np.ndarray]) -> ag.Model:
    import keras
    from keras import layers

    def padded(x: Any, outputs: int, side: int, zeros: int, name: str) -> Any:
        return layers.Conv2D(outputs, side, 2, name=name)(layers.ZeroPadding2D(zeros)(x))

    image = keras.Input((SIDE, SIDE, 3))
    both = layers.Concatenate()([padded(image, 4, 5, WIDE, "wide"), padded(image, 4, 3, NARROW, "narrow")])
    x = layers.ReLU(name="relu")(both)
    x = layers.ReLU(name="seen")(padded(x, 4, 3, LAST, "last"))
    network = keras.Model(image, layers.Dense(2, name="dense")(layers.GlobalAveragePooling2D()(x)))
    for name in ("wide", "narrow", "last", "dense"):
        network.get_layer(name).set_weights([w[f"{name}/kernel"], w[f"{name}/bias"]])
    return ag.wrap(network, **OPTIONS)


def expected(pattern: int) -> Iterator[tuple[int, float, tuple[int, int]]]:
    """Image, value and place in the map of `relu` of the largest responses, best first, ties in the images' order."""
    found = responses(pattern)
    peaks = found.reshape(len(found), -1)
    for image in np.argsort(-peaks.max(axis=1).round(6), kind="stable"):
        yield int(image), float(peaks[image].max()), divmod(int(peaks[image].argmax()), 16)
