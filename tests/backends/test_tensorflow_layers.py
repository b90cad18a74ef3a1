"""Watching Keras layers: whatever the network is built of, and without leaving a trace in it."""

import threading

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
keras = pytest.importorskip("keras", reason="Keras is not installed")
if keras.backend.backend() != "tensorflow":
    pytest.skip("Keras does not run on TensorFlow", allow_module_level=True)

from agnoscope.backends.tensorflow import wrap
from agnoscope.errors import LayerError, ModelError, TargetError
from agnoscope.gradients import gradients
from agnoscope.images import InputSpec

layers, ops = keras.layers, keras.ops
pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:keras"),
    pytest.mark.filterwarnings("ignore:.*`quantize` method:UserWarning"),
]


@pytest.fixture(autouse=True)
def same_weights_every_time():
    keras.utils.set_random_seed(0)


SIZE = (8, 8)
IMAGES = np.random.default_rng(0).random((2, *SIZE, 3)).astype(np.float32)


def wrapped(net):
    return wrap(net, None, InputSpec(size=SIZE), None)


def values(model, *names, patch=None, images=IMAGES):
    return model.compile(lambda model, names, images: model.run(images, names, patch or {}), names)(images)


def at(model, name):
    """The gradient of the first score at a layer."""

    def program(model, name, images):
        found = gradients(model, images, lambda xp, values: values["scores"][:, 0], needs=("scores",), at=(name,))
        return found.layers

    return model.compile(program, name)(IMAGES)[name]


def base():
    return keras.Sequential(
        [keras.Input((*SIZE, 3)), layers.Conv2D(4, 3, name="conv"), layers.ReLU(name="relu")], name="base"
    )


def test_nested_networks():
    inner, images = base(), keras.Input((*SIZE, 3))
    x = keras.Model(images, layers.MaxPooling2D(name="pool")(inner(images)), name="body")
    net = keras.Sequential([keras.Input((*SIZE, 3)), x, layers.Flatten(name="flat"), layers.Dense(2, name="head")])
    model = wrapped(net)
    assert [(layer.name, layer.kind) for layer in model.layers().values()] == [
        ("body/base/conv", "conv"),
        ("body/base/relu", "relu"),
        ("body/base", "block"),
        ("body/pool", "pool"),
        ("body", "block"),
        ("flat", "other"),
        ("head", "dense"),
    ]
    np.testing.assert_allclose(values(model, "body/base/conv")["body/base/conv"], inner.layers[0](IMAGES), atol=1e-6)
    assert model.layer("base/conv").name == "body/base/conv"


def test_a_layer_used_twice():
    conv, images = layers.Conv2D(3, 3, padding="same", name="conv"), keras.Input((*SIZE, 3))
    net = keras.Model(images, layers.Flatten(name="flat")(conv(conv(images))))
    model = wrapped(net)
    assert list(model.layers()) == ["conv", "conv@1", "flat"]
    found = values(model, "conv", "conv@1")
    np.testing.assert_allclose(found["conv"], conv(IMAGES), atol=1e-6)
    np.testing.assert_allclose(found["conv@1"], conv(conv(IMAGES)), atol=1e-6)
    second = values(model, "conv", "conv@1", patch={"conv": lambda a: 0 * a})
    np.testing.assert_allclose(second["conv@1"], conv(0 * IMAGES), atol=1e-6)


def test_a_network_used_twice():
    inner, images = base(), keras.Input((*SIZE, 3))
    pool = layers.AveragePooling2D(1, name="pool")
    net = keras.Model(images, layers.Add(name="add")([inner(images), pool(inner(pool(images)))]))
    model = wrapped(net)
    first, second = ["base/conv", "base/relu", "base"], ["base/conv@1", "base/relu@1", "base@1"]
    assert sorted(model.layers()) == sorted([*first, *second, "pool", "pool@1", "add"])
    found = values(model, "scores", patch={"base/conv": lambda a: 0 * a})["scores"]
    np.testing.assert_allclose(found, inner(IMAGES), atol=1e-6)


