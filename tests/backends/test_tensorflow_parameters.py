"""Weights of Keras networks on TensorFlow are shown by name, and others stand in for them."""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
keras = pytest.importorskip("keras", reason="Keras is not installed")
if keras.backend.backend() != "tensorflow":
    pytest.skip("Keras does not run on TensorFlow", allow_module_level=True)

import agnoscope as ag

layers = keras.layers
pytestmark = pytest.mark.tensorflow

SIZE = (5, 7)
X = np.random.default_rng(0).random((3, *SIZE, 3)).astype(np.float32)


def start():
    return keras.Sequential([keras.Input((*SIZE, 3)), layers.Conv2D(4, 3, name="conv"), layers.ReLU()], name="start")


class Subclassed(keras.Model):
    """Layers defined in another order than run, one of them used twice and one a network itself."""

    def __init__(self):
        super().__init__()
        keras.utils.set_random_seed(0)
        self.fc = layers.Dense(2, name="fc")
        self.norm = layers.BatchNormalization(name="norm")
        self.twice = layers.Conv2D(4, 1, name="twice", use_bias=False)
        self.start = start()
        self.drop = layers.Dropout(0.5)

    def call(self, images):
        x = keras.ops.relu(self.norm(self.twice(self.twice(self.start(images)))))
        return self.fc(self.drop(keras.ops.mean(x, axis=(1, 2))))


def functional():
    keras.utils.set_random_seed(0)
    image = keras.Input((*SIZE, 3))
    x = layers.BatchNormalization(name="norm")(start()(image))
    twice = layers.Conv2D(4, 1, name="twice", use_bias=False)
    return keras.Model(image, layers.Dense(2, name="fc")(layers.GlobalAveragePooling2D()(twice(twice(x)))))


def sequential():
    keras.utils.set_random_seed(0)
    names = [start(), layers.BatchNormalization(name="norm"), layers.Conv2D(4, 1, name="twice", use_bias=False)]
    return keras.Sequential([*names, layers.GlobalAveragePooling2D(), layers.Dense(2, name="fc")])


def function():
    network = functional()
    return lambda images: network(images)


NETWORKS = {"functional": functional, "sequential": sequential, "subclassed": Subclassed}


def run(model, names, images):
    return model.run(images, names)


def scores(model):
    return model.compile(run, ("scores",))(X)["scores"]


def wrapped(network, **options):
    return ag.wrap(network, input_size=SIZE, backend="tensorflow", **options)


def test_weights_come_in_the_order_of_their_layers_under_names_that_begin_with_them():
    model = wrapped(Subclassed())
    assert list(model.parameters()) == [
        *("start/conv.kernel", "start/conv.bias", "twice.kernel"),
        *("norm.gamma", "norm.beta", "norm.moving_mean", "norm.moving_variance"),
        *("fc.kernel", "fc.bias"),
    ]
    assert {name.rpartition(".")[0] for name in model.parameters()} <= model.layers().keys()


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_same_weights_give_the_same_scores_and_others_those_of_a_network_that_has_them(kind):
    network = NETWORKS[kind]()
    model = wrapped(network)
    np.testing.assert_array_equal(scores(model.with_parameters(model.parameters())), scores(model))
    changed = model.with_parameters({"norm.moving_mean": np.full(4, 0.2), "twice.kernel": np.ones((1, 1, 4, 4))})
    found = scores(changed)
    weights = {"/".join(weight.path.split("/")[-2:]): weight for weight in network.weights}
    weights["norm/moving_mean"].assign(np.full(4, 0.2))
    weights["twice/kernel"].assign(np.ones((1, 1, 4, 4)))
    np.testing.assert_allclose(found, network(X, training=False), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found, scores(changed), rtol=1e-6)


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_users_network_stays_and_is_followed_no_more(kind):
    network = NETWORKS[kind]()
    model = wrapped(network, labels=["a", "b"])
    first, state = scores(model), [weight.numpy().tobytes() for weight in network.weights]
    copy = model.with_relu("guided").with_parameters({"fc.kernel": np.zeros((4, 2))})
    copy.parameters()["fc.kernel"][:] = 7
    flat = copy.with_parameters({"fc.bias": np.array([1.0, 2.0])})
    assert (flat.rule, flat.labels, flat.spec) == ("guided", ("a", "b"), model.spec)
    np.testing.assert_array_equal(scores(flat), [[1, 2]] * 3)
    np.testing.assert_array_equal(scores(copy), [[0, 0]] * 3)
    np.testing.assert_array_equal(scores(model), first)
    assert [weight.numpy().tobytes() for weight in network.weights] == state
    network.weights[-1].assign(network.weights[-1] + 1)
    np.testing.assert_array_equal(scores(flat), [[1, 2]] * 3)


def test_gradients_are_those_of_the_other_weights():
    model = wrapped(functional())
    doubled = model.with_parameters({"fc.kernel": 2 * model.parameters()["fc.kernel"]})
    one, other = (ag.Saliency()(each, X, 1).values for each in (model, doubled))
    np.testing.assert_allclose(other, 2 * one, rtol=1e-5)


def test_a_function_shows_the_weights_of_the_networks_that_it_holds():
    model = wrapped(function())
    flat = model.with_parameters({name: 0 * array for name, array in model.parameters().items()})
    assert any(name.endswith("fc.kernel") for name in model.parameters())
    np.testing.assert_array_equal(scores(flat), np.zeros((3, 2)))


def test_half_precision_comes_as_single_and_goes_back_exactly():
    keras.utils.set_random_seed(0)
    network = keras.Sequential(
        [keras.Input((*SIZE, 3)), layers.Conv2D(4, 3, dtype="bfloat16", name="conv"), layers.GlobalAveragePooling2D()]
    )
    model = wrapped(network)
    found = model.parameters()
    assert found["conv.kernel"].dtype == np.float32
    np.testing.assert_array_equal(scores(model.with_parameters(found)), scores(model))


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"fc.kernle": 1}, "no weight 'fc.kernle'.*'fc.kernel'"), ({"fc.bias": np.ones(3)}, r"\(2,\), and \(3,\)")],
)
def test_unknown_names_and_other_shapes_are_refused(changed, message):
    with pytest.raises(ag.OptionError, match=message):
        wrapped(functional()).with_parameters(changed)


def test_what_holds_no_layers_shows_no_weights():
    with pytest.raises(ag.CapabilityError, match="needs 'weights'"):
        wrapped(lambda images: tf.reduce_mean(images, axis=(1, 2))).parameters()
