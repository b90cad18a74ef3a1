"""The JAX adapter: every kind of network, names of layers, captures, patches, ReLU rules and compilation."""

import dataclasses
import os
import subprocess
import sys
import threading
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="JAX is not installed")
pytest.importorskip("flax", reason="Flax is not installed")

import jax.numpy as jnp  # noqa: E402
from flax import linen, nnx  # noqa: E402
from jax import lax  # noqa: E402
from jax.ad_checkpoint import checkpoint_name  # noqa: E402

from agnoscope.backends import jax as backend  # noqa: E402
from agnoscope.backends.jax import wrap  # noqa: E402
from agnoscope.backends.jax_layers import TAG  # noqa: E402
from agnoscope.backends.jaxpr import LONGEST_SCAN  # noqa: E402
from agnoscope.errors import CapabilityError, LayerError, ModelError, OptionError  # noqa: E402
from agnoscope.images import InputSpec  # noqa: E402
from agnoscope.model import gradients  # noqa: E402

pytestmark = pytest.mark.jax

SIZE = (6, 5)
SPEC = InputSpec(size=SIZE)
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


class Step(linen.Module):
    @linen.compact
    def __call__(self, x, _):
        return Block()(x), None


class Net(linen.Module):
    """Nested, shared, jitted, checkpointed and scanned modules; dropout and batch statistics."""

    @linen.compact
    def __call__(self, x, train):
        x = Block(name="plain")(x)
        shared = linen.Conv(4, (3, 3), name="shared")
        x = shared(linen.tanh(shared(x)))
        x = linen.jit(Block)(name="jitted")(x)
        x = linen.remat(Block)(name="checkpointed")(x)
        scan = linen.scan(Step, variable_axes={"params": 0, "intermediates": 0}, split_rngs={"params": True}, length=2)
        x, _ = scan(name="scanned")(x, None)
        x = linen.BatchNorm(use_running_average=not train, name="norm")(x)
        x = linen.Dropout(0.5, deterministic=not train)(x)
        return linen.Dense(3, name="head")(x.mean(axis=(1, 2)))


def linen_net(module=None, **kwargs):
    module = module or Net()
    variables = jax.jit(lambda key: module.init(key, X, **kwargs))(jax.random.key(0))
    noise = np.random.default_rng(1)
    return module, jax.tree.map(lambda w: w + 0.1 * noise.uniform(size=w.shape).astype(np.float32), variables)


@pytest.fixture(scope="module")
def net():
    return linen_net(train=False)


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


KERNEL = np.random.default_rng(2).normal(size=(3, 3, 3, 4)).astype(np.float32)
DENSE = np.random.default_rng(3).normal(size=(4, 3)).astype(np.float32)


def conv(x, kernel):
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def plain(params, x):
    kernel, dense = params
    x = conv(x, kernel) + 0.5
    return jax.nn.relu(x).mean(axis=(1, 2)) @ dense


PARAMS = (KERNEL, DENSE)


# -- linen --------------------------------------------------------------------------------------------------------


def test_linen_layers_have_their_paths_kinds_and_types(net):
    model = explained(*net)
    block = [("Conv_0", "conv", "Conv"), ("", "block", "Block")]

    def named(path, inner, type_name=None):
        return [(f"{path}/{n}".rstrip("/"), kind, type_name or t) for n, kind, t in inner]

    layers = [(layer.name, layer.kind, layer.type) for layer in model.layers().values()]
    assert layers == [
        *named("plain", block),
        ("shared", "conv", "Conv"),
        ("shared@1", "conv", "Conv"),
        *named("jitted", block),
        *named("checkpointed", block),
        ("scanned/Block_0/Conv_0", "conv", "Conv"),
        ("scanned/Block_0", "block", "Block"),
        ("scanned", "block", "Step"),
        ("scanned/Block_0/Conv_0@1", "conv", "Conv"),
        ("scanned/Block_0@1", "block", "Block"),
        ("scanned@1", "block", "Step"),
        ("norm", "norm", "BatchNorm"),
        ("Dropout_0", "other", "Dropout"),
        ("head", "dense", "Dense"),
    ]
    assert model.layers()["plain"].shape == (*SIZE, 4)
    assert model.last_map().name == "Dropout_0"


