"""Weights of JAX networks are shown by name, and replaced in another tree of parameters."""

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="JAX is not installed")
pytest.importorskip("flax", reason="Flax is not installed")

import jax.numpy as jnp
from flax import linen, nnx

import agnoscope as ag
from tests.backends.jax_builder import (
    DENSE,
    KERNEL,
    PARAMS,
    SIZE,
    NnxNet,
    X,
    captured,
    close,
    explained,
    linen_net,
    plain,
)

pytestmark = pytest.mark.jax


class Net(linen.Module):
    @linen.compact
    def __call__(self, x, train=False):
        x = linen.Conv(4, (3, 3), name="z_first")(x)
        x = linen.BatchNorm(use_running_average=not train)(x)
        return linen.Dense(2, name="a_last")(linen.relu(x).mean(axis=(1, 2)))


class Outer(linen.Module):
    @linen.compact
    def __call__(self, x):
        return Net(name="net")(x) * self.param("scale", linen.initializers.ones, (2,))


def scores(model):
    return captured(model, "scores")["scores"]


def test_linen_weights_come_in_the_order_of_their_layers_under_names_that_begin_with_them():
    model = explained(*linen_net(Outer()))
    assert list(model.parameters()) == [
        "scale",
        *("net/z_first.bias", "net/z_first.kernel"),
        *("net/BatchNorm_0.mean", "net/BatchNorm_0.var", "net/BatchNorm_0.bias", "net/BatchNorm_0.scale"),
        *("net/a_last.bias", "net/a_last.kernel"),
    ]
    assert {"net/z_first", "net/BatchNorm_0", "net/a_last"} <= model.layers().keys()


def test_nnx_weights_have_the_names_of_their_paths():
    module = NnxNet(nnx.Rngs(0))
    module.again = module.shared  # tied
    model = explained(module)
    found = model.parameters()
    assert [name for name in found if name.startswith("first.")] == [
        *("first.conv.bias", "first.conv.kernel"),
        *("first.norm.bias", "first.norm.mean", "first.norm.scale", "first.norm.var"),
    ]
    assert sum(name.endswith("kernel") for name in found) == 4
    assert list(found)[-1].startswith("linear.")
    zeros = {"linear.kernel": np.zeros((3, 2)), "linear.bias": np.array([1.0, 2.0])}
    close(scores(model.with_parameters(zeros)), [[1.0, 2.0]] * 2)


def test_a_functions_weights_have_the_names_of_their_places():
    model = explained(plain, PARAMS)
    assert list(model.parameters()) == ["0", "1"]
    doubled = model.with_parameters({"1": 2 * DENSE})
    close(scores(doubled), 2 * scores(model))
    close(model.parameters()["0"], KERNEL)


def test_the_same_weights_give_the_same_scores_and_others_those_of_a_network_that_has_them():
    module, variables = linen_net(Net())
    model = explained(module, variables)
    np.testing.assert_array_equal(scores(model.with_parameters(model.parameters())), scores(model))
    changed = model.with_parameters({"BatchNorm_0.mean": np.full(4, 0.2), "a_last.kernel": np.ones((4, 2))})
    variables["batch_stats"]["BatchNorm_0"]["mean"] = jnp.full(4, 0.2)
    variables["params"]["a_last"]["kernel"] = jnp.ones((4, 2))
    close(scores(changed), module.apply(variables, X))


def test_the_users_network_stays_and_copies_are_written_to_alone():
    module, variables = linen_net(Net())
    before = jax.tree.map(np.array, variables)
    model = ag.wrap(module, variables, input_size=SIZE, labels=["a", "b"])
    first = scores(model)
    copy = model.with_relu("guided").with_parameters({"a_last.bias": np.ones(2)})
    copy.parameters()["a_last.bias"][:] = 7
    assert (copy.rule, copy.labels, copy.spec) == ("guided", ("a", "b"), model.spec)
    np.testing.assert_array_equal(copy.parameters()["a_last.bias"], np.ones(2))
    again = copy.with_parameters({"a_last.kernel": np.zeros((4, 2))})
    np.testing.assert_array_equal(scores(again), np.ones((2, 2)))
    np.testing.assert_array_equal(scores(model), first)
    jax.tree.map(np.testing.assert_array_equal, variables, before)


def test_compiled_programs_are_shared_with_the_copy():
    traces = []

    def program(model, static, images):
        traces.append(static)
        return model.run(images, ("scores",))

    model = explained(plain, PARAMS)
    one, other = (each.compile(program, ())(X)["scores"] for each in (model, model.with_parameters({"1": 2 * DENSE})))
    close(other, 2 * one)
    assert len(traces) == 1


def test_half_precision_comes_as_single_and_goes_back_exactly():
    model = explained(plain, jax.tree.map(lambda w: jnp.asarray(w, jnp.bfloat16), PARAMS))
    found = model.parameters()
    assert found["0"].dtype == np.float32
    np.testing.assert_array_equal(scores(model.with_parameters(found)), scores(model))


def test_double_precision_stays():
    model = explained(plain, tuple(w.astype(np.float64) for w in PARAMS))
    third = np.full(DENSE.shape, 1 / 3)
    np.testing.assert_array_equal(model.with_parameters({"1": third}).parameters()["1"], third)


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"a_last.kernle": 1}, "no weight 'a_last.kernle'.*'a_last.kernel'"), ({"a_last.bias": 1}, r"\(2,\), and \(\)")],
)
def test_unknown_names_and_other_shapes_are_refused(changed, message):
    with pytest.raises(ag.OptionError, match=message):
        explained(*linen_net(Net())).with_parameters(changed)