def test_operations_are_layers_too():
    images = keras.Input((*SIZE, 3))
    x = ops.relu(layers.Conv2D(4, 3, name="conv")(images))
    net = keras.Model(images, ops.mean(x + 1, axis=(1, 2)))
    model = wrapped(net)
    kinds = [layer.kind for layer in model.layers().values()]
    assert kinds == ["conv", "relu", "add", "other"]
    relu = list(model.layers())[1]
    np.testing.assert_allclose(values(model, relu)[relu], tf.nn.relu(net.layers[1](IMAGES)), atol=1e-6)


class Twins(layers.Layer):
    """Gives two outputs."""

    def call(self, x):
        return {"z": 2 * x, "a": (3 * x, None)}


@keras.saving.register_keras_serializable("agnoscope")
class Subclassed(keras.Model):
    """Layers in lists and dictionaries, one of two outputs, no `training` argument."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.blocks = [[layers.Conv2D(4, 3, padding="same", name=f"conv{i}"), layers.ReLU()] for i in range(2)]
        self.others = {"twins": Twins(name="twins"), "drop": layers.Dropout(0.9, name="drop")}
        self.head = layers.Dense(2, name="head")

    def call(self, x):
        for conv, relu in self.blocks:
            x = relu(conv(x))
        both = self.others["twins"](x)
        return self.head(ops.mean(self.others["drop"](both["z"] + both["a"][0]), axis=(1, 2)))


def test_subclassed_networks():
    net = Subclassed()
    model = wrapped(net)  # which builds it
    names = list(model.layers())
    assert names[0::2][:2] == ["conv0", "conv1"]
    assert names[-3:] == ["twins", "drop", "head"]
    first = net.blocks[0][0](IMAGES)
    np.testing.assert_allclose(values(model, "conv0")["conv0"], first, atol=1e-6)
    np.testing.assert_allclose(values(model, "output")["output"], net(IMAGES, training=False), atol=1e-6)


def test_an_output_of_several_is_patched_in_its_place():
    model = wrapped(Subclassed())
    found = values(model, "twins", "drop", "conv1", patch={"twins": lambda a: a + 1, "conv1": lambda a: abs(a)})
    np.testing.assert_allclose(found["twins"], 2 * found["conv1"] + 1, rtol=1e-6)
    np.testing.assert_allclose(found["drop"], 5 * found["conv1"] + 1, rtol=1e-6)


def test_loaded_networks(tmp_path):
    net = Subclassed()
    expected = net(IMAGES)
    net.save(tmp_path / "net.keras")
    loaded = wrapped(keras.saving.load_model(tmp_path / "net.keras"))
    np.testing.assert_allclose(values(loaded, "scores")["scores"], expected, atol=1e-6)
    np.testing.assert_allclose(at(loaded, "conv1"), at(wrapped(net), "conv1"), atol=1e-7)


class Decorated(layers.Layer):
    """Its call is a tf.function, with a condition on values that only AutoGraph understands."""

    def __init__(self):
        super().__init__(name="block")
        self.conv = layers.Conv2D(2, 3, name="conv")

    @tf.function
    def call(self, x):
        x = self.conv(x)
        if tf.reduce_sum(x) > 1e9:
            x = x + 1.0
        return x


class Looping(layers.Layer):
    """A layer inside a loop of TensorFlow's."""

    def __init__(self):
        super().__init__(name="loop")
        self.dense = layers.Dense(3, name="dense")
        self.dense.build((None, 3))

    def call(self, x):
        return tf.while_loop(lambda i, x: i < 2, lambda i, x: (i + 1, self.dense(x)), (0, x))[1]


def test_a_tf_function_around_layers_is_looked_into():
    block = Decorated()
    net = keras.Sequential([keras.Input((*SIZE, 3)), block])
    model = wrapped(net)
    assert list(model.layers()) == ["block/conv", "block"]
    np.testing.assert_allclose(values(model, "block/conv")["block/conv"], block.conv(IMAGES), atol=1e-6)


