"""ReLU rules in JAX: every form of a ReLU against its closed form, and what is none."""

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="JAX is not installed")
pytest.importorskip("flax", reason="Flax is not installed")

import jax.numpy as jnp
from flax import linen
from jax import lax

from agnoscope.backends.jax import wrap
from agnoscope.backends.jaxpr import LONGEST_SCAN
from agnoscope.errors import CapabilityError, OptionError
from agnoscope.images import InputSpec
from tests.backends.jax_builder import X, close, explained, linen_net, slopes

pytestmark = pytest.mark.jax

FORMS = {
    "nn.relu": (jax.nn.relu, np.inf),
    "jitted": (jax.jit(jax.nn.relu), np.inf),
    "checkpointed": (jax.checkpoint(jax.nn.relu), np.inf),
    "vmapped": (jax.vmap(jax.nn.relu), np.inf),
    "maximum": (lambda x: jnp.maximum(x, 0), np.inf),
    "maximum turned": (lambda x: jnp.maximum(0.0, x), np.inf),
    "where": (lambda x: jnp.where(x > 0, x, 0), np.inf),
    "where at least": (lambda x: jnp.where(x >= 0, x, 0.0), np.inf),
    "where below": (lambda x: jnp.where(x < 0, 0, x), np.inf),
    "select": (lambda x: lax.select(x > 0, x, jnp.zeros_like(x)), np.inf),
    "clip": (lambda x: jnp.clip(x, 0), np.inf),
    "max of zeros": (lambda x: lax.max(x, jnp.zeros_like(x)), np.inf),
    "times sign": (lambda x: x * (x > 0), np.inf),
    "mean with abs": (lambda x: (x + jnp.abs(x)) / 2, np.inf),
    "relu6": (jax.nn.relu6, 6),
    "clip 6": (lambda x: jnp.clip(x, 0, 6), 6),
    "clamp": (lambda x: lax.clamp(0.0, x, 6.0), 6),
    "minimum of maximum": (lambda x: jnp.minimum(jnp.maximum(x, 0), 6), 6),
    "maximum of minimum": (lambda x: jnp.maximum(jnp.minimum(x, 6.0), 0.0), 6),
    "relu 20": (lambda x: jnp.minimum(jax.nn.relu(x), 20.0), 20),
}
# Values at both ends of the window of a relu6, and beyond.
Z = np.array([-30, -2, -1, 0, 0, 0.5, 3, 6, 6, 7, 25, 1], dtype=np.float32).reshape(1, 2, 2, 3)
WEIGHTS = np.array([1, -2, 3, 1, -1, -1, 2, 1, -1, 3, 2, 1], dtype=np.float32).reshape(2, 2, 3)


def rectified(function):
    """A network whose score is the weighted sum of ReLUs of the pixels."""
    return wrap(
        lambda weights, x: (function(x) * weights).sum(axis=(1, 2, 3))[:, None],
        WEIGHTS,
        InputSpec(size=(2, 2), bounds=(-100, 100)),
        None,
    )


@pytest.mark.parametrize("form", FORMS)
def test_relus_of_every_form_follow_the_rules(form):
    function, top = FORMS[form]
    model = rectified(function)
    g = np.broadcast_to(WEIGHTS, Z.shape)
    inside = (Z > 0) & (top > Z)
    guided = slopes(model.with_relu("guided"), images=Z)
    close(guided["images"], np.maximum(g, 0) * inside)
    close(guided["scores"], (np.clip(Z, 0, top) * g).sum(axis=(1, 2, 3)))
    close(slopes(model.with_relu("deconvnet"), images=Z)["images"], np.maximum(g, 0))
    away = (Z != 0) & (top != Z)
    close(np.where(away, slopes(model, images=Z)["images"], 0), g * inside * away)


def test_the_plain_gradient_stays_that_of_the_framework():
    assert slopes(rectified(lambda x: jnp.maximum(x, 0)), images=Z)["images"][0, 0, 1, 0] == 0.5
    assert slopes(rectified(jax.nn.relu), images=Z)["images"][0, 0, 1, 0] == 0
    assert slopes(rectified(jax.nn.relu6), images=Z)["images"][0, 1, 0, 1] == 0


