"""The TensorFlow adapter: programs, gradients, scores, and what it tells of a network."""

import gc
import logging
import threading
import warnings
import weakref
from dataclasses import dataclass

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
keras = pytest.importorskip("keras", reason="Keras is not installed")
if keras.backend.backend() != "tensorflow":
    pytest.skip("Keras does not run on TensorFlow", allow_module_level=True)

from agnoscope.backends import tensorflow as backend
from agnoscope.backends.tensorflow import wrap
from agnoscope.errors import CapabilityError, LayerError, TargetError
from agnoscope.gradients import gradients
from agnoscope.images import InputSpec

layers, ops = keras.layers, keras.ops
pytestmark = pytest.mark.tensorflow

SIZE = (8, 8)
IMAGES = np.random.default_rng(0).random((3, *SIZE, 3)).astype(np.float32)


@pytest.fixture(autouse=True)
def no_warning_of_retracing(caplog):
    logger = tf.get_logger()
    before, logger.propagate = logger.propagate, True
    with caplog.at_level(logging.WARNING, logger="tensorflow"):
        yield
    logger.propagate = before
    assert not [record for record in caplog.get_records("call") if "retracing" in record.getMessage()]


def network(*head, dtype=None):
    """A small functional network: a residual block, then a dense head of four units unless told otherwise."""
    keras.utils.set_random_seed(0)
    images = keras.Input((*SIZE, 3), dtype=dtype)
    x = first = layers.Conv2D(4, 3, padding="same", activation="relu", dtype=dtype, name="conv1")(images)
    x = layers.Conv2D(4, 3, padding="same", dtype=dtype, name="conv2")(x)
    x = layers.BatchNormalization(dtype=dtype, name="norm")(x)
    x = layers.ReLU(dtype=dtype, name="relu")(layers.Add(dtype=dtype, name="add")([x, first]))
    x = layers.GlobalAveragePooling2D(dtype=dtype, name="pool")(layers.MaxPooling2D(dtype=dtype, name="half")(x))
    for layer in head or (layers.Dense(4, dtype=dtype, name="dense"),):
        x = layer(x)
    return keras.Model(images, x)


def wrapped(net, **spec):
    return wrap(net, None, InputSpec(**{"size": SIZE, **spec}), None)


def forward(model, names, images):
    return model.run(images, names)


def run(model, images, *names, program=forward):
    return model.compile(program, names)(images)


def first_score(xp, values):
    return values["scores"][:, 0]


def slopes(model, at, images):
    found = gradients(model, images, first_score, needs=("scores",), at=at, capture=at, wrt_images=True)
    return {"scores": found.scores, "images": found.images, "layers": found.layers, "values": found.values}


# -- what it tells of a network ------------------------------------------------------------------------------


def test_the_outline_lists_what_ran_in_the_order_in_which_it_was_ready():
    model = wrapped(network())
    assert [(layer.name, layer.kind, layer.shape, layer.type) for layer in model.layers().values()] == [
        ("conv1", "conv", (8, 8, 4), "Conv2D"),
        ("conv2", "conv", (8, 8, 4), "Conv2D"),
        ("norm", "norm", (8, 8, 4), "BatchNormalization"),
        ("add", "add", (8, 8, 4), "Add"),
        ("relu", "relu", (8, 8, 4), "ReLU"),
        ("half", "pool", (4, 4, 4), "MaxPooling2D"),
        ("pool", "pool", (4,), "GlobalAveragePooling2D"),
        ("dense", "dense", (4,), "Dense"),
    ]
    assert (model.outline().scores, model.outline().head, model.outline().notes) == ((4,), "linear", ())
    assert model.last_map().name == "relu"
    assert model.can == model.EVERYTHING
    assert model.versions == {"tensorflow": tf.__version__, "keras": keras.__version__}


def test_an_outline_can_be_asked_for_in_the_middle_of_a_program():
    found = run(wrapped(network()), IMAGES, "conv2", program=slopes)
    assert found["layers"]["conv2"].shape == (3, 8, 8, 4)