def test_captures_equal_linens_own(net):
    module, variables = net
    model = explained(module, variables)
    _, state = module.apply(variables, X, train=False, capture_intermediates=True, mutable=["intermediates"])
    found = captured(model, *model.layers())
    taken = set()
    for path, calls in jax.tree.flatten_with_path(state["intermediates"], is_leaf=lambda leaf: isinstance(leaf, tuple))[
        0
    ]:
        *names, _ = [key.key for key in path]
        name, use = "/".join(names), 0
        for call in calls:
            # linen stacks the steps of a scan, where each is a use of its own here
            array = call if hasattr(call, "shape") else call[0]
            for value in array if array.ndim == 5 else [array]:
                if name:
                    label = f"{name}@{use}" if use else name
                    close(found[label], value)
                    taken.add(label)
                use += 1
    assert taken == set(found)


def test_the_gradient_at_a_layer_equals_jax_grad(net):
    module, variables = net
    at = ("plain/Conv_0", "shared", "shared@1", "jitted/Conv_0", "scanned@1", "norm")
    model = explained(module, variables)
    found = slopes(model, *at)

    def total(taps, x):
        uses = {}

        def intercept(call, args, kwargs, context):
            y = call(*args, **kwargs)
            name = "/".join(context.module.path)
            if context.method_name != "__call__":
                return y
            use = uses[name] = uses.get(name, -1) + 1
            name = f"{name}@{use}" if use else name
            return y + taps[name] if name in taps else y

        with linen.intercept_methods(intercept):
            return module.apply(variables, x, train=False)[:, 0].sum()

    outside = [name for name in at if not name.startswith("scanned")]  # in a scan the tap would serve both steps
    taps = {name: jnp.zeros_like(found["layers"][name]) for name in outside}
    layers, images = jax.jit(jax.grad(total, argnums=(0, 1)))(taps, X)
    close(found["images"], images, 2e-6)
    for name in outside:
        close(found["layers"][name], layers[name], 2e-6)
    close(found["scores"], module.apply(variables, X, train=False)[:, 0])
    # After the last step of the scan there are only the norm and the head.
    mean, rest = variables["batch_stats"]["norm"], variables["params"]
    scale = rest["norm"]["scale"] / np.sqrt(mean["var"] + 1e-5) * rest["head"]["kernel"][:, 0] / np.prod(SIZE)
    close(found["layers"]["scanned@1"], np.broadcast_to(scale, (2, *SIZE, 4)), 1e-5)


def test_images_are_prepared_inside(net):
    module, variables = net
    model = explained(module, variables, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7), channels="BGR")

    @jax.jit
    def total(x):
        return module.apply(variables, (x[..., ::-1] - np.array([0.1, 0.2, 0.3])) / np.array([0.5, 0.6, 0.7]), False)

    close(captured(model, "output")["output"], total(X), 2e-6)
    close(slopes(model)["images"], jax.jit(jax.grad(lambda x: total(x)[:, 0].sum()))(X), 5e-6)


def test_bare_params_are_variables_too():
    module, variables = linen_net(Block())
    close(captured(explained(module, variables["params"]), "output")["output"], module.apply(variables, X))


@pytest.mark.parametrize(
    ("argument", "default", "passed"),
    [
        ("train", True, False),
        ("training", None, None),
        ("deterministic", False, True),
        ("deterministic", None, None),
        ("use_running_average", True, True),
        ("train", dataclasses.MISSING, False),
    ],
)
def test_modules_run_for_inference(argument, default, passed):
    seen = []
    value = "" if default is dataclasses.MISSING else f"={default}"
    space = {"seen": seen}
    exec(f"def call(self, x, {argument}{value}):\n    seen.append({argument})\n    return x", space)
    kind = type("Module", (linen.Module,), {"__call__": linen.compact(space["call"])})
    explained(kind(), {}).outline()
    assert set(seen) == {passed}


@pytest.mark.skipif(not hasattr(jax, "make_user_context"), reason="this JAX hands out traces from its cache")
def test_what_the_user_jitted_before_is_seen():
    class Jitted(linen.Module):
        @linen.compact
        def __call__(self, x):
            return linen.jit(Block)(name="a")(x)

    module, variables = linen_net(Jitted())
    apply = jax.jit(module.apply)
    apply(variables, X[:1])  # now JAX has a trace without tags
    assert list(explained(apply, variables).layers()) == ["a/Conv_0", "a"]
    assert TAG not in str(jax.make_jaxpr(apply)(variables, X[:1]))  # and the user's traces have none now


# -- nnx ----------------------------------------------------------------------------------------------------------


