"""What can be wrapped, and what is refused at the door."""

import importlib.util
import warnings

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
keras = pytest.importorskip("keras", reason="Keras is not installed")
if keras.backend.backend() != "tensorflow":
    pytest.skip("Keras does not run on TensorFlow", allow_module_level=True)

from agnoscope.backends.tensorflow import wrap
from agnoscope.errors import CapabilityError, ModelError
from agnoscope.gradients import gradients
from agnoscope.images import InputSpec

layers = keras.layers
pytestmark = pytest.mark.tensorflow


@pytest.fixture(autouse=True)
def same_weights_every_time():
    keras.utils.set_random_seed(0)


SIZE = (8, 8)
IMAGES = np.random.default_rng(0).random((2, *SIZE, 3)).astype(np.float32)


def explain(model, at=(), images=IMAGES):
    def program(model, at, images):
        found = gradients(
            model, images, lambda xp, values: values["scores"][:, 0], needs=("scores",), at=at, wrt_images=True
        )
        return {"scores": found.values["scores"], "images": found.images, **found.layers}

    return model.compile(program, at)(images)


def net(*shape, name=None):
    return keras.Sequential(
        [*([keras.Input(shape)] if shape else []), layers.Conv2D(2, 3, name="conv"), layers.ReLU(), layers.Flatten()],
        name=name,
    )


def test_an_unbuilt_network_is_built():
    network = net()
    model = wrap(network, None, InputSpec(size=SIZE), None)
    assert network.built
    np.testing.assert_allclose(explain(model)["scores"], network(IMAGES), atol=1e-6)
    with pytest.raises(ModelError, match=r"not built.*input_size"):
        wrap(net(), None, InputSpec(), None)
    with pytest.raises(ModelError, match="cannot be built on images of shape"):
        wrap(net(), None, InputSpec(size=(2, 2)), None)


def test_the_declared_input_is_respected():
    assert wrap(net(*SIZE, 3), None, InputSpec(), None).spec.size == SIZE
    assert wrap(net(None, None, 3), None, InputSpec(), None).spec.size is None
    first = keras.Sequential([keras.Input((3, 6, 7)), layers.Conv2D(2, 3, data_format="channels_first")])
    assert wrap(first, None, InputSpec(), None).spec.size == (6, 7)
    for network, spec, message in (
        (net(*SIZE, 3), {"size": (9, 9)}, r"height and width \(8, 8\)"),
        (net(*SIZE, 1), {}, "takes 1 channels.*channels='L'"),
        (keras.Sequential([keras.Input((4,)), layers.Dense(2)]), {}, r"shape \(None, 4\)"),
    ):
        with pytest.raises(ModelError, match=message):
            wrap(network, None, InputSpec(**spec), None)


def test_what_is_no_network_of_one_image_is_refused():
    with pytest.raises(ModelError, match="params"):
        wrap(net(*SIZE, 3), {}, InputSpec(), None)
    with pytest.raises(ModelError, match="cannot be called"):
        wrap(3, None, InputSpec(), None)
    with pytest.raises(ModelError, match="returns no tensor, but str"):
        wrap(lambda x: "nothing", None, InputSpec(size=SIZE), None).outline()
    with pytest.raises(ModelError, match=r"cannot run on images of shape \(1, 2, 2, 3\)"):
        wrap(net(*SIZE, 3), None, InputSpec(), None).outline((2, 2))


def test_images_are_prepared_as_the_spec_says():
    spec = InputSpec(size=SIZE, range=(0, 255), mean=(1, 2, 3), std=(4, 5, 6), channels="BGR")
    network = net(*SIZE, 3)
    seen = (IMAGES[..., ::-1] * 255 - np.float32([1, 2, 3])) / np.float32([4, 5, 6])
    np.testing.assert_allclose(explain(wrap(network, None, spec, None))["scores"], network(seen), rtol=1e-4, atol=1e-4)