def test_a_layer_that_is_the_activation_of_another_makes_no_block():
    conv = layers.Conv2D(2, 3, activation=layers.ReLU(name="inner"), name="conv")
    model = wrapped(keras.Sequential([keras.Input((*SIZE, 3)), conv, layers.Activation("relu", name="act")]))
    assert [(layer.name, layer.kind) for layer in model.layers().values()] == [
        ("conv/inner", "relu"),
        ("conv", "conv"),
        ("act", "relu"),
    ]


def test_layers_of_any_image_size():
    net = keras.Sequential([keras.Input((None, None, 3)), layers.Conv2D(2, 3, name="conv")])
    model = wrap(net, None, InputSpec(), None)
    assert model.layers((9, 7))["conv"].shape == (7, 5, 2)
    assert model.layers((5, 5))["conv"].shape == (3, 3, 2)


# -- gradients -----------------------------------------------------------------------------------------------


def taped(net, images, layer):
    """The same by Keras' own means: a sub-model and a GradientTape."""
    split = keras.Model(net.inputs, [net.get_layer(layer).output, net.output])
    with tf.GradientTape() as tape:
        x = tf.convert_to_tensor(images)
        tape.watch(x)
        activation, scores = split(x, training=False)
        total = tf.reduce_sum(scores[:, 0])
    return activation, scores[:, 0], *tape.gradient(total, (activation, x))


@pytest.mark.parametrize("layer", ["conv1", "conv2", "norm", "add", "relu", "half"])
def test_values_and_gradients_are_those_of_a_tape(layer):
    net = network()
    found = run(wrapped(net), IMAGES, layer, program=slopes)
    activation, scores, at_layer, at_images = taped(net, IMAGES, layer)
    np.testing.assert_allclose(found["values"][layer], activation, atol=1e-6)
    np.testing.assert_allclose(found["scores"], scores, atol=1e-6)
    np.testing.assert_allclose(found["layers"][layer], at_layer, atol=1e-6)
    np.testing.assert_allclose(found["images"], at_images, atol=1e-6)


def test_images_are_explained_one_by_one():
    model = wrapped(network())
    together = run(model, IMAGES, "conv2", program=slopes)
    alone = [run(model, IMAGES[i : i + 1], "conv2", program=slopes) for i in range(3)]
    np.testing.assert_allclose(together["images"], np.concatenate([one["images"] for one in alone]), atol=1e-6)


def test_float64_networks_are_explained_in_float64():
    net = network(dtype="float64")
    model = wrapped(net)
    assert model.dtype == "float64"
    found = run(model, IMAGES.astype(np.float64), "conv2", program=slopes)
    assert {found[name].dtype for name in ("scores", "images")} == {np.dtype("float64")}
    step = np.zeros_like(IMAGES, dtype=np.float64)
    step[:, 3, 3, 1] = 1e-6
    up, down = (run(model, IMAGES + sign * step, "scores")["scores"][:, 0] for sign in (1, -1))
    np.testing.assert_allclose(found["images"][:, 3, 3, 1], (up - down) / 2e-6, rtol=1e-6)


def trees(model, static, tree):
    def total(leaves, table):
        xp = model.xp
        taken = xp.take(leaves["deep"]["table"], leaves["rows"], axis=0)
        return xp.sum(leaves["a"] * xp.astype(table, xp.float32)) + xp.sum(taken), {"kept": leaves["a"] + 1}

    (value, aux), found = model.value_and_grad(total)(tree, tree["a"])
    return {"value": value, "aux": aux, "found": found}


def test_gradients_have_the_structure_of_the_first_argument():
    tree = {"a": np.float32([2, 3]), "deep": {"table": np.ones((4, 2), np.float32), "idle": np.ones(3, np.float32)}}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = wrapped(network()).compile(trees, None)({**tree, "rows": np.array([1, 1, 3])})
    found = out["found"]
    np.testing.assert_array_equal(found["a"], [2, 3])  # as the first argument alone, though it comes in twice
    np.testing.assert_array_equal(found["deep"]["table"], [[0, 0], [2, 2], [0, 0], [1, 1]])
    np.testing.assert_array_equal(found["deep"]["idle"], [0, 0, 0])
    assert (out["value"], list(out["aux"]["kept"])) == (13 + 6, [3, 4])


# -- programs ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Options:
    layer: str


traced = []


