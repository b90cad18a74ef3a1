"""Keras networks with several inputs, on TensorFlow: all but the image are bound."""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
keras = pytest.importorskip("keras", reason="Keras is not installed")
if keras.backend.backend() != "tensorflow":
    pytest.skip("Keras does not run on TensorFlow", allow_module_level=True)

import agnoscope as ag

layers, ops = keras.layers, keras.ops
pytestmark = pytest.mark.tensorflow

SIZE = (5, 7)
X = np.random.default_rng(0).random((3, *SIZE, 3)).astype(np.float32)
META = np.array([0.3, -2.0])
OTHER = np.array([1.0, 0.5])


def functional(arrange=list):
    keras.utils.set_random_seed(0)
    image, meta = keras.Input((*SIZE, 3), name="image"), keras.Input((2,), name="meta")
    seen = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu", name="conv")(image))
    scores = layers.Dense(3, name="fc")(layers.Concatenate()([seen, layers.Dense(2, name="beside")(meta)]))
    return keras.Model(arrange([meta, image]), scores)


def in_dictionary(inputs):
    return dict(zip(("meta", "image"), inputs, strict=True))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        keras.utils.set_random_seed(0)
        self.conv = layers.Conv2D(4, 3, activation="relu", name="conv")
        self.beside, self.fc = layers.Dense(2, name="beside"), layers.Dense(3, name="fc")

    def call(self, image, meta, training=False):
        seen = ops.mean(self.conv(image), axis=(1, 2))
        return self.fc(ops.concatenate([seen, self.beside(meta)], axis=1))


def as_function():
    network = functional()
    return lambda image, meta: network([meta, image])


def run(model, names, images):
    return model.run(images, names)


def scores(model, x=X):
    return model.compile(run, ("scores",))(x)["scores"]


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


NETWORKS = {
    "functional": functional,
    "dictionary": lambda: functional(in_dictionary),
    "subclassed": Subclassed,
    "function": as_function,
}


def wrapped(network):
    return ag.wrap(network, input_size=SIZE, backend="tensorflow")


@pytest.mark.parametrize("kind", NETWORKS)
def test_scores_are_those_of_the_network_with_the_same_numbers_beside_each_image(kind):
    network = NETWORKS[kind]()
    model = wrapped(network)
    for meta in (META, OTHER, META):
        found, beside = scores(model.bind(meta=meta)), np.tile(meta, (3, 1)).astype(np.float32)
        given = {"functional": ([beside, X],), "dictionary": ({"meta": beside, "image": X},)}.get(kind, (X, beside))
        close(found, network(*given))


def test_other_arrays_of_the_same_shape_share_the_program_and_not_the_result():
    traces = []

    def program(model, static, images):
        traces.append(static)
        return model.run(images, ("scores",))

    model = wrapped(functional())
    one, other, again = (model.bind(meta=meta).compile(program, ())(X)["scores"] for meta in (META, OTHER, META))
    assert np.abs(one - other).max() > 0.1
    np.testing.assert_array_equal(one, again)
    assert len(traces) == 1


def test_the_size_of_the_image_is_read_off_the_network_once_it_is_known():
    model = ag.wrap(functional())
    assert model.spec.size is None
    assert model.bind(meta=META).spec.size == SIZE


@pytest.mark.parametrize(("bound", "factor"), [("right", 1), ("left", 2)])
def test_either_of_two_images_can_be_explained(bound, factor):
    left, right = keras.Input((*SIZE, 3), name="left"), keras.Input((*SIZE, 3), name="right")
    network = keras.Model([left, right], layers.GlobalAveragePooling2D()(left + 2 * right))
    model = ag.wrap(network).bind(**{bound: np.zeros((*SIZE, 3))})
    found = ag.Saliency()(model, X, 0)
    np.testing.assert_allclose(found.values[..., 0], np.full((3, *SIZE), factor / np.prod(SIZE)), rtol=1e-5)


def test_layers_beside_the_image_are_seen_and_methods_work_in_chunks():
    model = wrapped(Subclassed()).with_relu("guided").bind(meta=META)
    assert model.rule == "guided"
    assert list(model.layers()) == ["conv", "beside", "fc"]
    for explainer in (ag.Saliency(), ag.GradCAM()):
        whole, parts = (explainer(model, X, 1, batch_size=size).values for size in (3, 2))
        np.testing.assert_allclose(parts, whole, atol=1e-6 * np.abs(whole).max())


@pytest.mark.parametrize("kind", NETWORKS)
def test_what_is_not_bound_is_asked_for_by_name(kind):
    model = wrapped(NETWORKS[kind]())
    for action in (model.layers, lambda: scores(model), lambda: ag.Saliency()(model, X)):
        with pytest.raises(ag.OptionError, match=r"inputs (image, meta|meta, image).*model\.bind\((meta|image)=array"):
            action()


@pytest.mark.parametrize(
    ("kind", "bound", "message"),
    [
        ("functional", {"metta": META}, "no input 'metta'.*'meta'"),
        ("functional", {"meta": META[:1]}, r"'meta' has shape \(2\) for one example.*\(1,\)"),
        ("dictionary", {"metta": META}, "no input 'metta'"),
        ("subclassed", {"metta": META}, "no input 'metta'"),
        ("function", {"meta": META[:1]}, r"meta of shape \(1,\): give bind arrays of one example"),
        ("functional", {"image": X[0], "meta": META}, "all bound"),
    ],
)
def test_wrong_names_and_shapes_are_refused(kind, bound, message):
    with pytest.raises(ag.OptionError, match=message):
        wrapped(NETWORKS[kind]()).bind(**bound)


def test_what_is_left_over_must_be_an_image():
    with pytest.raises(ag.ModelError, match="a batch of images has four axes"):
        wrapped(functional()).bind(image=X[0])


def test_a_network_of_one_input_has_nothing_to_bind():
    network = keras.Sequential([keras.Input((*SIZE, 3)), layers.Flatten()])
    with pytest.raises(ag.CapabilityError, match="bind fixes inputs beside the image"):
        ag.wrap(network).bind(meta=META)


def test_neither_the_network_nor_the_arrays_change():
    network, meta = functional(), META.astype(np.float32)
    before = [weight.numpy().tobytes() for weight in network.weights], [sorted(vars(each)) for each in network.layers]
    model = ag.wrap(network).bind(meta=meta)
    first = scores(model)
    meta[:] = 100
    np.testing.assert_array_equal(scores(model), first)
    after = [weight.numpy().tobytes() for weight in network.weights], [sorted(vars(each)) for each in network.layers]
    assert after == before