def test_nnx_in_training_mode_is_explained_in_evaluation_mode():
    network = NnxNet(nnx.Rngs(0))
    network.train()
    before = nnx.split(network)
    model = explained(network)
    assert list(model.layers()) == [
        *("first.conv", "first.norm", "first.drop", "first", "second.conv", "second.norm", "second.drop", "second"),
        *("shared", "shared@1", "first.conv@1", "first.norm@1", "first.drop@1", "first@1", "linear"),
    ]
    found = captured(model, "output", "second.norm")
    slopes(model, "first@1")
    after = nnx.split(network)
    assert before[0] == after[0]
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), before[1], after[1]))
    assert type(network.first) is NnxBlock
    assert not hasattr(network.first, "agnoscope_path")
    network.eval()
    close(found["output"], network(X))
    close(found["second.norm"], network.second.norm(network.second.conv(network.first(X))))


def test_an_nnx_network_trained_further_is_explained_as_it_is_now():
    network = NnxNet(nnx.Rngs(0))
    model = explained(network)
    captured(model, "output")
    kernel = network.linear.kernel
    kernel[...] = kernel[...] * 2
    network.eval()
    close(captured(model, "output")["output"], network(X))


def test_nnx_without_pytree():
    class Part(nnx.Module, **({"pytree": False} if hasattr(nnx, "Pytree") else {})):
        def __init__(self, rngs):
            self.conv = nnx.Conv(3, 3, (3, 3), rngs=rngs)

        def __call__(self, x):
            return self.conv(x)

    class Whole(nnx.Module, **({"pytree": False} if hasattr(nnx, "Pytree") else {})):
        def __init__(self, rngs):
            self.part = Part(rngs)

        def __call__(self, x):
            return nnx.jit(lambda part, x: part(x))(self.part, x)

    network = Whole(nnx.Rngs(0))
    assert list(explained(network).layers()) == ["part.conv", "part"]


# -- plain functions ----------------------------------------------------------------------------------------------


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


# -- outputs and heads --------------------------------------------------------------------------------------------

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


# -- ReLUs --------------------------------------------------------------------------------------------------------

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


# -- what cannot be captured --------------------------------------------------------------------------------------


def test_a_layer_inside_a_condition_is_reported():
    def function(x):
        x = checkpoint_name(conv(x, KERNEL), "seen")
        return lax.cond(x.sum() > 0, lambda x: checkpoint_name(x * 2, "hidden"), lambda x: x, x)

    model = explained(function)
    assert list(model.layers()) == ["seen"]
    assert model.outline().notes == (
        "The layer 'hidden' runs inside 'cond', where it can be neither captured nor patched.",
    )
    with pytest.raises(LayerError, match="'hidden' runs inside a loop or condition"):
        captured(model, "hidden")
    with pytest.raises(LayerError, match=r"'sen' did not run.*'seen'"):
        captured(model, "sen")


@pytest.mark.parametrize(
    ("network", "params", "message"),
    [
        (Block(), None, r"give wrap\(module, variables\)"),
        (NnxNet(nnx.Rngs(0)), {"a": 1}, "holds its own parameters"),
        ("a network", None, "A str is no network for JAX"),
        (lambda x: "nothing", None, "returned a str without an array"),
        (lambda x: x.sum(), None, "its first axis must be the images"),
        (lambda x: x @ DENSE, None, r"does not run on images of shape \(1, 6, 5, 3\)"),
    ],
)
def test_networks_that_are_refused(network, params, message):
    with pytest.raises(ModelError, match=message):
        explained(network, params).outline()


# -- patches ------------------------------------------------------------------------------------------------------


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


def test_gradients_of_a_batch_are_those_of_its_images(net):
    model = explained(*net)
    together = slopes(model, "norm")
    alone = [slopes(model, "norm", images=x[None]) for x in X]
    close(together["images"], np.concatenate([one["images"] for one in alone]), 2e-6)
    close(together["layers"]["norm"], np.concatenate([one["layers"]["norm"] for one in alone]), 2e-6)


# -- compilation --------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Options:
    layer: str = "relu"
    scale: float = 2.0


def test_equal_options_and_other_classes_do_not_compile_again():
    traces = []

    def program(model, options, images, arrays):
        traces.append(options)
        xp = model.xp

        def score(xp, values):
            chosen = xp.arange(3)[None, :] == arrays["index"][:, None]
            return xp.sum(xp.where(chosen, values["scores"], 0), axis=1)

        found = gradients(model, images, score, needs=("scores",), at=(options.layer,))
        return {"map": options.scale * xp.sum(found.layers[options.layer], axis=-1)}

    model = explained(plain, PARAMS)
    for image in np.random.default_rng(0).uniform(size=(10, 1, *SIZE, 3)):  # float64, which is cast
        for index in (0, 1, np.int64(2), np.uint8(1), 0):
            model.compile(program, Options())(image, {"index": np.array([index])})
    assert len(traces) == 1
    model.with_relu("guided").compile(program, Options())(X, {"index": np.array([0, 0])})
    model.compile(program, Options(scale=1.0))(X, {"index": np.array([0, 0])})
    assert len(traces) == 3


