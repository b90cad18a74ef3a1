"""The kit's little networks, described without a framework, and their closed forms."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agnoscope.backends.reference import Conv, Dense, GlobalAverage, Network, Relu, Sigmoid

SIZE: Final = (5, 7)  # not square: swapped axes must show


def _weights(*shape: int, seed: int = 0, scale: float = 1.0) -> NDArray[np.float32]:
    return (scale * np.random.default_rng([seed, *shape]).normal(size=shape)).astype(np.float32)


def images(count: int = 3) -> NDArray[np.float32]:
    """Random images within (0, 1), shape (count, 5, 7, 3)."""
    return np.random.default_rng(7).uniform(size=(count, *SIZE, 3)).astype(np.float32)


def linear_network() -> Network:
    """Scores are the sum over all pixels of x · kernel, plus a bias; the gradient is the kernel."""
    return Network({"conv": Conv(_weights(*SIZE, 3, 4), _weights(4)), "gap": GlobalAverage()})


def rectified_network(high: float | None = None, head: Any = None) -> Network:
    """Scores are the mean of relu(x · W + b) over all pixels, times V, plus c; with `head` appended."""
    units = 1 if isinstance(head, Sigmoid) else 4
    # With these weights every channel has values below 0, within (0, 6) and above 6, and none near 0 or 6.
    kernel = _weights(1, 1, 3, 6, seed=308, scale=12.0)
    layers: dict[str, Any] = {
        "conv": Conv(kernel, 3 - kernel.sum(axis=(0, 1, 2)) / 2),
        "relu": Relu(high),
        "gap": GlobalAverage(),
        "dense": Dense(_weights(6, units, seed=34), _weights(units)),
    }
    return Network(layers | ({"head": head} if head else {}))


def deep_network() -> Network:
    """Two convolutions of 3 × 3 with ReLUs, for what has no short closed form."""
    # With these weights the ReLUs of every channel are partly open, and the images differ in their first answer.
    first, second = _weights(3, 3, 3, 6, seed=312, scale=0.5), _weights(3, 3, 6, 8, seed=312, scale=0.5)
    return Network(
        {
            "conv1": Conv(first, -0.5 * first.sum(axis=(0, 1, 2)), 1, 1),
            "relu1": Relu(),
            "conv2": Conv(second, -0.3 * second.sum(axis=(0, 1, 2)), 1, 1),
            "relu2": Relu(),
            "gap": GlobalAverage(),
            "dense": Dense(_weights(8, 4, seed=312), _weights(4, seed=312)),
        }
    )


@dataclass(frozen=True)
class Rectified:
    """The closed form of `rectified_network`."""

    x: NDArray[Any]
    high: float = np.inf
    network: Network = rectified_network()  # noqa: RUF009 its weights are the same at every call

    @property
    def w(self) -> NDArray[Any]:
        """Kernel of the convolution, shape (channels in, channels out)."""
        return self.network.layers["conv"].kernel[0, 0]  # type: ignore[union-attr]

    @property
    def v(self) -> NDArray[Any]:
        """Kernel of the dense layer, shape (channels, classes)."""
        return self.network.layers["dense"].kernel  # type: ignore[union-attr]

    @property
    def z(self) -> NDArray[Any]:
        """What the convolution gives."""
        return self.x @ self.w + self.network.layers["conv"].bias  # type: ignore[union-attr]

    @property
    def activation(self) -> NDArray[Any]:
        """What the ReLU gives."""
        return np.clip(self.z, 0, self.high)

    @property
    def scores(self) -> NDArray[Any]:
        """What the network gives."""
        return self.activation.mean(axis=(1, 2)) @ self.v + self.network.layers["dense"].bias  # type: ignore[union-attr]

    def at_relu(self, index: int) -> NDArray[Any]:
        """Gradient of a class score with respect to the ReLU's output."""
        return np.broadcast_to(self.v[:, index] / np.prod(SIZE), self.z.shape)

    def at_image(self, index: int, rule: str | None = None) -> NDArray[Any]:
        """Gradient with respect to the image, plain or by a rule."""
        g, is_open = self.at_relu(index), (self.z > 0) & (self.z < self.high)
        through = {None: g * is_open, "guided": np.maximum(g, 0) * is_open, "deconvnet": np.maximum(g, 0)}
        return through[rule] @ self.w.T
