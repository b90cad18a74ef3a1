"""Plain functions in JAX: layers by the names that they give, weights that they close over, loops."""

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="JAX is not installed")
pytest.importorskip("flax", reason="Flax is not installed")

import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from tests.backends.jax_builder import DENSE, KERNEL, PARAMS, SIZE, X, captured, close, conv, explained, plain, slopes

pytestmark = pytest.mark.jax


def scoped(params, x):
    with jax.named_scope("stem"):
        with jax.named_scope("conv"):
            x = conv(x, params[0]) + 0.5
        with jax.named_scope("act"):
            x = jax.nn.relu(x)
    x = x.mean(axis=(1, 2))
    with jax.named_scope("head"):
        return jax.vmap(lambda row: row @ params[1])(x)


def named(params, x):
    x = checkpoint_name(conv(x, params[0]) + 0.5, "conv")
    x = checkpoint_name(jax.nn.relu(x), "act")
    return checkpoint_name(x.mean(axis=(1, 2)) @ params[1] + jnp.zeros(3), "head")


@pytest.mark.parametrize("jitted", [False, True], ids=["", "jitted"])
@pytest.mark.parametrize(
    ("function", "layers"),
    [
        (scoped, {"stem/conv": "conv", "stem/act": "relu", "stem": "block", "head": "dense"}),
        (named, {"conv": "conv", "act": "relu", "head": "dense"}),
        (plain, {"conv": "conv", "relu": "relu", "dot": "dense"}),
    ],
)
def test_plain_functions(function, layers, jitted):
    function = jax.jit(function) if jitted else function
    function(PARAMS, X)
    model = explained(function, PARAMS)
    assert {layer.name: layer.kind for layer in model.layers().values()} == layers
    z = np.asarray(conv(X, KERNEL))
    before, after, last = (name for name in layers if layers[name] != "block")
    found = slopes(model, before, after, last)
    bias = 0.0 if function in (plain,) or (jitted and layers.get("dot")) else 0.5  # the bare operation has no bias
    close(found["values"][before], z + bias)
    close(found["values"][after], np.maximum(z + 0.5, 0))
    close(found["values"][last], np.maximum(z + 0.5, 0).mean(axis=(1, 2)) @ DENSE)
    slope = np.broadcast_to(DENSE[:, 0] / np.prod(SIZE), z.shape)
    close(found["layers"][after], slope)
    close(found["layers"][before], slope * (z + 0.5 > 0))


def test_a_scope_entered_again_is_another_use():
    def function(x):
        for _ in range(2):
            with jax.named_scope("mid"):
                x = conv(x, KERNEL)
            x = x[..., :3] * 2
        return x.mean(axis=(1, 2))

    assert list(explained(function).layers()) == ["mid", "mid@1"]


def test_weights_that_a_function_closes_over_become_arguments():
    kernel = jnp.asarray(KERNEL)
    model = explained(jax.jit(lambda x: conv(x, kernel).mean(axis=(1, 2)) @ DENSE))
    close(captured(model, "output")["output"], np.asarray(conv(X, KERNEL)).mean(axis=(1, 2)) @ DENSE)
    captured(model, "output", images=X[:1])
    assert len(model._constants) == 2  # the same ones at both batch sizes

    def constants(names):
        view = model.with_relu("guided")
        view.rule = None
        return jax.make_jaxpr(lambda given: _with(view, given).run(X, names))(((), tuple(model._constants))).consts

    assert not [c for c in constants(("output",)) if np.size(c) > 1 and np.shape(c) != X.shape]


def _with(model, arguments):
    model._arguments = arguments
    return model


@pytest.mark.parametrize("reverse", [False, True])
def test_an_unrolled_scan_computes_what_the_scan_does(reverse):
    def function(x):
        def step(x, row):
            x = checkpoint_name(x * row, "step")
            return x, (x.sum(axis=(1, 2)), row)

        x, (sums, _) = lax.scan(step, x, jnp.arange(1.0, 4.0), reverse=reverse)
        return sums[0] + 10 * sums[1] + 100 * x.mean(axis=(1, 2))

    model = explained(function)
    assert list(model.layers()) == ["step", "step@1", "step@2"]
    found = captured(model, "output", "step", "step@2")
    close(found["output"], function(X))
    close(found["step"], X * (3 if reverse else 1))
    close(found["step@2"], X * 6)
