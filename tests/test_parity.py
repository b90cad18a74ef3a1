"""The promise: the same weights give the same explanation in every framework.

In float64 every method agrees to 1e-9: that is the proof of our code. In float32 it depends on ReLU gates: an
input of a gate so near to its edge that the frameworks' rounding puts it on different sides changes the gradient
below. So such flips are counted; where there are none, 1e-5 must hold.
"""

import gc
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import agnoscope as ag
from tests.networks import MOBILENET_V2, SHARED
from tests.networks.wrapped import CASES, PACKAGES, apart, layer, network, x64

OTHERS = [pytest.param(name, marks=getattr(pytest.mark, PACKAGES[name][0])) for name in ("linen", "nnx", "keras")]
EACH = [pytest.param(name, marks=getattr(pytest.mark, PACKAGES[name][0])) for name in PACKAGES]

LAST = {"mobilenet_v2": "conv_last", "resnet20": "layer3.2"}
MIDDLE = {"mobilenet_v2": "block10.project", "resnet20": "layer2.1"}
# Small enough to hide and many enough to overlap: 36 windows on both networks.
WINDOW = {"mobilenet_v2": (64, 32), "resnet20": (9, 5)}
METHODS = ("saliency", "guided-backprop", "deconvnet", "grad-cam", "grad-cam in the middle", "occlusion")


@pytest.fixture(scope="module", autouse=True)
def networks_go_at_the_end() -> Iterator[None]:
    """With their programs they take gigabytes."""
    yield
    for kept in (network, explanation, gates):
        kept.cache_clear()
    gc.collect()


@cache
def explanation(framework: str, name: str, dtype: str, method: str, photo: str) -> ag.Explanation:
    """One explanation of one photo's first answer."""
    model, (window, stride) = network(framework, name, dtype), WINDOW[name]
    with x64(framework, dtype):
        explainers = {
            "saliency": ag.Saliency,
            "guided-backprop": ag.GuidedBackprop,
            "deconvnet": ag.Deconvnet,
            "grad-cam": lambda: ag.GradCAM(layer(model, LAST[name])),
            "grad-cam in the middle": lambda: ag.GradCAM(layer(model, MIDDLE[name])),
            "occlusion": lambda: ag.Occlusion(window=window, stride=stride),
        }
        return explainers[method]()(model, CASES[name].photo(photo), batch_size=6)


@cache
def gates(framework: str, name: str, photo: str) -> NDArray[np.bool_]:
    """Which ReLU gates are open, over the whole network: 0 < z < 6, or 0 < z."""
    model = network(framework, name, "float32")
    inputs = [known for known in model.layers() if _feeds_a_relu(name, known.replace("/", "."))]
    high = 6.0 if name == "mobilenet_v2" else np.inf
    images = CASES[name].photo(photo)[None] / 255.0
    values = model.compile(_capture, tuple(inputs))(images)
    return np.concatenate([((values[known] > 0) & (values[known] < high)).ravel() for known in inputs])


def _feeds_a_relu(name: str, layer: str) -> bool:
    if name == "mobilenet_v2":
        return layer in ("conv0", "conv_last") or layer.endswith((".expand", ".depthwise"))
    return layer == "bn1" or layer.endswith(".bn1") or (layer.startswith("layer") and layer.count(".") == 1)


def _capture(model: ag.Model, names: tuple[str, ...], images: Any) -> dict[str, Any]:
    return model.run(images, names)


def cells() -> Iterator[Any]:
    """Every case, photo and method that float32 is tested on."""
    for name, photos in (
        ("mobilenet_v2", ("pets.jpg", "parrot.jpg")),
        ("resnet20", ("cat.jpg", "bird.jpg", "chelsea")),
    ):
        for photo in photos:
            for method in METHODS:
                yield pytest.param(name, photo, method, id=f"{name}-{photo}-{method}")


@pytest.mark.torch
@pytest.mark.parametrize("framework", OTHERS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", CASES)
def test_float64_agrees_to_nine_digits(name: str, method: str, framework: str) -> None:
    photo = {"mobilenet_v2": "pets.jpg", "resnet20": "cat.jpg"}[name]
    one, other = (explanation(each, name, "float64", method, photo) for each in ("torch", framework))
    assert one.values.dtype == other.values.dtype == np.float64
    assert one.provenance.targets == other.provenance.targets
    assert apart(one.values, other.values) <= 1e-9


@pytest.mark.torch
@pytest.mark.parametrize("framework", OTHERS)
@pytest.mark.parametrize(("name", "photo", "method"), list(cells()))
def test_float32_agrees(name: str, photo: str, method: str, framework: str) -> None:
    one, other = (explanation(each, name, "float32", method, photo) for each in ("torch", framework))
    assert one.values.dtype == other.values.dtype == np.float32
    a, b = one.values.astype(np.float64), other.values.astype(np.float64)
    through_gates = method in ("saliency", "guided-backprop", "grad-cam in the middle")
    flips = int((gates("torch", name, photo) != gates(framework, name, photo)).sum()) if through_gates else 0
    if flips == 0:
        # A fall of the score is a small difference of large numbers: its noise is that of the score.
        scale = max(np.abs(a).max(), abs(one.provenance.scores[0])) if method == "occlusion" else np.abs(a).max()
        assert np.abs(a - b).max() / scale <= 1e-5
        return
    # More than a few would be a difference of the networks, not of rounding: there are millions of gates.
    assert flips <= 20
    assert np.linalg.norm(a - b) / np.linalg.norm(a) <= 2e-2
    assert np.percentile(np.abs(a - b), 99) / np.abs(a).max() <= 5e-3


@pytest.mark.torch
@pytest.mark.parametrize("framework", OTHERS)
@pytest.mark.parametrize("name", CASES)
def test_float32_activations_and_scores_agree(name: str, framework: str) -> None:
    images = CASES[name].photo("cat.jpg")[None] / 255.0
    for wanted in (MIDDLE[name], LAST[name], "scores"):
        values = []
        for each in ("torch", framework):
            model = network(each, name, "float32")
            known = wanted if wanted == "scores" else layer(model, wanted)
            values.append(model.compile(_capture, (known,))(images)[known])
        assert values[0].shape == values[1].shape
        assert apart(*values) <= 1e-5


@pytest.mark.parametrize("framework", EACH)
def test_two_dogs_are_told_apart(framework: str) -> None:
    """In pets.jpg the first two answers are one dog each: the left and the right one."""
    from PIL import Image

    model = network(framework, "mobilenet_v2", "float32")
    photo = MOBILENET_V2.photo("pets.jpg")
    first, second = (answer.label for answer in ag.predict(model, photo)[0][:2])
    assert first.startswith("Italian greyhound")
    assert second.startswith("Boston bull")
    size = (MOBILENET_V2.size, MOBILENET_V2.size)
    left, right = (
        np.asarray(Image.open(SHARED / "images" / f"pets_{side}_mask.png").resize(size, Image.Resampling.NEAREST)) > 0
        for side in ("left", "right")
    )
    shares = {}
    for label in ("Italian greyhound", "Boston bull"):
        hidden = ag.Occlusion(*WINDOW["mobilenet_v2"])(model, photo, label, batch_size=6).maps("positive")[0]
        cam = ag.GradCAM()(model, photo, label).maps()[0]
        shares[label] = hidden[left].sum() / hidden[right].sum(), cam[left].sum() / cam[right].sum()
    assert shares["Italian greyhound"][0] > 1 > shares["Boston bull"][0]
    assert shares["Italian greyhound"][1] > shares["Boston bull"][1]