def test_only_so_many_programs_are_kept():
    model = explained(plain, PARAMS)
    first = model.compile(capturing, ("output",))
    for number in range(backend.PROGRAMS - 1):
        model.compile(capturing, number)
    assert model.compile(capturing, ("output",)) is first
    model.compile(capturing, "one more")
    assert model.compile(capturing, ("output",)) is first
    assert len(model._programs) == backend.PROGRAMS


def test_results_are_arrays_that_can_be_written_to():
    output = captured(explained(plain, PARAMS), "output")["output"]
    assert type(output) is np.ndarray
    output[:] = 0


def test_an_error_inside_a_program_comes_out_as_it_was_raised():
    error = CapabilityError("ours")

    def program(model, _, images):
        raise error

    with pytest.raises(CapabilityError) as caught:
        explained(plain, PARAMS).compile(program, None)(X)
    assert caught.value is error


def test_a_program_may_come_before_the_outline():
    kernel = jnp.asarray(KERNEL)
    model = explained(lambda x: jax.nn.softmax(conv(x, kernel).mean(axis=(1, 2))))
    found = slopes(model, "conv")  # the outline is made while the program is traced
    close(found["values"]["conv"], conv(X, KERNEL))


def test_threads_do_not_meet():
    network = NnxNet(nnx.Rngs(0))
    network.train()
    state = jax.tree.map(np.asarray, jax.tree.leaves(nnx.state(network, nnx.Param)))
    models = [explained(network), explained(*linen_net(Block()))]
    rules = [None, "guided", "deconvnet", None] * 2
    start = threading.Barrier(len(rules))

    def job(index):
        start.wait()
        rule = rules[index]
        return [slopes(model if rule is None else model.with_relu(rule))["images"] for model in models]

    with ThreadPoolExecutor(len(rules)) as pool:
        found = list(pool.map(job, range(len(rules))))
    for k, model in enumerate(models):
        for rule, images in zip(rules, found, strict=True):
            close(images[k], slopes(model if rule is None else model.with_relu(rule))["images"], 1e-5)
    assert jax.tree.all(jax.tree.map(np.array_equal, state, jax.tree.leaves(nnx.state(network, nnx.Param))))
    assert not network.first.drop.deterministic


# -- precision ----------------------------------------------------------------------------------------------------


def test_a_float64_network_is_explained_in_float64():
    params = tuple(w.astype(np.float64) for w in PARAMS)
    model = explained(plain, params, mean=0.1)
    assert model.dtype == "float64"
    found = slopes(model, "relu", images=X.astype(np.float64))
    assert {found["scores"].dtype, found["images"].dtype, found["layers"]["relu"].dtype} == {np.dtype("float64")}
    assert not jax.config.jax_enable_x64
    assert jnp.zeros(1).dtype == np.float32
    z = sum(  # the convolution at one pixel inside
        ((X[0, 1 + i : 2 + i, 1 + j : 2 + j].astype(np.float64) - 0.1) @ params[0][i, j]).ravel()
        for i in range(3)
        for j in range(3)
    )
    close(found["values"]["relu"][0, 2, 2], np.maximum(z + 0.5, 0), 1e-13)


def test_a_network_in_half_precision_keeps_it_inside():
    params = jax.tree.map(lambda w: jnp.asarray(w, jnp.bfloat16), PARAMS)
    model = explained(plain, params)
    assert model.dtype == "float32"
    found = slopes(model, "relu")
    close(found["scores"], plain(params, jnp.asarray(X, jnp.bfloat16)).astype(np.float32)[:, 0], 1e-2)
    assert {found["scores"].dtype, found["images"].dtype, found["values"]["relu"].dtype} == {np.dtype("float32")}

    def doubled(model, _, images):
        return model.run(images, ("conv@1",), {"relu": lambda a: a.astype(np.float32) * 2})

    twice = explained(lambda kernel, x: conv(jax.nn.relu(conv(x, kernel))[..., :3], kernel), params[0])
    z = np.asarray(conv(jnp.asarray(X, jnp.bfloat16), params[0]), np.float32)
    expected = conv(2 * np.maximum(z, 0)[..., :3], np.asarray(params[0], np.float32))
    close(twice.compile(doubled, None)(X)["conv@1"], expected, 2e-2)