def test_layers_in_a_loop_are_told_and_refused():
    model = wrapped(keras.Sequential([keras.Input((*SIZE, 3)), Looping()]))
    assert list(model.layers()) == ["loop"]
    assert any("out of reach: loop/dense" in note for note in model.outline().notes)
    with pytest.raises(LayerError, match="'loop/dense' runs inside a loop"):
        values(model, "loop/dense")


def test_wrapping_layers():
    images = keras.Input((*SIZE, 3))
    x = layers.TimeDistributed(layers.Dense(2, name="dense"), name="each")(images)
    x = layers.Bidirectional(layers.LSTM(2, return_sequences=True), name="both")(layers.Reshape((8, 16))(x))
    model = wrapped(keras.Model(images, x))
    assert {"each", "both"} <= set(model.layers())
    assert model.layers()["each"].shape == (8, 8, 2)
    assert values(model, "each")["each"].shape == (2, 8, 8, 2)


def test_quantized_layers():
    net = keras.Sequential([keras.Input((*SIZE, 3)), layers.Flatten(), layers.Dense(4, name="dense")])
    net.quantize("int8")
    np.testing.assert_allclose(values(wrapped(net), "dense")["dense"], net(IMAGES), atol=1e-6)


def test_rematerialised_layers_are_patched_all_the_same():
    with keras.RematScope(mode="full"):
        conv = layers.Conv2D(4, 3, name="conv")
    net = keras.Sequential([keras.Input((*SIZE, 3)), conv, layers.ReLU(), layers.GlobalMaxPooling2D()])
    assert at(wrapped(net), "conv").any()
    assert conv._remat_mode is not None


class Half(keras.Model):
    """Goes on with its float16 activation by TensorFlow's means, which mix no dtypes."""

    def __init__(self):
        super().__init__()
        self.conv = layers.Conv2D(4, 3, dtype="mixed_float16", name="conv")

    def call(self, x):
        return tf.reduce_mean(self.conv(x) * tf.constant(2, tf.float16), axis=(1, 2))


def test_mixed_precision_is_shown_in_float32():
    model = wrapped(Half())
    assert model.dtype == "float32"
    assert values(model, "conv", patch={"conv": lambda a: a * tf.ones(())})["conv"].dtype == np.float32
    assert at(model, "conv").dtype == np.float32


@pytest.mark.parametrize("turned", [False, True])
def test_channels_first_networks_are_shown_channels_last(turned):
    """Also one that takes its images channels last and turns them around itself."""
    x = images = keras.Input((*SIZE, 3) if turned else (3, *SIZE))
    x = layers.Permute((3, 1, 2))(x) if turned else x
    conv = layers.Conv2D(4, 3, padding="same", data_format="channels_first", name="conv")
    x = layers.ReLU(name="relu")(conv(x))
    x = layers.GlobalAveragePooling2D(data_format="channels_first")(x)
    model = wrapped(keras.Model(images, x))
    assert model.layers()["relu"].shape == (8, 8, 4)
    first = conv(np.moveaxis(IMAGES, -1, 1))
    np.testing.assert_allclose(values(model, "conv")["conv"], np.moveaxis(first, 1, -1), atol=1e-6)
    bias = np.float32([10, 20, 30, 40])
    found = values(model, "conv", "scores", patch={"conv": lambda a: 0 * a + bias})
    np.testing.assert_array_equal(found["scores"], [bias, bias])
    assert at(model, "relu").shape == (2, 8, 8, 4)


# -- patches -------------------------------------------------------------------------------------------------


def test_a_patch_may_change_the_batch():
    net = base()
    model = wrapped(net)
    factors = np.arange(5, dtype=np.float32)[:, None, None, None]
    found = values(model, "relu", patch={"conv": lambda a: a * factors}, images=IMAGES[:1])
    np.testing.assert_allclose(found["relu"], np.maximum(net.layers[0](IMAGES[:1]) * factors, 0), atol=1e-6)


