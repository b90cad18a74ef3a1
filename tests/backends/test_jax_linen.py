"""Networks in Flax linen: names and values of their layers, gradients, inference."""

import dataclasses

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="JAX is not installed")
pytest.importorskip("flax", reason="Flax is not installed")

import jax.numpy as jnp
from flax import linen

from agnoscope.backends.jax_layers import TAG
from tests.backends.jax_builder import SIZE, Block, X, captured, close, explained, linen_net, slopes

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