def test_a_rule_of_ones_own_sees_input_output_and_both_gradients():
    def rule(xp, x, y, g, plain):
        return xp.where(x > 1, y + g, plain)

    g = np.broadcast_to(WEIGHTS, Z.shape)
    expected = np.where(Z > 1, np.clip(Z, 0, 6) + g, g * ((Z > 0) & (Z < 6)))
    close(slopes(rectified(jax.nn.relu6).with_relu(rule), images=Z)["images"], expected)


class Normed(linen.Module):
    kind: type

    @linen.compact
    def __call__(self, x):
        return self.kind()(x)


def crelu(x):
    return jnp.concatenate([jax.nn.relu(x), jax.nn.relu(-x)], axis=-1)


def prelu(x):
    return jax.nn.relu(x) - jnp.asarray(WEIGHTS) * jax.nn.relu(-x)


OTHERS = {
    "hard_silu": jax.nn.hard_silu,
    "hard_sigmoid": jax.nn.hard_sigmoid,
    "hard swish by hand": lambda x: x * jax.nn.relu6(x + 3) / 6,
    "hard sigmoid by hand": lambda x: jnp.clip(0.2 * x + 0.5, 0, 1),
    "clip to 1": lambda x: jnp.clip(x, 0, 1),
    "hard_tanh": jax.nn.hard_tanh,
    "leaky_relu": jax.nn.leaky_relu,
    "leaky by hand": lambda x: jax.nn.relu(x) - 0.3 * jax.nn.relu(-x),
    "prelu": prelu,
    "elu": jax.nn.elu,
    "celu": jax.nn.celu,
    "elu by hand": lambda x: jax.nn.relu(x) + jnp.exp(-jax.nn.relu(-x)) - 1,
    "selu": jax.nn.selu,
    "silu": jax.nn.silu,
    "gelu": jax.nn.gelu,
    "mish": jax.nn.mish,
    "softplus": jax.nn.softplus,
    "softplus by hand": lambda x: jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x))),
    "squareplus": jax.nn.squareplus,
    "abs": jnp.abs,
    "floor": lambda x: jnp.maximum(x, 1e-6),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_relu_is_left_alone(name):
    with pytest.raises(CapabilityError, match=r"'guided' changes the gradient of ReLUs; this network ran none"):
        slopes(rectified(OTHERS[name]).with_relu("guided"), images=Z)


@pytest.mark.parametrize("kind", [linen.LayerNorm, lambda: linen.GroupNorm(3), linen.InstanceNorm])
def test_the_variance_of_a_normalisation_is_no_relu(kind):
    module, variables = linen_net(Normed(kind))
    model = explained(module, variables).with_relu("guided")
    with pytest.raises(CapabilityError, match="ReLU"):
        slopes(model)


def test_relus_beside_a_normalisation_are_the_only_ones_changed():
    @jax.custom_vjp
    def guided(x):
        return jnp.maximum(x, 0)

    guided.defvjp(lambda x: (guided(x), x), lambda x, g: (jnp.where((x > 0) & (g > 0), g, 0),))

    class Mixed(linen.Module):
        relu: object

        @linen.compact
        def __call__(self, x):
            x = self.relu(linen.GroupNorm(2)(linen.Conv(4, (3, 3))(x)))
            x = jax.nn.hard_silu(linen.Conv(4, (3, 3))(x))
            return linen.Dense(2)(linen.LayerNorm()(x).mean(axis=(1, 2)))

    _, variables = linen_net(Mixed(jax.nn.relu))
    expected = jax.jit(jax.grad(lambda x: Mixed(guided).apply(variables, x)[:, 0].sum()))(X)
    found = slopes(explained(Mixed(jax.nn.relu), variables).with_relu("guided"))["images"]
    close(found, expected, 1e-5)
    plain = slopes(explained(Mixed(jax.nn.relu), variables))["images"]
    assert np.abs(found - plain).max() > 1e-3