def counting(model, static, images, arrays):
    traced.append(images.shape)
    found = gradients(
        model,
        images,
        lambda xp, values: xp.sum(xp.where(arrays["one_hot"] > 0, values["scores"], 0), axis=1),
        needs=("scores",),
        at=(static.layer,),
    )
    assert isinstance(images.shape[0], int)
    return {"scores": found.scores}


def test_ten_images_and_five_classes_are_one_trace():
    model = wrapped(network(layers.Dense(5)))
    traced.clear()
    for image in np.random.default_rng(1).random((10, 1, *SIZE, 3)):
        for one_hot in np.eye(5):
            model.compile(counting, Options("conv" + "2"))(image, {"one_hot": one_hot[None]})
    assert len(traced) == 1
    for count in range(1, 9):
        model.compile(counting, Options("conv2"))(np.ones((count, *SIZE, 3)), {"one_hot": np.ones((count, 5))})
    assert len(traced) == 8


def test_views_share_programs_but_not_across_rules():
    model = wrapped(network())
    arrays = {"one_hot": np.ones((1, 4))}
    traced.clear()
    for rule in ("guided", "deconvnet", "guided"):
        model.with_relu(rule).compile(counting, Options("conv2"))(IMAGES[:1], arrays)
    assert len(traced) == 2


def test_only_so_many_programs_are_kept(monkeypatch):
    monkeypatch.setattr(backend, "PROGRAMS", 2)
    model = wrapped(network())
    graphs = []

    def program(model, static, images):
        graphs.append(weakref.ref(tf.compat.v1.get_default_graph()))
        return model.run(images, ("scores",))

    for static in (0, 1, 0, 2, 0):  # 1 was used longest ago when 2 comes
        model.compile(program, static)(IMAGES)
    gc.collect()
    assert [graph() is None for graph in graphs] == [False, True, False]


def test_arrays_come_in_and_go_out_as_numpy():
    def program(model, static, tree):
        xp = model.xp
        assert (tree["float"].dtype, tree["half"].dtype) == (xp.float32, xp.float32)
        assert (tree["deep"]["int"].dtype, tree["deep"]["byte"].dtype) == (xp.int32, xp.int32)
        return {"deep": {"sum": xp.sum(tree["float"])}, "int": tree["deep"]["int"]}

    tree = {"float": np.ones(2), "half": np.ones(2, np.float16)}
    tree["deep"] = {"int": np.arange(3), "byte": np.zeros(1, np.uint8)}
    found = wrapped(network()).compile(program, None)(tree)
    assert isinstance(found["deep"]["sum"], np.ndarray)
    assert found["deep"]["sum"].shape == ()
    assert found["int"].tolist() == [0, 1, 2]


def test_our_own_exceptions_come_out_as_they_are():
    def program(model, static, images):
        raise TargetError("no such class")

    with pytest.raises(TargetError, match=r"^no such class$"):
        wrapped(network()).compile(program, None)(IMAGES)
    with pytest.raises(LayerError, match=r"'conv3' did not run\. Near it: 'conv"):
        run(wrapped(network()), IMAGES, "conv3")


def test_a_network_is_run_in_programs_only():
    with pytest.raises(CapabilityError, match="compile"):
        wrapped(network()).run(tf.ones((1, *SIZE, 3)), ("scores",))


def test_weights_are_followed():
    net = network()
    model = wrapped(net)
    before = run(model, IMAGES, "scores")["scores"]
    net.get_layer("dense").kernel.assign(2 * net.get_layer("dense").kernel)
    np.testing.assert_allclose(run(model, IMAGES, "scores")["scores"], 2 * before, rtol=1e-6)
    net.set_weights([np.zeros_like(w) for w in net.get_weights()])
    assert not run(model, IMAGES, "scores")["scores"].any()


