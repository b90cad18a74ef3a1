"""The small vision transformer in Flax linen; a float64 one is built and run inside `tests.networks.flax.x64`."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.traverse_util import unflatten_dict

from tests.networks.vit import CHANNELS, CLASSES, DEPTH, EPSILON, GRID, HEADS, HIDDEN, PATCH, vit_weights


class Block(nn.Module):
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.dtype}
        y = nn.Dense(3 * CHANNELS, name="qkv", **types)(nn.LayerNorm(EPSILON, name="norm1", **types)(x))
        q, k, v = (part.reshape(*x.shape[:2], HEADS, -1).swapaxes(1, 2) for part in jnp.split(y, 3, axis=-1))
        shares = nn.softmax(q @ k.swapaxes(2, 3) / (CHANNELS // HEADS) ** 0.5)
        x = x + nn.Dense(CHANNELS, name="proj", **types)((shares @ v).swapaxes(1, 2).reshape(x.shape))
        y = nn.Dense(HIDDEN, name="fc1", **types)(nn.LayerNorm(EPSILON, name="norm2", **types)(x))
        return x + nn.Dense(CHANNELS, name="fc2", **types)(nn.gelu(y, approximate=False))


class VisionTransformer(nn.Module):
    leading: int
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.dtype}
        x = nn.Conv(CHANNELS, (PATCH, PATCH), PATCH, name="patches", **types)(x)
        x = x.reshape(len(x), -1, CHANNELS)
        leading = self.param("leading", nn.initializers.zeros, (1, self.leading, CHANNELS), self.dtype)
        places = (1, self.leading + GRID[0] * GRID[1], CHANNELS)
        x = jnp.concatenate([jnp.tile(leading, (len(x), 1, 1)), x], axis=1)
        x = x + self.param("places", nn.initializers.zeros, places, self.dtype)
        for i in range(DEPTH):
            x = Block(self.dtype, name=f"blocks.{i}")(x)
        x = nn.LayerNorm(EPSILON, name="norm", **types)(x)
        return nn.Dense(CLASSES, name="head", **types)(x[:, 0] if self.leading else x.mean(axis=1))


def vit(leading: int, dtype: str = "float32") -> tuple[nn.Module, dict[str, Any]]:
    """The network and its variables, for `module.apply(variables, images)`."""
    arrays = {}
    for name, array in vit_weights(leading).items():
        layer, _, last = name.rpartition(".")
        block, _, inner = layer.rpartition(".")  # "blocks.1" is one module, "qkv" another in it
        path = (block, inner, last) if block else (last,) if layer == "tokens" else (layer, last)
        arrays[path] = jnp.asarray(array, dtype)
    return VisionTransformer(leading, dtype), {"params": unflatten_dict(arrays)}
