"""The networks of the parity tests give the same scores in every framework, and the ones their authors know.

Each network is built and run once per framework and precision, on the ramp and all its photos together.
"""

import importlib
from functools import cache, partial

import numpy as np
import pytest
from scipy.special import softmax

from tests.networks import MOBILENET_V2, RESNET20, Case, labels, load_weights
from tests.networks.wrapped import PACKAGES

CASES = pytest.mark.parametrize("case", [MOBILENET_V2, RESNET20], ids=lambda case: case.name)
FRAMEWORKS = [pytest.param(name, marks=getattr(pytest.mark, needs[0])) for name, needs in PACKAGES.items()]

RAMP_SCORES = {
    "mobilenet_v2": ((-0.3451, 1.8967, -1.5875, 0.0784, -1.0075), 906, 8.1606),
    "resnet20": ((2.8793, -2.4533, 1.4625, 0.8588, 0.3085), 8, 3.0885),
}
# The first three classes and their probabilities, as the authors of the weights' files found them.
PHOTOS: dict[str, dict[str, dict[str, float]]] = {
    "mobilenet_v2": {
        "bird.jpg": {"chickadee": 0.988, "magpie": 0.003, "water ouzel": 0.003},
        "cat.jpg": {"Egyptian cat": 0.791, "tabby": 0.116, "tiger cat": 0.040},
        "crow.jpg": {"kite": 0.824, "coucal": 0.070, "black grouse": 0.025},
        "dog_running.jpg": {"golden retriever": 0.337, "Labrador retriever": 0.254, "kuvasz": 0.166},
        "grace_hopper.jpg": {"military uniform": 0.924, "suit": 0.008, "mortarboard": 0.007},
        "hot_dog.jpg": {"hotdog": 0.817, "potpie": 0.064, "French loaf": 0.029},
        "parrot.jpg": {"macaw": 0.998, "lorikeet": 0.001, "bee eater": 0.000},
        "pets.jpg": {"Italian greyhound": 0.554, "Boston bull": 0.357, "toy terrier": 0.018},
        "samoyed.jpg": {"Samoyed": 0.980, "keeshond": 0.009, "white wolf": 0.003},
        "sunflower.jpg": {"daisy": 0.989, "vase": 0.002, "bee": 0.001},
        "chelsea": {"Egyptian cat": 0.816, "tiger cat": 0.103, "tabby": 0.072},
        "coffee": {"espresso": 0.979, "cup": 0.007, "chocolate sauce": 0.007},
        "astronaut": {"ski": 0.438, "football helmet": 0.068, "bobsled": 0.039},
    },
    "resnet20": {
        "bird.jpg": {"bird": 1.000, "airplane": 0.000, "deer": 0.000},
        "cat.jpg": {"cat": 1.000, "dog": 0.000, "horse": 0.000},
        "crow.jpg": {"bird": 1.000, "cat": 0.000, "dog": 0.000},
        "dog_running.jpg": {"cat": 0.695, "dog": 0.259, "bird": 0.028},
        "parrot.jpg": {"bird": 0.896, "airplane": 0.094, "automobile": 0.009},
        "samoyed.jpg": {"dog": 1.000, "cat": 0.000, "deer": 0.000},
        "chelsea": {"cat": 1.000, "deer": 0.000, "dog": 0.000},
    },
}


@CASES
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_ramp_gets_its_known_scores(framework: str, case: Case) -> None:
    first, best, maximum = RAMP_SCORES[case.name]
    ramp = _scores(framework, case, "float32")[0]
    np.testing.assert_allclose(ramp[:5], first, atol=1e-3)
    assert ramp.argmax() == best
    assert ramp.max() == pytest.approx(maximum, abs=1e-3)


@CASES
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_photos_are_recognised(framework: str, case: Case) -> None:
    names = [label.split(",")[0] for label in labels(case)]
    probabilities = softmax(_scores(framework, case, "float32")[1:], axis=-1)
    for (photo, expected), p in zip(PHOTOS[case.name].items(), probabilities, strict=True):
        top = np.argsort(-p)[:3]
        assert [names[i] for i in top] == list(expected), photo
        np.testing.assert_allclose(p[top], list(expected.values()), atol=0.005, err_msg=photo)


@CASES
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-9), ("float32", 1e-5)])
@pytest.mark.parametrize("framework", FRAMEWORKS[1:])
def test_scores_agree_with_torch(framework: str, case: Case, dtype: str, tolerance: float) -> None:
    scores, reference = (_scores(name, case, dtype) for name in (framework, "torch"))
    assert scores.dtype == reference.dtype == dtype
    np.testing.assert_allclose(scores, reference, rtol=0, atol=tolerance * np.abs(reference).max())


@CASES
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_softmax_is_appended(framework: str, case: Case) -> None:
    probabilities = _run(framework, case, case.ramp()[None], "float32", softmax=True)
    scores = _scores(framework, case, "float32")[:1]
    np.testing.assert_allclose(probabilities, softmax(scores, axis=-1), rtol=0, atol=1e-5)


@cache
def _scores(framework: str, case: Case, dtype: str) -> np.ndarray:
    """The scores of the ramp and of the photos in `PHOTOS`, one row each."""
    return _run(framework, case, np.stack([case.ramp(), *map(case.photo, PHOTOS[case.name])]), dtype)


def _run(framework: str, case: Case, images: np.ndarray, dtype: str, **options: bool) -> np.ndarray:
    """What the framework's network answers, built and run as its users would."""
    for package in PACKAGES[framework]:
        pytest.importorskip(package)
    builder = getattr(importlib.import_module(f"tests.networks.{framework}"), case.name)
    build = partial(builder, load_weights(case.weights), dtype, **options)
    images = case.normalise(images / 255).astype(dtype)
    if framework == "torch":
        import torch

        from tests.networks.torch import one_thread

        # float64 convolutions have been 40 times as slow in two threads that share their cores with others
        with one_thread(), torch.inference_mode():
            return build()(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
    if framework == "keras":
        network = build()
        # TensorFlow keeps the memory that a batch took: for all photos at once two gigabytes
        return np.concatenate([network(image[None]).numpy() for image in images])

    import jax
    from flax import nnx

    from tests.networks.flax import x64

    with x64(dtype):
        if framework == "nnx":
            return np.asarray(nnx.jit(lambda network, x: network(x))(build(), images))
        module, variables = build()
        return np.asarray(jax.jit(module.apply)(variables, images))