def test_a_relu_beside_a_skip_is_a_relu():
    g = np.broadcast_to(WEIGHTS, Z.shape)
    found = slopes(rectified(lambda x: x + jax.nn.relu(x)).with_relu("guided"), images=Z)["images"]
    close(found, g + np.maximum(g, 0) * (Z > 0))


def test_a_relu_before_another_activation_is_a_relu():
    g = np.asarray(jax.vjp(jax.nn.gelu, np.maximum(Z, 0))[1](np.broadcast_to(WEIGHTS, Z.shape))[0])
    found = slopes(rectified(lambda x: jax.nn.gelu(jax.nn.relu(x))).with_relu("guided"), images=Z)["images"]
    close(found, np.maximum(g, 0) * (Z > 0))


def test_both_halves_of_a_crelu_are_relus():
    weights = np.concatenate([WEIGHTS, -WEIGHTS], axis=-1)
    model = wrap(
        lambda w, x: (crelu(x) * w).sum(axis=(1, 2, 3))[:, None], weights, InputSpec(size=(2, 2), bounds=(-9, 9)), None
    )
    g = np.broadcast_to(WEIGHTS, Z.shape)
    expected = np.maximum(g, 0) * (Z > 0) - np.maximum(-g, 0) * (Z < 0)
    close(slopes(model.with_relu("guided"), images=Z)["images"], expected)


def test_the_maximum_within_a_clip_counts_where_others_read_it():
    def function(x):
        y = jnp.maximum(x, 0)
        return jnp.minimum(y, 6) + 2 * jnp.sin(y)

    g = np.broadcast_to(WEIGHTS, Z.shape)
    found = slopes(rectified(function).with_relu("deconvnet"), images=Z)["images"]
    close(found, np.maximum(g, 0) + np.maximum(2 * g * np.cos(np.maximum(Z, 0)), 0), 1e-5)


def test_an_error_names_the_activations():
    with pytest.raises(CapabilityError, match=r"\(its activations: gelu_new, tanh\)|gelu|tanh"):
        slopes(rectified(jax.nn.gelu).with_relu("guided"), images=Z)
    with pytest.raises(OptionError, match="'no such rule'"):
        slopes(rectified(jax.nn.relu).with_relu("no such rule"), images=Z)


def test_a_derivative_of_the_users_own_is_kept_under_a_rule():
    @jax.custom_vjp
    def own(x):
        return jax.nn.relu(x)

    own.defvjp(lambda x: (own(x), None), lambda _, g: (g * 7,))
    model = rectified(lambda x: jax.nn.relu(x) + own(x))
    g = np.broadcast_to(WEIGHTS, Z.shape)
    close(slopes(model.with_relu("guided"), images=Z)["images"], np.maximum(g, 0) * (Z > 0) + 7 * g)


@pytest.mark.parametrize(
    "loop",
    [
        lambda x: lax.cond(x.sum() > 0, jax.nn.relu, lambda x: x, x),
        lambda x: lax.while_loop(lambda x: x.sum() < 0, jax.nn.relu, x),
        lambda x: lax.fori_loop(0, LONGEST_SCAN + 1, lambda i, x: jax.nn.relu(x), x),
    ],
    ids=["cond", "while", "long scan"],
)
def test_relus_out_of_reach_are_an_error(loop):
    with pytest.raises(CapabilityError, match="inside a loop or condition"):
        slopes(rectified(lambda x: jax.nn.relu(loop(x))).with_relu("guided"), images=Z)


def test_relus_of_a_short_scan_follow_the_rule():
    model = rectified(lambda x: lax.scan(lambda x, w: (jax.nn.relu(x * w), None), x, jnp.array([1.0, 2.0]))[0])
    g = np.broadcast_to(WEIGHTS, Z.shape)
    close(slopes(model.with_relu("guided"), images=Z)["images"], 2 * np.maximum(g, 0) * (Z > 0))