def test_programs_of_many_threads_give_the_right_numbers():
    net = network()
    model, other = wrapped(net), wrapped(net)
    names = ["conv1", "conv2", "norm", "add", "relu", "half"]
    expected = {name: taped(net, IMAGES, name) for name in names}
    failures = []

    def explain(model, name):
        try:
            found = run(model, IMAGES, name, program=slopes)
            np.testing.assert_allclose(found["layers"][name], expected[name][2], atol=1e-6)
            np.testing.assert_allclose(net(IMAGES, training=False)[:, 0], expected[name][1], atol=1e-6)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=explain, args=(one, name)) for name in names for one in (model, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert not any("call" in vars(layer) for layer in net._flatten_layers())


# -- scores --------------------------------------------------------------------------------------------------


class Probabilities(layers.Layer):
    def call(self, x):
        return {"probabilities": keras.activations.softmax(x)}


def nested(*inner):
    return keras.Sequential([keras.Input((4,)), *inner])


HEADS = {
    "activation": lambda: (layers.Dense(4, activation="softmax"),),
    "layer": lambda: (layers.Dense(4), layers.Softmax()),
    "activation layer": lambda: (layers.Dense(4), layers.Activation("softmax")),
    "operation": lambda: (layers.Dense(4), ops.softmax),
    "lambda": lambda: (layers.Dense(4), layers.Lambda(tf.nn.softmax)),
    "custom layer": lambda: (layers.Dense(4), Probabilities(), lambda outputs: outputs["probabilities"]),
    "nested": lambda: (nested(layers.Dense(4), nested(layers.Softmax())),),
    "dropout": lambda: (layers.Dense(4, activation="softmax"), layers.Dropout(0.5)),
    "reshape": lambda: (layers.Dense(4, activation="softmax"), layers.Reshape((2, 2)), layers.Flatten()),
    "maps": lambda: (layers.Reshape((1, 1, 4)), layers.Conv2D(4, 1, activation="softmax"), layers.Flatten()),
    "mixed precision": lambda: (layers.Dense(4, dtype="mixed_float16"), layers.Softmax(dtype="float32")),
    "half": lambda: (layers.Dense(4, dtype="mixed_float16", activation="softmax"), layers.Identity(dtype="float32")),
    "sigmoid": lambda: (layers.Dense(1, activation="sigmoid"),),
    "sigmoids": lambda: (layers.Dense(3), ops.sigmoid),
    "log": lambda: (layers.Dense(4), ops.log_softmax),
}


@pytest.mark.parametrize("form", HEADS)
def test_scores_are_what_went_into_the_head(form):
    model = wrapped(network(*HEADS[form]()))
    head = "sigmoid" if "sigmoid" in form else "softmax"
    assert model.outline().head == head
    assert model.outline().notes == ()
    found = run(model, IMAGES, "scores", "output", "pool")
    assert found["scores"].shape == (3, *model.outline().scores) == found["output"].shape
    assert found["scores"].dtype == np.float32
    kernel, bias = (np.reshape(w, (-1, w.shape[-1])) for w in model.network.get_weights()[-2:])
    half = "precision" in form or form == "half"
    np.testing.assert_allclose(found["scores"], found["pool"] @ kernel + bias, atol=1e-2 if half else 1e-5)
    z = found["scores"].astype(np.float64)
    output = 1 / (1 + np.exp(-z)) if head == "sigmoid" else np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(
        found["output"], np.log(output) if form == "log" else output, atol=1e-3 if half else 1e-6
    )


def test_an_unrecognised_softmax_is_told():
    model = wrapped(network(layers.Dense(4), lambda x: ops.exp(x) / ops.sum(ops.exp(x), axis=1, keepdims=True)))
    assert model.outline().head == "linear"
    assert "lies in [0, 1], but no softmax" in model.outline().notes[0]


def test_a_patch_of_the_softmax_layer_leaves_the_scores_alone():
    def program(model, step, images):
        patch = {"head": lambda a: a + step if step else a}
        return model.run(images, ("scores", "output"), patch)

    model = wrapped(network(layers.Dense(4), layers.Softmax(name="head"), layers.Reshape((4,))))
    plain, patched = (model.compile(program, step)(IMAGES) for step in (0, 1))
    np.testing.assert_array_equal(patched["scores"], plain["scores"])
    np.testing.assert_allclose(patched["output"], plain["output"] + 1, rtol=1e-6)


def test_several_outputs():
    images = keras.Input((*SIZE, 3))
    x = layers.Flatten()(images)
    a, b = layers.Dense(2, name="a")(x), layers.Dense(3, name="b")(x)
    for outputs, units in (([a, b], 2), ({"z": b, "c": a}, 3), ({"c": a, "logits": b}, 3)):
        model = wrapped(keras.Model(images, outputs))
        assert model.outline().scores == (units,)
        assert "2 outputs" in model.outline().notes[0]
