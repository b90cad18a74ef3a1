"""ReLUs that go backward by another rule, against gradients written down by hand."""

import gc
import importlib
import weakref

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
keras = pytest.importorskip("keras", reason="Keras is not installed")
if keras.backend.backend() != "tensorflow":
    pytest.skip("Keras does not run on TensorFlow", allow_module_level=True)

from agnoscope.backends import tensorflow_relu
from agnoscope.backends.tensorflow import wrap
from agnoscope.errors import CapabilityError
from agnoscope.gradients import gradients
from agnoscope.images import InputSpec

layers, ops = keras.layers, keras.ops
pytestmark = pytest.mark.tensorflow

# One image of one channel; the network multiplies it by 4 and -4, rectifies, and adds both up weighted by w.
VALUES = np.float32([-2, -1, -0.5, 0, 0.5, 1, 1.4, 2])
IMAGE = VALUES.reshape(1, 2, 4, 1)
WEIGHTS = np.float32([1, -3])
SLOPES = np.float32([4, -4])


class Functional(layers.Layer):
    """Calls TensorFlow's own ReLU, in a layer of the user's."""

    def call(self, x):
        return tf.nn.relu(x)


FORMS = {
    "layer": lambda: layers.ReLU(),
    "activation layer": lambda: layers.Activation("relu"),
    "activation function": lambda: layers.Lambda(keras.activations.relu),
    "operation": lambda: ops.relu,
    "tf.nn": lambda: Functional(),
    "inside another layer": lambda: layers.DepthwiseConv2D(1, activation="relu", depthwise_initializer="ones"),
    "nested": lambda: keras.Sequential([keras.Input((2, 4, 2)), layers.ReLU()]),
    "six": lambda: layers.ReLU(6),
    "six as an operation": lambda: ops.relu6,
}


def network(rectifier):
    images = keras.Input((2, 4, 1))
    x = rectifier(layers.Conv2D(2, 1, use_bias=False, name="conv")(images))
    x = layers.Conv2D(1, 1, use_bias=False, name="sum")(x)
    net = keras.Model(images, layers.Flatten()(x))
    net.get_layer("conv").set_weights([SLOPES.reshape(1, 1, 1, 2)])
    net.get_layer("sum").set_weights([WEIGHTS.reshape(1, 1, 2, 1)])
    return net


def wrapped(net):
    return wrap(net, None, InputSpec(bounds=(-10, 10), channels=1), None)


def total(model, static, images):
    found = gradients(
        model, images, lambda xp, values: xp.sum(values["scores"], axis=1), needs=("scores",), wrt_images=True
    )
    return {"images": found.images, "scores": found.scores}


def slope(model, images=IMAGE):
    return model.compile(total, None)(images)["images"].ravel()


def by_hand(rule, high=np.inf):
    """The gradient of each pixel: by both channels, through the window of the ReLU and the rule."""
    x = VALUES[:, None] * SLOPES
    inside = (x > 0) & (x < high)
    passed = {
        None: WEIGHTS * inside,
        "guided": np.maximum(WEIGHTS, 0) * inside,
        "deconvnet": np.maximum(WEIGHTS, 0) * np.ones_like(x),
    }
    return (passed[rule] * SLOPES).sum(axis=1)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rule", [None, "guided", "deconvnet"])
def test_rules(form, rule):
    model = wrapped(network(FORMS[form]()))
    view = model if rule is None else model.with_relu(rule)
    np.testing.assert_array_equal(slope(view), by_hand(rule, 6 if "six" in form else np.inf))
    assert model.outline((2, 4)).notes == ()


def test_a_rule_changes_nothing_forward_and_nothing_of_the_model():
    model = wrapped(network(layers.ReLU()))
    before = model.compile(total, None)(IMAGE)
    after = model.with_relu("deconvnet").compile(total, None)(IMAGE)
    assert after["scores"] == before["scores"]
    np.testing.assert_array_equal(slope(model), before["images"].ravel())


def test_a_rule_of_the_users_own():
    given = {}

    def rule(xp, x, y, g, plain):
        given.update(x=x, y=y, g=g, plain=plain)
        return xp.where(x > 0, 2 * plain, -g)

    x = VALUES[:, None] * SLOPES
    expected = (np.where(x > 0, 2 * WEIGHTS, -WEIGHTS) * SLOPES).sum(axis=1)
    np.testing.assert_array_equal(slope(wrapped(network(layers.ReLU())).with_relu(rule)), expected)
    assert {tuple(tensor.shape) for tensor in given.values()} == {(1, 2, 4, 2)}


