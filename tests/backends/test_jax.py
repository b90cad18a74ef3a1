"""The JAX adapter: its programs, what it refuses, precision, threads, Keras on JAX."""

import dataclasses
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="JAX is not installed")
pytest.importorskip("flax", reason="Flax is not installed")

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from agnoscope.backends import jax as backend
from agnoscope.errors import CapabilityError, LayerError, ModelError
from agnoscope.gradients import gradients
from tests.backends.jax_builder import (
    DENSE,
    KERNEL,
    PARAMS,
    SIZE,
    Block,
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
    traces = []

    def program(model, static, images):
        traces.append(static)
        return model.run(images, ("output",))

    model = explained(plain, PARAMS)
    model.compile(program, "first")(X)
    for number in range(backend.PROGRAMS - 1):
        model.compile(program, number)
    model.compile(program, "first")(X)
    model.compile(program, "one more")
    model.compile(program, "first")(X)
    assert traces == ["first"]
    assert len(model._programs) == backend.PROGRAMS


def test_results_are_arrays_that_can_be_written_to():
    output = captured(explained(plain, PARAMS), "output")["output"]
    assert type(output) is np.ndarray
    output[:] = 0


def test_a_run_outside_a_program_is_possible():
    model = explained(plain, PARAMS)
    captured(model, "output")
    close(model.run(jnp.asarray(X), ("relu",))["relu"], captured(model, "relu")["relu"])


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


def test_what_it_is():
    model = explained(*linen_net(Block()))
    assert (model.backend, model.xp, model.dtype) == ("jax", jnp, "float32")
    assert model.can == {"capture", "patch", "gradient", "relu", "weights"}
    assert model.versions["jax"] == jax.__version__
    assert "flax" in model.versions
    assert "flax" not in explained(plain, PARAMS).versions


# -- Keras on JAX -------------------------------------------------------------------------------------------------

KERAS = """
import keras, numpy as np
from keras import layers
from agnoscope.backends.jax import wrap
from agnoscope.backends.jaxpr_patterns import find_relus
from agnoscope.errors import CapabilityError, ModelError
from agnoscope.images import InputSpec
from agnoscope.gradients import gradients

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
assert len(find_relus(seen._trace((1, 6, 5, 3)).graph)) == 3

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

def refused(network, text):
    try:
        wrap(network, None, InputSpec(size=(6, 5)), None)
    except ModelError as error:
        assert text in str(error), error
    else:
        raise AssertionError("it was taken")

refused(layers.Dense(3), "has no weights yet")
keras.config.backend = lambda: "tensorflow"
refused(model, "Keras network on tensorflow, not on JAX")
print("fine")
"""


def test_keras_on_jax():
    if find_spec("keras") is None:
        pytest.skip("Keras is not installed")
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", KERAS], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip().endswith("fine"), done.stderr[-3000:]
