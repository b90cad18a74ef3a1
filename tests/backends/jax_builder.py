"""What the tests of the JAX adapter share: little networks, the programs that look into them, a comparison."""

import jax
import numpy as np
from flax import linen, nnx
from jax import lax

from agnoscope.backends.jax import wrap
from agnoscope.gradients import gradients
from agnoscope.images import InputSpec

SIZE = (6, 5)
X = np.random.default_rng(0).uniform(size=(2, *SIZE, 3)).astype(np.float32)


def explained(network, params=None, **spec):
    return wrap(network, params, InputSpec(**{"size": SIZE, **spec}), None)


def close(found, expected, tolerance=1e-6):
    expected = np.asarray(expected)
    assert np.shape(found) == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * max(np.abs(expected).max(), 1e-12))


# -- programs -----------------------------------------------------------------------------------------------------


def capturing(model, names, images):
    return model.run(images, names)


def first_score(xp, values):
    scores = values["scores"]
    return xp.reshape(scores, (scores.shape[0], -1))[:, 0]


def sloping(model, at, images):
    found = gradients(model, images, first_score, needs=("scores",), at=at, capture=at, wrt_images=True)
    return {"scores": found.scores, "images": found.images, "layers": found.layers, "values": found.values}


def captured(model, *names, images=X):
    return model.compile(capturing, names)(images)


def slopes(model, *at, images=X):
    return model.compile(sloping, at)(images)


# -- networks -----------------------------------------------------------------------------------------------------


class Block(linen.Module):
    features: int = 4

    @linen.compact
    def __call__(self, x):
        return linen.relu(linen.Conv(self.features, (3, 3))(x))


def linen_net(module, **kwargs):
    variables = jax.jit(lambda key: module.init(key, X, **kwargs))(jax.random.key(0))
    noise = np.random.default_rng(1)
    return module, jax.tree.map(lambda w: w + 0.1 * noise.uniform(size=w.shape).astype(np.float32), variables)


KERNEL = np.random.default_rng(2).normal(size=(3, 3, 3, 4)).astype(np.float32)
DENSE = np.random.default_rng(3).normal(size=(4, 3)).astype(np.float32)


def conv(x, kernel):
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def plain(params, x):
    kernel, dense = params
    x = conv(x, kernel) + 0.5
    return jax.nn.relu(x).mean(axis=(1, 2)) @ dense


PARAMS = (KERNEL, DENSE)


class NnxBlock(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(3, 3, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(3, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.drop(nnx.relu(self.norm(self.conv(x))))


class NnxNet(nnx.Module):
    def __init__(self, rngs):
        self.first, self.second = NnxBlock(rngs), NnxBlock(rngs)
        self.shared = nnx.Conv(3, 3, (3, 3), rngs=rngs)
        self.linear = nnx.Linear(3, 2, rngs=rngs)

    def __call__(self, x):
        x = self.shared(self.shared(self.second(self.first(x))))
        x = nnx.jit(lambda part, x: part(x))(self.first, x)
        return self.linear(x.mean(axis=(1, 2)))