def test_two_rules_in_one_program():
    def program(model, static, images):
        return {rule: total(model.with_relu(rule), None, images)["images"] for rule in ("guided", "deconvnet")}

    found = wrapped(network(layers.ReLU())).compile(program, None)(IMAGE)
    for rule, image in found.items():
        np.testing.assert_array_equal(image.ravel(), by_hand(rule))


def test_a_rule_is_forgotten_with_its_programs():
    def program_of_one_rule():
        def rule(xp, x, y, g, plain):
            return plain

        slope(wrapped(network(layers.ReLU())).with_relu(rule))
        return weakref.ref(rule)

    forgotten = program_of_one_rule()
    gc.collect()
    assert forgotten() is None


def test_the_module_may_be_loaded_again():
    importlib.reload(tensorflow_relu)
    np.testing.assert_array_equal(slope(wrapped(network(layers.ReLU())).with_relu("guided")), by_hand("guided"))


def test_without_a_relu_a_rule_is_refused():
    net = keras.Sequential(
        [keras.Input((2, 4, 1)), layers.Conv2D(2, 1, activation="gelu"), layers.LeakyReLU(), layers.Flatten()]
    )
    message = r"'guided' changes the gradient of ReLUs; this network ran none \(its activations: LeakyReLU, gelu\)"
    with pytest.raises(CapabilityError, match=message):
        slope(wrapped(net).with_relu("guided"))


# -- what only looks like a ReLU -----------------------------------------------------------------------------

PIECES = {
    "PReLU": lambda: layers.PReLU(alpha_initializer=keras.initializers.Constant(0.5)),
    "hard sigmoid": lambda: layers.Activation("hard_sigmoid"),
    "hard swish": lambda: ops.hard_silu,
    "hard sigmoid by hand": lambda: lambda x: layers.ReLU(6, name="inner")(x + 3.0) / 6.0,
}


@pytest.mark.parametrize("piece", PIECES)
def test_the_relus_that_other_activations_are_made_of_keep_their_gradient(piece):
    net = network(PIECES[piece]())
    model = wrapped(net)
    with pytest.raises(CapabilityError, match="ran none"):
        slope(model.with_relu("guided"))
    relu = layers.ReLU(name="relu")
    both = wrapped(keras.Model(net.inputs, net(relu(net.inputs[0]))))
    with tf.GradientTape() as tape:
        x = tf.constant(np.abs(IMAGE) + 0.1)
        tape.watch(x)
        value = tf.reduce_sum(net(x))
    plain = np.ravel(tape.gradient(value, x))
    np.testing.assert_allclose(slope(both.with_relu("guided"), np.abs(IMAGE) + 0.1), np.maximum(plain, 0), atol=1e-6)


OTHERWISE = {
    "threshold": lambda: layers.ReLU(threshold=0.5, name="odd"),
    "leaky": lambda: layers.ReLU(negative_slope=0.5, name="odd"),
    "maximum": lambda: layers.Lambda(lambda x: ops.maximum(x, 0.0), name="odd"),
    "clip": lambda: layers.Lambda(lambda x: ops.clip(x, 0, 6), name="odd"),
    "PReLU": lambda: layers.PReLU(name="odd"),
}


@pytest.mark.parametrize("form", OTHERWISE)
def test_what_rectifies_without_a_relu_is_told(form):
    model = wrapped(network(OTHERWISE[form]()))
    (note,) = model.outline((2, 4)).notes
    assert note.startswith("Rules for ReLUs leave these as they are")
    assert note.endswith(": odd.")


def test_a_maximum_with_another_number_rectifies_nothing():
    assert wrapped(network(layers.Lambda(lambda x: ops.maximum(x, -1.0)))).outline((2, 4)).notes == ()


def test_a_cut_off_relu_is_a_relu_and_a_clip():
    model = wrapped(network(layers.ReLU(4.0)))
    assert model.outline((2, 4)).notes == ()
    x = VALUES[:, None] * SLOPES
    expected = (np.maximum(WEIGHTS, 0) * ((x > 0) & (x <= 4)) * SLOPES).sum(axis=1)
    np.testing.assert_array_equal(slope(model.with_relu("guided")), expected)


class Enclosed(layers.Layer):
    """A ReLU in a function of its own, which is no layer's call."""

    @tf.function
    def rectified(self, x):
        return tf.nn.relu(x)

    def call(self, x):
        return self.rectified(x)


def test_a_relu_in_a_function_of_its_own_is_refused():
    model = wrapped(network(Enclosed()))
    np.testing.assert_array_equal(slope(model), by_hand(None))
    with pytest.raises(CapabilityError, match=r"inside a loop or a tf\.function"):
        slope(model.with_relu("guided"))