def test_an_input_in_a_dictionary():
    images = keras.Input((*SIZE, 3), name="pixels")
    network = keras.Model({"pixels": images}, layers.Flatten()(layers.Conv2D(2, 3, name="conv")(images)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Keras warns of an input in another structure
        found = explain(wrap(network, None, InputSpec(), None), ("conv",))
    np.testing.assert_allclose(found["scores"], network({"pixels": IMAGES}), atol=1e-6)


def test_a_function_around_a_network():
    network = net(*SIZE, 3, name="net")
    for function in (lambda x: network(x)[:, :5], tf.function(lambda x: network(x)[:, :5])):
        model = wrap(function, None, InputSpec(size=SIZE), None)
        assert next(iter(model.layers())) == "net/conv"
        assert model.layers()["net"].kind == "block"
        found = explain(model, ("net/conv",))
        np.testing.assert_allclose(found["scores"], network(IMAGES)[:, :5], atol=1e-6)
        assert found["net/conv"].any()


class Module(tf.Module):
    """TensorFlow alone: a convolution and a ReLU, without a layer."""

    def __init__(self, dtype="float32"):
        super().__init__()
        self.kernel = tf.Variable(np.random.default_rng(1).normal(size=(3, 3, 3, 2)).astype(dtype))

    @tf.function
    def __call__(self, x, training=True):
        x = tf.nn.relu(tf.nn.conv2d(x, self.kernel, 1, "VALID")) * (100.0 if training else 1.0)
        return tf.nn.softmax(tf.reduce_sum(x, axis=(1, 2)))


def test_a_module_without_layers():
    module = Module()
    model = wrap(module, None, InputSpec(size=SIZE), None)
    assert (dict(model.layers()), model.outline().head) == ({}, "softmax")
    assert model.can == {"gradient", "relu"}
    scores = tf.reduce_sum(tf.nn.relu(tf.nn.conv2d(IMAGES, module.kernel, 1, "VALID")), axis=(1, 2))
    np.testing.assert_allclose(explain(model)["scores"], scores, rtol=1e-5)
    assert not np.array_equal(explain(model.with_relu("deconvnet"))["images"], explain(model)["images"])
    with pytest.raises(CapabilityError):
        model.require("capture", "Grad-CAM")
    assert wrap(Module("float64"), None, InputSpec(size=SIZE), None).dtype == "float64"


# -- Keras 2 -------------------------------------------------------------------------------------------------


@pytest.fixture
def tf_keras():
    if importlib.util.find_spec("tf_keras") is None:
        pytest.skip("tf_keras is not installed")
    return importlib.import_module("tf_keras")


def test_keras_2(tf_keras):
    class Subclassed(tf_keras.Model):
        def __init__(self):
            super().__init__()
            self.base = tf_keras.Sequential(
                [
                    tf_keras.Input((*SIZE, 3)),
                    tf_keras.layers.Conv2D(4, 3, activation="relu", name="conv", activity_regularizer="l2"),
                    tf_keras.layers.BatchNormalization(),
                    tf_keras.layers.ReLU(6.0, name="relu"),
                ],
                name="base",
            )
            self.drop = tf_keras.layers.Dropout(0.9)
            self.head = tf_keras.layers.Dense(3, activation="softmax", name="head")

        def call(self, x):
            return self.head(self.drop(tf.reduce_mean(self.base(x), axis=(1, 2))))

    network = Subclassed()
    network(IMAGES)
    losses = network.losses
    model = wrap(network, None, InputSpec(size=SIZE), None)
    assert model.versions == {"tensorflow": tf.__version__, "tf_keras": tf_keras.__version__}
    assert [layer.name for layer in model.layers().values()][:2] == ["base/conv", "base/batch_normalization"]
    assert model.outline().head == "softmax"
    found = explain(model, ("base/conv",))
    explain(model.with_relu("guided"))
    assert [id(loss) for loss in losses] == [id(loss) for loss in network.losses]
    conv, norm, relu = network.base.layers
    with tf.GradientTape() as tape:
        activation = conv(IMAGES)
        tape.watch(activation)
        x = tf.reduce_mean(relu(norm(activation, training=False)), axis=(1, 2))
        scores = x @ network.head.kernel + network.head.bias
        score = scores[:, 0]
    np.testing.assert_allclose(found["scores"], scores, atol=1e-6)
    np.testing.assert_allclose(found["base/conv"], tape.gradient(score, activation), atol=1e-6)
    assert not any("call" in vars(layer) for layer in network._flatten_layers())
