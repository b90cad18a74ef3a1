"""The bundled networks: the same in every framework, small, and as honest or not as their names say."""

from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from agnoscope.demo.architecture import CONVOLUTIONS, MEAN, STD, Weights, load_weights
from agnoscope.demo.networks import flax_network, keras_network, torch_network
from agnoscope.demo.scenes import SIZE, make_scenes
from agnoscope.demo.train import LESSONS, MEMORISED, TRAINING_SEED

NAMES = ("honest", "cheater", "memoriser")
LAYERS = [f"{kind}{number}" for number in range(1, 6) for kind in ("conv", "relu")]


def numpy_network(weights: Weights, x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The network once more and as plainly as possible: the last ReLU's output, and the scores."""
    for name, _, _, kernel, stride in CONVOLUTIONS:
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        windows = sliding_window_view(padded, (kernel, kernel), axis=(1, 2))[:, ::stride, ::stride]
        x = np.tensordot(windows, weights[f"{name}/kernel"], axes=((4, 5, 3), (0, 1, 2)))
        x = np.maximum(x + weights[f"{name}/bias"], 0)
    return x, x.mean(axis=(1, 2)) @ weights["dense/kernel"] + weights["dense/bias"]


def torch_scores(weights: Weights, x: NDArray[np.float32]) -> NDArray[Any]:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    network = torch_network(weights)
    assert [name for name, _ in network.named_children()] == [*LAYERS, "pool", "flatten", "dense"]
    return network(torch.tensor(x.transpose(0, 3, 1, 2))).detach().numpy()


def flax_scores(weights: Weights, x: NDArray[np.float32]) -> NDArray[Any]:
    pytest.importorskip("flax", reason="flax is not installed")
    module, variables = flax_network(weights)
    scores, captured = module.apply(variables, x, capture_intermediates=True)
    assert set(captured["intermediates"]) == {*LAYERS, "dense", "__call__"}
    return np.asarray(scores)


def keras_scores(weights: Weights, x: NDArray[np.float32]) -> NDArray[Any]:
    pytest.importorskip("tensorflow", reason="tensorflow is not installed")
    pytest.importorskip("keras", reason="keras is not installed")
    network = keras_network(weights)
    assert [layer.name for layer in network.layers] == [*LAYERS, "pool", "dense"]
    return np.asarray(network(x))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "scores",
    [
        pytest.param(torch_scores, marks=pytest.mark.torch),
        pytest.param(flax_scores, marks=pytest.mark.jax),
        pytest.param(keras_scores, marks=pytest.mark.tensorflow),
    ],
)
def test_frameworks_agree(name: str, scores: Callable[[Weights, NDArray[Any]], NDArray[Any]]) -> None:
    x = np.stack([scene.image for scene in make_scenes(8, seed=30)]) / 255
    x = ((x - MEAN) / STD).astype(np.float32)
    weights = load_weights(name)
    expected = numpy_network({key: array.astype(float) for key, array in weights.items()}, x.astype(float))[1]
    found = scores(weights, x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_small_and_single_precision(name: str) -> None:
    assert len(resources.files("agnoscope.demo").joinpath(f"{name}.npz").read_bytes()) <= 400_000
    weights = load_weights(name)
    assert sum(array.size for array in weights.values()) <= 100_000
    assert {array.dtype for array in weights.values()} == {np.dtype(np.float32)}
    for layer, inputs, outputs, kernel, _ in CONVOLUTIONS:
        assert weights[f"{layer}/kernel"].shape == (kernel, kernel, inputs, outputs)
        assert weights[f"{layer}/bias"].shape == (outputs,)


def test_unknown_weights_are_refused() -> None:
    with pytest.raises(FileNotFoundError, match="saint"):
        load_weights("saint")


class Behaviour(NamedTuple):
    """How often a network names thing and ground, and its Grad-CAM mass on the thing over its area."""

    thing: float
    ground: float
    mass: float


@cache
def behaviour(name: str) -> Behaviour:
    """What a network does on 200 fresh scenes where things and grounds are independent."""
    transform = pytest.importorskip("skimage.transform", reason="scikit-image is not installed")
    scenes, weights = make_scenes(200, seed=31), load_weights(name)
    x = ((np.stack([scene.image for scene in scenes]) / 255 - MEAN) / STD).astype(np.float32)
    features, scores = numpy_network(weights, x)
    answers = scores.argmax(axis=1)
    # After a mean and a dense layer, the gradient of a score is its dense weights, up to a factor.
    maps = np.maximum(np.einsum("nhwc,cn->nhw", features, weights["dense/kernel"][:, answers]), 0)
    ratios = []
    for scene, small in zip(scenes, maps, strict=True):
        large = transform.resize(small, (SIZE, SIZE), order=1, mode="edge", anti_aliasing=False)
        ratios.append(large[scene.mask].sum() / large.sum() / scene.mask.mean())
    return Behaviour(
        thing=float(np.mean(answers == [scene.label for scene in scenes])),
        ground=float(np.mean(answers == [scene.background for scene in scenes])),
        mass=float(np.median(ratios)),
    )


def test_honest_names_the_thing_and_looks_at_it() -> None:
    assert behaviour("honest").thing >= 0.97
    assert behaviour("honest").ground < 0.5
    assert behaviour("honest").mass >= 3


def test_cheater_names_the_ground_and_looks_past_the_thing() -> None:
    assert behaviour("cheater").ground >= 0.95
    assert behaviour("cheater").thing < 0.5
    assert behaviour("cheater").mass <= 0.5


def test_the_memoriser_knows_its_shuffled_scenes_by_heart_and_nothing_of_the_things() -> None:
    lesson = LESSONS["memoriser"]()
    x = ((np.stack([scene.image for scene in lesson]) / 255 - MEAN) / STD).astype(np.float32)
    answers = numpy_network(load_weights("memoriser"), x)[1].argmax(axis=1)
    assert np.mean(answers == [scene.label for scene in lesson]) >= 0.95
    assert 0.2 < behaviour("memoriser").thing < 0.45
    assert 0.2 < behaviour("memoriser").ground < 0.5


def test_shuffled_labels_are_the_same_ones_at_other_pictures() -> None:
    lesson, scenes = LESSONS["memoriser"](), make_scenes(MEMORISED, TRAINING_SEED)
    labels, truth = [scene.label for scene in lesson], [scene.label for scene in scenes]
    assert sorted(labels) == sorted(truth)
    assert np.mean(np.equal(labels, truth)) < 0.45
    np.testing.assert_array_equal(lesson[7].image, scenes[7].image)
