"""Patches in JAX: what flows past them, and batches that they change."""

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="JAX is not installed")
pytest.importorskip("flax", reason="Flax is not installed")

import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from agnoscope.errors import CapabilityError
from tests.backends.jax_builder import DENSE, KERNEL, PARAMS, X, close, conv, explained

pytestmark = pytest.mark.jax


def residual(params, x):
    kernel, dense = params
    x = checkpoint_name(conv(x, kernel), "stem")
    y = checkpoint_name(jax.nn.relu(x), "branch")
    y = checkpoint_name(jnp.concatenate([x + y, x], axis=-1), "joined")
    pooled = y.reshape(len(x), -1, 2 * kernel.shape[-1]).max(axis=1)
    return checkpoint_name(pooled @ jnp.concatenate([dense, -dense]), "head")


def expanding(model, static, images):
    layer, names = static
    return model.run(images, names, {layer: lambda a: model.xp.concat([a * 0, a, a * 2], axis=0)})


def test_a_patch_may_grow_the_batch_although_a_branch_passes_it_by():
    model = explained(residual, PARAMS)
    grown = model.compile(expanding, ("branch", ("scores", "stem", "joined")))(X[:1])
    stem = np.asarray(conv(X[:1], KERNEL))

    def after(scale):
        y = np.concatenate([stem + scale * np.maximum(stem, 0), stem], axis=-1)
        return y, y.reshape(1, -1, 8).max(axis=1) @ np.concatenate([DENSE, -DENSE])

    joined, scores = (np.concatenate(parts) for parts in zip(*(after(scale) for scale in (0, 1, 2)), strict=True))
    close(grown["scores"], scores)
    close(grown["joined"], joined)
    close(grown["stem"], stem)
    several = model.compile(expanding, ("branch", ("scores",)))(X)["scores"]
    single = [model.compile(expanding, ("branch", ("scores",)))(x[None])["scores"] for x in X]
    close(several, np.stack(single, axis=1).reshape(6, 3))  # whole batches, one after the other


def test_a_later_patch_sees_all_images_of_a_grown_batch():
    model, seen = explained(residual, PARAMS), []

    def later(a):
        seen.append(a.shape)
        return a * jnp.arange(3.0)[:, None]

    def program(model, _, images):
        grow = {"branch": lambda a: jnp.concatenate([a, a, a]), "head": later}
        return model.run(images, ("output",), grow)

    output = model.compile(program, None)(X[:1])["output"]
    assert seen == [(3, 3)]
    close(output, np.asarray(residual(PARAMS, X[:1])) * np.arange(3)[:, None])


def test_a_batch_can_be_made_one_again():
    def program(model, _, images):
        return model.run(images, ("output",), {"branch": lambda a: jnp.concatenate([a] * 3), "joined": lambda a: a[:1]})

    close(explained(residual, PARAMS).compile(program, None)(X[:1])["output"], residual(PARAMS, X[:1]))


def test_patches_that_cannot_be_followed_are_refused():
    def shrinking(model, _, images):
        return model.run(images, ("output",), {"stem": lambda a: a[:1]})

    def two(model, _, images):
        grow = {"stem": lambda a: jnp.concatenate([a, a]), "branch": lambda a: jnp.concatenate([a, a])}
        return model.run(images, ("output",), grow)

    model = explained(residual, PARAMS)
    with pytest.raises(CapabilityError, match="batch of 2 into 1 images"):
        model.compile(shrinking, None)(X)
    with pytest.raises(CapabilityError, match="in different ways"):
        model.compile(two, None)(X[:1])
