"""What JAX networks answer: outputs of every form, and the heads that are found in them."""

import dataclasses
from collections import namedtuple

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="JAX is not installed")
pytest.importorskip("flax", reason="Flax is not installed")

import jax.numpy as jnp
from flax import linen

from tests.backends.jax_builder import (
    DENSE,
    KERNEL,
    PARAMS,
    SIZE,
    X,
    captured,
    close,
    conv,
    explained,
    linen_net,
    plain,
)

pytestmark = pytest.mark.jax

Pair = namedtuple("Pair", "features logits")


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Answer:
    features: jax.Array
    logits: jax.Array


@dataclasses.dataclass
class Unregistered:
    scores: jax.Array
    name: str = "not an array"


@pytest.mark.parametrize(
    "form",
    [
        lambda a, b: b,
        lambda a, b: (b, a),
        lambda a, b: [None, (b,), a],
        lambda a, b: {"anything": b},
        lambda a, b: {"features": a, "logits": b},
        Pair,
        Answer,
        lambda a, b: Unregistered(b),
    ],
)
def test_outputs_of_every_form(form):
    model = explained(lambda params, x: form(conv(x, params[0]), plain(params, x)), PARAMS)
    close(captured(model, "output")["output"], plain(PARAMS, X))


def shifted(z):
    powers = jnp.exp(z - z.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize(
    ("head", "known"),
    [
        (jax.nn.softmax, "softmax"),
        (jax.jit(jax.nn.softmax), "softmax"),
        (jax.nn.log_softmax, "softmax"),
        (shifted, "softmax"),
        (lambda z: jnp.exp(z) / jnp.exp(z).sum(axis=-1, keepdims=True), "softmax"),
        (lambda z: jnp.exp(z - jax.nn.logsumexp(z, axis=-1, keepdims=True)), "softmax"),
        (lambda z: jax.nn.softmax(z.astype(jnp.bfloat16)).astype(jnp.float32), "softmax"),
        (jax.nn.sigmoid, "sigmoid"),
        (lambda z: 1 / (1 + jnp.exp(-z)), "sigmoid"),
        (jax.nn.log_sigmoid, "sigmoid"),
        (lambda z: z, "linear"),
        (lambda z: z * 2 + 1, "linear"),
        (jnp.tanh, "linear"),
        (lambda z: jax.nn.softmax(z, axis=0), "linear"),
    ],
)
def test_heads(head, known):
    model = explained(lambda params, x: head(plain(params, x)), PARAMS)
    assert model.outline().head == known
    assert model.outline().scores == (3,)
    found = captured(model, "scores", "output")
    scores = np.asarray(plain(PARAMS, X))
    close(found["output"], head(scores), 1e-2 if known == "softmax" else 1e-6)
    if known != "linear":
        close(found["scores"], scores, 1e-2 if "bfloat16" in str(jax.make_jaxpr(head)(scores)) else 1e-6)


def test_a_softmax_over_each_pixel_and_a_single_sigmoid():
    pixels = explained(lambda params, x: jax.nn.softmax(conv(x, params)), KERNEL)
    assert (pixels.outline().head, pixels.outline().scores) == ("softmax", (*SIZE, 4))
    single = explained(lambda params, x: jax.nn.sigmoid(plain((KERNEL, params), x)), DENSE[:, :1])
    assert (single.outline().head, single.outline().scores) == ("sigmoid", (1,))


def test_a_patch_of_the_last_layer_moves_the_scores():
    class Classifier(linen.Module):
        @linen.compact
        def __call__(self, x):
            return linen.softmax(linen.Dense(3, name="head")(x.mean(axis=(1, 2))))

    model = explained(*linen_net(Classifier()))
    run = model.compile(lambda model, _, x: model.run(x, ("scores", "output"), {"head": lambda a: a * 0 + 1}), None)
    close(run(X)["scores"], np.ones((2, 3)))
    close(run(X)["output"], np.full((2, 3), 1 / 3))
