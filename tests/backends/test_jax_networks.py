"""The kinds of networks that JAX knows: names and values of their layers, inference, outputs and heads."""

import dataclasses
from collections import namedtuple

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="JAX is not installed")
pytest.importorskip("flax", reason="Flax is not installed")

import jax.numpy as jnp  # noqa: E402
from flax import linen, nnx  # noqa: E402
from jax import lax  # noqa: E402
from jax.ad_checkpoint import checkpoint_name  # noqa: E402

from agnoscope.backends.jax_layers import TAG  # noqa: E402
from tests.backends.jax_builder import (  # noqa: E402
    DENSE,
    KERNEL,
    PARAMS,
    SIZE,
    Block,
    NnxBlock,
    NnxNet,
    X,
    captured,
    close,
    conv,
    explained,
    linen_net,
    plain,
    slopes,
)

pytestmark = pytest.mark.jax


class Step(linen.Module):
    @linen.compact
    def __call__(self, x, _):
        return Block()(x), None


class Doubled(Block):
    @linen.compact
    def __call__(self, x):
        return 2 * super().__call__(x)


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


@pytest.fixture(scope="module")
def net():
    return linen_net(Net(), train=False)


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


def test_a_module_that_calls_its_parents_call_is_one_layer():
    class Whole(linen.Module):
        @linen.compact
        def __call__(self, x):
            return Doubled(name="doubled")(x) + 1

    module, variables = linen_net(Whole())
    model = explained(module, variables)
    assert list(model.layers()) == ["doubled/Conv_0", "doubled"]
    close(captured(model, "doubled")["doubled"] + 1, module.apply(variables, X))


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


def test_gradients_of_a_batch_are_those_of_its_images(net):
    model = explained(*net)
    together = slopes(model, "norm")
    alone = [slopes(model, "norm", images=x[None]) for x in X]
    close(together["images"], np.concatenate([one["images"] for one in alone]), 2e-6)
    close(together["layers"]["norm"], np.concatenate([one["layers"]["norm"] for one in alone]), 2e-6)


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


def test_nnx_with_weights_and_modules_used_twice():
    class Tied(nnx.Module):
        def __init__(self, rngs):
            self.last, self.first = (nnx.Conv(3, 3, (3, 3), rngs=rngs) for _ in range(2))
            self.first.kernel = self.last.kernel
            self.again = self.first

        def __call__(self, x):
            return self.last(self.again(self.first(x)))

    network = Tied(nnx.Rngs(0))
    model = explained(network)
    assert [layer.kind for layer in model.layers().values()] == ["conv"] * 3
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