def test_what_it_is(net):
    model = explained(*net)
    assert (model.backend, model.xp, model.dtype) == ("jax", jnp, "float32")
    assert model.can == {"capture", "patch", "gradient", "relu"}
    assert model.versions["jax"] == jax.__version__
    assert "flax" in model.versions
    assert "flax" not in explained(plain, PARAMS).versions


# -- Keras on JAX -------------------------------------------------------------------------------------------------

KERAS = """
import keras, numpy as np
from keras import layers
from agnoscope.backends.jax import wrap
from agnoscope.errors import CapabilityError
from agnoscope.images import InputSpec
from agnoscope.model import gradients

inner = keras.Sequential([layers.Conv2D(4, 3, padding="same", activation="relu", name="conv"),
                          layers.BatchNormalization(name="norm")], name="inner")
shared = layers.Conv2D(4, 3, padding="same", name="shared")
images = keras.Input((6, 5, 3))
x = shared(shared(inner(images)))
x = layers.Dropout(0.5)(layers.Activation("relu", name="act")(x))
x = shared(layers.ReLU(max_value=6, name="relu6")(x))
x = layers.Add(name="sum")([layers.PReLU(name="prelu")(x), layers.LeakyReLU(name="leaky")(x)])
x = layers.GlobalAveragePooling2D(name="pool")(x)
model = keras.Model(images, layers.Dense(3, activation="softmax", name="head")(x), name="net")
x = np.random.default_rng(0).uniform(size=(2, 6, 5, 3)).astype(np.float32)

def state():
    return [[np.array(v.value) for v in model.variables], [dict(vars(layer)) for layer in model._flatten_layers()]]

before = state()
inner.layers[0]._losses.append("of the last call")

seen = wrap(model, None, InputSpec(size=(6, 5)), None)
found = [(layer.name, layer.kind) for layer in seen.layers().values()]
assert found == [("inner/conv", "conv"), ("inner/norm", "norm"), ("inner", "block"), ("shared", "conv"),
                 ("shared@1", "conv"), ("act", "relu"), ("relu6", "relu"), ("shared@2", "conv"),
                 ("prelu", "activation"), ("leaky", "activation"), ("sum", "add"), ("pool", "pool"),
                 ("head", "dense")], found
assert seen.outline().head == "softmax" and "keras" in seen.versions

def program(model, _, images):
    found = gradients(model, images, lambda xp, values: values["scores"][:, 0], needs=("scores",), at=("shared@1",),
                      capture=("output", "inner", "shared@1", "act"), wrt_images=True)
    return {**found.values, "slope": found.layers["shared@1"], "images": found.images}

found = seen.compile(program, None)(x)
guided = seen.with_relu("guided").compile(program, None)(x)
after = state()
assert inner.layers[0]._losses == ["of the last call"]
assert all(map(np.array_equal, before[0], after[0])) and before[1] == after[1]
np.testing.assert_allclose(found["output"], model(x, training=False), atol=1e-6)
np.testing.assert_allclose(found["inner"], inner(x, training=False), atol=1e-6)
np.testing.assert_allclose(found["shared@1"], shared(shared(inner(x))), atol=1e-6)
np.testing.assert_allclose(found["act"], np.maximum(found["shared@1"], 0), atol=1e-6)
assert np.abs(guided["images"] - found["images"]).max() > 0

head = model.get_layer("head")
head.kernel.assign(head.kernel * 2)
np.testing.assert_allclose(seen.compile(program, None)(x)["output"], model(x, training=False), atol=1e-6)

leaky = keras.Sequential([keras.Input((6, 5, 3)), layers.PReLU(), layers.LeakyReLU(), layers.ReLU(negative_slope=0.2)])
try:
    wrap(leaky, None, InputSpec(size=(6, 5)), None).with_relu("guided").compile(
        lambda model, _, images: model.run(images, ("output",)), None)(x)
except CapabilityError as error:
    assert "leaky_relu" in str(error), error
else:
    raise AssertionError("leaky ReLUs were taken for ReLUs")
print("fine")
"""


def test_keras_on_jax():
    if find_spec("keras") is None:
        pytest.skip("Keras is not installed")
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", KERAS], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip().endswith("fine"), done.stderr[-3000:]
