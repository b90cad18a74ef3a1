"""JAX networks with several inputs: all but the image are bound."""

import os
import subprocess
import sys

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="JAX is not installed")
pytest.importorskip("flax", reason="Flax is not installed")

import jax.numpy as jnp
from flax import linen, nnx

import agnoscope as ag
from tests.backends.jax_builder import SIZE, X, captured, close, explained, slopes

pytestmark = pytest.mark.jax

META = np.array([0.3, -2.0])
OTHER = np.array([1.0, 0.5])
BESIDE, WEIGHTS = np.random.default_rng(4).normal(size=(2, 2)), np.random.default_rng(5).normal(size=(5, 3))
EXPECTED = np.concatenate([X.mean(axis=(1, 2)), np.tile(META @ BESIDE, (2, 1))], axis=1) @ WEIGHTS


def joined(image, meta):
    return jnp.concatenate([image.mean(axis=(1, 2)), meta], axis=1)


def function(params, image, meta):
    beside = jax.named_scope("beside")(lambda m: m @ params["beside"])(meta)
    return joined(image, beside) @ params["weights"]


PARAMS = {"beside": BESIDE.astype(np.float32), "weights": WEIGHTS.astype(np.float32)}


class Linen(linen.Module):
    @linen.compact
    def __call__(self, image, train, meta):
        beside = linen.Dense(2, use_bias=False, name="beside")(meta)
        return linen.Dense(3, use_bias=train, name="weights")(joined(image, beside))


class Nnx(nnx.Module):
    def __init__(self):
        self.beside = nnx.Linear(2, 2, use_bias=False, rngs=nnx.Rngs(0))
        self.weights = nnx.Linear(5, 3, use_bias=False, rngs=nnx.Rngs(0))
        self.beside.kernel.set_value(jnp.asarray(PARAMS["beside"]))
        self.weights.kernel.set_value(jnp.asarray(PARAMS["weights"]))

    def __call__(self, image, *, meta):
        return self.weights(joined(image, self.beside(meta)))


def kinds():
    yield "function", (function, PARAMS)
    yield "function alone", (lambda image, meta: function(PARAMS, image, meta), None)
    yield "jitted", (jax.jit(function), PARAMS)
    yield "linen", (Linen(), {name: {"kernel": array} for name, array in PARAMS.items()})
    yield "nnx", (Nnx(), None)


KINDS = dict(kinds())


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_the_network_with_the_same_numbers_beside_each_image(kind):
    model = explained(*KINDS[kind]).bind(meta=META)
    close(captured(model, "scores")["scores"], EXPECTED)
    close(captured(model, "scores", images=X[:1])["scores"], EXPECTED[:1])


def test_other_arrays_of_the_same_shape_share_the_program_and_not_the_result():
    traces = []

    def program(model, static, images):
        traces.append(static)
        return model.run(images, ("scores",))

    model = explained(function, PARAMS)
    one, other, again = (model.bind(meta=meta).compile(program, ())(X)["scores"] for meta in (META, OTHER, META))
    close(one, EXPECTED)
    close(other, np.concatenate([X.mean(axis=(1, 2)), np.tile(OTHER @ BESIDE, (2, 1))], axis=1) @ WEIGHTS)
    np.testing.assert_array_equal(one, again)
    assert len(traces) == 1


def test_layers_beside_the_image_are_seen_and_have_gradients():
    model = explained(*KINDS["linen"]).bind(meta=META)
    assert list(model.layers()) == ["beside", "weights"]
    assert model.layers()["beside"].shape == (2,)
    close(slopes(model, "beside")["layers"]["beside"], np.tile(WEIGHTS[3:, 0], (2, 1)))


@pytest.mark.parametrize(("bound", "factor"), [("right", 1), ("left", 2)])
def test_either_of_two_images_can_be_explained(bound, factor):
    model = explained(lambda left, right: (left + 2 * right).mean(axis=(1, 2))).bind(**{bound: np.zeros((*SIZE, 3))})
    close(slopes(model)["images"][..., 0], np.full((2, *SIZE), factor / np.prod(SIZE)))


def test_whole_numbers_stay_whole_and_float64_networks_get_float64():
    model = explained(lambda image, place: jnp.take_along_axis(image.mean(axis=(1, 2)), place, axis=1))
    close(captured(model.bind(place=np.array([2, 0])), "scores")["scores"], X.mean(axis=(1, 2))[:, [2, 0]])
    wide = explained(function, {"beside": BESIDE, "weights": WEIGHTS}).bind(meta=META)
    found = captured(wide, "scores", images=X.astype(np.float64))["scores"]
    assert found.dtype == np.float64
    exact = np.concatenate([X.astype(np.float64).mean(axis=(1, 2)), np.tile(META @ BESIDE, (2, 1))], axis=1) @ WEIGHTS
    close(found, exact, 1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_bound_is_asked_for_by_name(kind):
    model = explained(*KINDS[kind])
    for run in (model.layers, lambda: captured(model, "scores")):
        with pytest.raises(ag.OptionError, match=r"inputs image, meta.*model\.bind\(meta=array\)"):
            run()


@pytest.mark.parametrize(
    ("bound", "message"),
    [
        ({"metta": META}, "no input 'metta'.*'meta'"),
        ({"meta": META[:1]}, r"meta of shape \(1,\): give bind arrays of one example"),
        ({"image": META, "meta": META}, "all bound"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_wrong_names_and_shapes_are_refused(kind, bound, message):
    with pytest.raises(ag.OptionError, match=message):
        explained(*KINDS[kind]).bind(**bound)


def test_a_network_of_one_input_has_nothing_to_bind():
    with pytest.raises(ag.CapabilityError, match="bind fixes inputs beside the image"):
        explained(lambda image: image).bind(meta=META)


KERAS = """
import keras, numpy as np
from agnoscope import wrap

image, meta = keras.Input((6, 5, 3), name="image"), keras.Input((2,), name="meta")
x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, name="conv")(image))
x = keras.layers.Concatenate()([x, meta])
network = keras.Model({"meta": meta, "image": image}, keras.layers.Dense(3, name="fc")(x))
x = np.random.default_rng(0).random((2, 6, 5, 3)).astype("float32")
model = wrap(network).bind(meta=[0.3, -2.0])

def run(model, static, images):
    return model.run(images, ("scores",))

found = model.compile(run, ())(x)["scores"]
expected = network({"meta": np.float32([[0.3, -2.0]] * 2), "image": x})
np.testing.assert_allclose(found, expected, rtol=1e-5)
assert model.spec.size == (6, 5), model
assert list(model.parameters()) == ["conv.kernel", "conv.bias", "fc.kernel", "fc.bias"], list(model.parameters())
flat = model.with_parameters({"fc.kernel": np.zeros((6, 3)), "fc.bias": np.array([1.0, 2.0, 3.0])})
np.testing.assert_allclose(flat.compile(run, ())(x)["scores"], [[1, 2, 3]] * 2)
np.testing.assert_array_equal(model.compile(run, ())(x)["scores"], found)
"""


def test_keras_on_jax_binds_declared_inputs_and_shows_its_weights():
    pytest.importorskip("keras", reason="Keras is not installed")
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", KERAS], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
