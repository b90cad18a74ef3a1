"""What the network receives: images in its range and its channels, normalised, the same bits in every framework."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agnoscope import OptionError, wrap
from agnoscope.backends.reference import Network, Relu
from agnoscope.images import InputSpec
from tests.frameworks import FRAMEWORKS

SPECS = {
    "torchvision": InputSpec(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    "bytes": InputSpec(range=(0, 255), mean=128.0, std=127.5),
    "caffe": InputSpec(range=(0, 255), mean=(103.939, 116.779, 123.68), channels="BGR"),
    "signed": InputSpec(range=(-1, 1)),
    "from signed": InputSpec(bounds=(-1, 1), range=(0, 1), mean=0.5, std=0.25),
    "centred": InputSpec(mean=0.5),
    "as it is": InputSpec(),
}


def exactly(spec: InputSpec, images: NDArray[Any]) -> NDArray[Any]:
    """(scaled - mean) / std, in float64 and as it is written."""
    (low, high), (start, end) = spec.bounds, spec.range or spec.bounds
    images = images[..., ::-1] if spec.channels == "BGR" else images
    scaled = start + (images.astype(np.float64) - low) / (high - low) * (end - start)
    return (scaled - np.asarray(spec.mean)) / np.asarray(spec.std)


def noise(spec: InputSpec) -> NDArray[np.float32]:
    """Images all over the bounds."""
    return np.random.default_rng(3).uniform(*spec.bounds, size=(2, 16, 16, 3)).astype(np.float32)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_images_are_prepared_to_a_few_roundings(spec: InputSpec) -> None:
    prepared, exact = spec.prepare(np, noise(spec)), exactly(spec, noise(spec))
    assert prepared.dtype == np.float32
    assert np.abs(prepared - exact).max() <= 3 * np.spacing(np.float32(np.abs(exact).max()))
    double = spec.prepare(np, noise(spec).astype(np.float64))
    np.testing.assert_allclose(double, exact, rtol=0, atol=1e-13 * np.abs(exact).max())


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_every_framework_prepares_the_same_bits(framework: str, spec: InputSpec) -> None:
    library: Any = pytest.importorskip(framework)
    x = noise(spec)
    if framework == "torch":
        namespace: Any = pytest.importorskip("array_api_compat.torch")
        prepared = spec.prepare(namespace, library.from_numpy(x))
    elif framework == "jax":
        prepared = library.jit(partial(spec.prepare, library.numpy))(x)
    else:
        from agnoscope.backends.tensorflow_namespace import xp

        prepared = library.function(partial(spec.prepare, xp))(library.constant(x))
    np.testing.assert_array_equal(np.asarray(prepared), spec.prepare(np, x))


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("channels", "GBR", "give 'RGB', 'BGR', 'L' or a number"),
        ("channels", 0, "channels=0 is not"),
        ("mean", (0.1, 0.2), "mean=.* does not fit a network of 3 channels"),
        ("mean", float("nan"), "one finite number"),
        ("std", (1.0, 0.0, 1.0), "std=.* holds a zero"),
        ("std", (1.0, 1.0), "does not fit"),
        ("bounds", (1.0, 0.0), "lower and a higher"),
        ("bounds", (0.0, float("inf")), "lower and a higher"),
        ("range", (2.0, 2.0), "two different numbers"),
        ("size", (0, 4), r"must be \(height, width\)"),
    ],
)
def test_what_makes_no_sense_of_an_image_is_refused(option: str, value: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        replace(InputSpec(), **{option: value})


@pytest.mark.parametrize("size", [(3,), (3, 4, 5), (3.5, 4), 0, (0, 4), -1])
def test_a_size_that_is_none_is_refused(size: Any) -> None:
    with pytest.raises(OptionError, match=r"must be \(height, width\) in pixels"):
        wrap(Network({"relu": Relu()}), input_size=size)
