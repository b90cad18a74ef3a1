"""Full runs, window by window, which incremental occlusion must equal; and networks that it can cut."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

import agnoscope as ag
from agnoscope.backends.reference import AveragePool, Conv, Dense, GlobalAverage, Network, Relu
from agnoscope.explainers.base import OneImage, score_program
from agnoscope.explainers.perturbation.incremental import scores_incrementally
from agnoscope.target import as_target


def conv(inputs: int, outputs: int, size: int = 3, stride: int = 1, padding: int = 1, dtype: Any = np.float32) -> Conv:
    """A convolution with random weights that keep the variance."""
    rng = np.random.default_rng([inputs, outputs, size])
    kernel = rng.normal(size=(size, size, inputs, outputs)) * np.sqrt(2 / (size * size * inputs))
    return Conv(kernel.astype(dtype), rng.normal(size=outputs).astype(dtype) / 10, stride, padding)


def head(channels: int, dtype: Any = np.float32) -> dict[str, Any]:
    """Three classes."""
    kernel = np.random.default_rng(channels).normal(size=(channels, 3)).astype(dtype)
    return {"gap": GlobalAverage(), "dense": Dense(kernel, np.zeros(3, dtype))}


def pools(dtype: Any = np.float32) -> Network:
    """Three stages of two convolutions, as in VGG."""
    layers: dict[str, Any] = {}
    channels = 3
    for stage, width in enumerate((4, 6, 8)):
        for i in range(2):
            layers[f"conv{stage}{i}"] = conv(channels, width, dtype=dtype)
            layers[f"relu{stage}{i}"] = Relu()
            channels = width
        layers[f"pool{stage}"] = AveragePool(2)
    return Network(layers | head(8, dtype))


def strides() -> Network:
    """Convolutions that step over pixels, without zeros around."""
    layers = {"a": conv(3, 4, 5, 2, 0), "b": Relu(), "c": conv(4, 6, 3, 1, 0), "d": conv(6, 6, 3, 2, 0)}
    return Network(layers | {"e": Relu(), "f": conv(6, 8, 3, 1, 0)} | head(8))


def asked(model: ag.Model, size: tuple[int, int], target: Any = 1, batch_size: int = 8) -> OneImage:
    """A question about a random image."""
    image = np.random.default_rng(size).uniform(size=(*size, 3)).astype(model.dtype)
    bound = as_target(target).bind(model, 1, size)
    score = model.compile(score_program, bound.formula)(image[None], bound.arrays)["scores"][0]
    return OneImage(model, image, bound, float(score), batch_size, lambda _: None)


def hiding(one: OneImage) -> NDArray[Any]:
    """What shows through the windows."""
    return np.random.default_rng(1).uniform(size=one.image.shape).astype(one.image.dtype)


def full(one: OneImage, filling: NDArray[Any], windows: NDArray[Any]) -> NDArray[np.float64]:
    """Each window hidden in a run of its own."""
    program, found = one.model.compile(score_program, one.target.formula), []
    for top, bottom, left, right in windows:
        hidden = one.image.copy()
        hidden[top:bottom, left:right] = filling[top:bottom, left:right]
        found.append(float(program(hidden[None], one.arrays(1))["scores"][0]))
    return np.array(found)


def assert_exact(one: OneImage, windows: NDArray[Any], expected: bool = True) -> None:
    """The scores are those of full runs; `expected` says whether it is done incrementally."""
    found = scores_incrementally(one, hiding(one), windows)
    assert (found is not None) == expected
    if found is None:
        return
    plain = full(one, hiding(one), windows)
    tolerance = {"float32": 1e-5, "float64": 1e-9}[one.model.dtype]
    assert np.abs(plain - one.score).max() > 100 * tolerance * np.abs(plain).max()  # or else a wrong score is near
    np.testing.assert_allclose(found, plain, rtol=0, atol=tolerance * np.abs(plain).max())
