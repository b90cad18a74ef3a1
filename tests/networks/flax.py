"""What Flax linen and nnx share: names and layouts of the weights, the shortcut, float64."""

from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tests.networks import channels_last

Path = tuple[str, ...]
_NAMES = {"running_mean": "mean", "running_var": "var"}


def x64(dtype: str) -> AbstractContextManager[Any]:
    """Where JAX keeps float64 numbers if `dtype` asks for them; build and run the network inside."""
    enable = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64
    return enable(dtype == "float64")


def mobilenet_v2_arrays(weights: dict[str, np.ndarray], dtype: str) -> dict[Path, jax.Array]:
    """The weights by path; depthwise kernels become `(height, width, 1, channels)`."""
    arrays = {}
    for name, w in weights.items():
        layout = (0, 1, 3, 2) if name.endswith("depthwise/kernel") else range(w.ndim)
        arrays[tuple(name.split("/"))] = jnp.asarray(w.transpose(layout), dtype)
    return arrays


def resnet20_arrays(weights: dict[str, np.ndarray], dtype: str) -> dict[Path, jax.Array]:
    """The weights by path, PyTorch's names and layouts changed to those of Flax."""
    arrays = {}
    for name, w in channels_last(weights).items():
        *path, last = name.split(".")
        weight = "kernel" if w.ndim > 1 else "scale"
        arrays[*path, _NAMES.get(last, weight if last == "weight" else last)] = jnp.asarray(w, dtype)
    return arrays


def shortcut(x: jax.Array, stride: int) -> jax.Array:
    """The block's input; where the block halves it, every second pixel between zero channels."""
    half = x.shape[-1] // 2
    return x if stride == 1 else jnp.pad(x[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (half, half)))