def test_a_patch_may_run_the_network_itself():
    model = wrapped(base())

    def twice(model, names, images):
        return model.run(images, names, {"conv": lambda a: a + model.run(0.5 * images, ("conv",))["conv"]})

    conv = model.network.layers[0]
    found = model.compile(twice, ("conv", "relu"))(IMAGES)
    np.testing.assert_allclose(found["conv"], conv(IMAGES) + conv(0.5 * IMAGES), atol=1e-6)
    np.testing.assert_allclose(found["relu"], np.maximum(found["conv"], 0), atol=1e-6)
    with pytest.raises(LayerError, match="'conv@1' did not run"):
        model.compile(twice, ("conv@1",))(IMAGES)


def failing(activation):
    raise TargetError("no")


def test_an_exception_in_a_patch_comes_out_as_it_is():
    net = Subclassed()
    model = wrapped(net)
    with pytest.raises(TargetError, match=r"^no$"):
        values(model, "scores", patch={"twins": failing})
    assert not any("call" in vars(layer) for layer in net._flatten_layers())


# -- the user's network --------------------------------------------------------------------------------------


class Counter(layers.Layer):
    """Counts its calls in a variable, which an explanation must not turn on."""

    def __init__(self):
        super().__init__()
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False, name="count")

    def call(self, x):
        self.count.assign_add(1.0)
        return x


class Training(layers.Layer):
    """Always normalises as in training, as some networks do by mistake."""

    def __init__(self):
        super().__init__()
        self.norm = layers.BatchNormalization()

    def call(self, x):
        return self.norm(x, training=True)


def snapshot(net):
    """Everything that a layer holds; of lists and sets also what is in them."""
    state = {}
    for layer in net._flatten_layers():
        for name, value in vars(layer).items():
            inside = [id(item) for item in value] if isinstance(value, list | set) else None
            state[layer.name, name] = (id(value), inside)
    return state


def test_the_network_stays_as_it_was():
    images = keras.Input((*SIZE, 3))
    x = layers.Conv2D(4, 3, activity_regularizer="l2", name="conv")(Training()(images))
    net = keras.Model(images, layers.Dropout(0.5)(Counter()(x)))
    net.layers[1].trainable = False
    net(IMAGES)
    losses = len(net.losses)
    before, weights = snapshot(net), net.get_weights()
    model = wrapped(net)
    at(model, "conv")
    values(model, "conv", "scores")
    with pytest.raises(LayerError):
        values(model, "absent")
    with pytest.raises(TargetError):
        values(model, "conv", patch={"conv": failing})
    assert snapshot(net) == before
    assert len(net.losses) == losses > 0
    for now, then in zip(net.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_call_of_the_users_own_is_put_back():
    net = base()
    conv = net.layers[0]
    original = vars(conv)["call"] = lambda x: type(conv).call(conv, x) + 1
    model = wrapped(net)
    np.testing.assert_allclose(values(model, "conv")["conv"], type(conv).call(conv, IMAGES) + 1, atol=1e-6)
    assert vars(conv)["call"] is original


def test_other_threads_use_the_network_meanwhile():
    net = base()
    model, expected, seen = wrapped(net), net(IMAGES).numpy(), []

    def patch(activation):
        thread = threading.Thread(target=lambda: seen.append(net(IMAGES).numpy()))
        thread.start()
        thread.join()
        return 0 * activation

    found = values(model, "conv", "scores", patch={"conv": patch})
    assert not found["scores"].any()
    np.testing.assert_array_equal(seen[0], expected)


def test_a_network_that_cannot_be_traced_says_so():
    class Eager(keras.Model):
        def call(self, x):
            return x if float(ops.sum(x)) > 0 else -x

    with pytest.raises(ModelError, match="cannot run on images of shape"):
        wrapped(Eager()).outline()
