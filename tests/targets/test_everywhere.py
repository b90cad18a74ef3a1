"""Every target is the same in every framework, asks of single images alike, and compiles once."""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest

from agnoscope import ClassScore, Model, Saliency, wrap
from agnoscope.backends.reference import Conv, GlobalAverage, Network, Relu, Sigmoid
from agnoscope.target import Target
from agnoscope.targets.contrast import Contrast
from agnoscope.targets.detection import Box
from agnoscope.targets.embedding import Similarity
from agnoscope.targets.regression import Output
from agnoscope.targets.segmentation import Segment
from agnoscope.targets.units import Channel, Neuron
from agnoscope.testing import SIZE, images
from agnoscope.trees import leaves
from tests.strict import OPTIONS, StrictModel
from tests.targets.asking import bind, frozen, scored, sloped

X = images().astype(np.float64)
NOISE = np.random.default_rng(5)


def network(dtype: Any, bias: tuple[float, ...], pooled: bool = False, head: Any = None) -> Network:
    """Two convolutions that give a map of numbers, one for each of `bias`, or their means."""
    first, second = (np.random.default_rng(seed).normal(size=shape) for seed, shape in ((1, (3, 3, 3, 5)), (2, (5, 6))))
    layers: dict[str, Any] = {
        "conv1": Conv(0.3 * first.astype(dtype), np.full(5, 0.1, dtype), 1, 1),
        "relu": Relu(),
        "conv2": Conv(second[None, None, :, : len(bias)].astype(dtype), np.array(bias, dtype)),
    }
    return Network(layers | ({"gap": GlobalAverage()} if pooled else {}) | ({"head": head} if head else {}))


FOUR = (0, 0, 0, 0)
MAPS, MAPS_OF_SIGMOIDS, UNIT = (FOUR,), (FOUR, False, Sigmoid()), ((0,), False, Sigmoid())
POOLED, SIGMOIDS = (FOUR, True), (FOUR, True, Sigmoid())
CORNERS, CENTRES = ((0, 0, 6, 5, 0, 0),), ((0.5, 0.5, 2, 2, 0, 0),)
MASK = NOISE.uniform(size=SIZE)


class Case(NamedTuple):
    """A target, another one of the same program, and what describes their network."""

    target: Target
    other: Target
    network: tuple[Any, ...]

    def of(self, dtype: Any) -> Network:
        return network(dtype, *self.network)


CASES = {
    "neuron": Case(Neuron("conv1", 2), Neuron("conv1", 4, (0, 1)), POOLED),
    "channel": Case(Channel("conv1", 2), Channel("conv1", 0), POOLED),
    "segment": Case(Segment(), Segment((1, "0", None), MASK > 0.5), MAPS),
    "mask": Case(Segment(2, MASK, "probability"), Segment(None, [MASK, MASK.round(), 1 - MASK], "probability"), MAPS),
    "one unit": Case(Segment(space="probability"), Segment(0, MASK, "probability"), UNIT),
    "sigmoids": Case(Segment(1), Segment(None, MASK), MAPS_OF_SIGMOIDS),
    "box": Case(Box((0, 0, 4, 3), head="sigmoid"), Box(((0, 1, 3, 3),) * 3, 1, head="sigmoid"), CORNERS),
    "centred box": Case(
        Box((1, 1, 5, 4), None, "centre", "shares", "softmax"),
        Box((0, 0, 7, 5), 0, "centre", "shares", "softmax"),
        CENTRES,
    ),
    "cosine": Case(Similarity((1, -2, 3, 4)), Similarity(NOISE.normal(size=(3, 4))), POOLED),
    "dot": Case(
        Similarity(NOISE.normal(size=(*SIZE, 5)), "relu", "dot"), Similarity(np.ones((*SIZE, 5)), "relu", "dot"), POOLED
    ),
    "output": Case(Output(), Output((1, 2, 3)), SIGMOIDS),
    "contrast": Case(Contrast(), Contrast("2", (0, 1, None)), POOLED),
    "sum": Case(Contrast() - 2 * ClassScore(), 0.5 * Contrast(1) + 3 * ClassScore((0, 3, None)), POOLED),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def torch(network: Network) -> Model:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from tests.backends.torch_builder import build

    return build(network)


def jax(network: Network) -> Model:
    from tests.backends.test_conformance import linen

    return linen(network)


def tensorflow(network: Network) -> Model:
    from tests.backends.test_conformance import keras

    return keras(network)


def agree(model: Model, network: Network, target: Target, tolerance: float) -> None:
    """The target and its gradient are those of the reference backend."""
    for found, expected in zip(sloped(model, target, X), sloped(wrap(network), target, X), strict=True):
        assert np.abs(expected).max() > 0
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@every_case
@pytest.mark.parametrize(
    "build",
    [
        pytest.param(torch, marks=pytest.mark.torch),
        pytest.param(jax, marks=pytest.mark.jax),
        pytest.param(tensorflow, marks=pytest.mark.tensorflow),
    ],
)
def test_every_framework_gives_the_same_gradient(build: Any, case: Case) -> None:
    network = case.of(np.float32)
    model = build(network)
    for target in (case.target, case.other):
        agree(model, network, target, 1e-5)


@pytest.mark.torch
@every_case
def test_in_double_precision_it_is_the_same_to_nine_digits(case: Case) -> None:
    network = case.of(np.float64)
    for target in (case.target, case.other):
        agree(torch(network), network, target, 1e-9)


@every_case
def test_targets_keep_to_the_standard_and_their_gradient_is_the_difference_quotient(case: Case) -> None:
    network = case.of(np.float64)
    for target in (case.target, case.other):
        found, expected = (
            Saliency()(model, X, target).values for model in (StrictModel(network), wrap(network, **OPTIONS))
        )
        assert np.abs(expected).max() > 0
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


@every_case
def test_another_class_mask_or_embedding_is_the_same_program(case: Case) -> None:
    model = wrap(case.of(np.float32))
    one, other = (bind(model, target, X) for target in (case.target, case.other))
    assert (one.formula, hash(one.formula)) == (other.formula, hash(other.formula))
    assert one.arrays.keys() == other.arrays.keys()
    for bound in (other, frozen(model, case.target, X), one.take(np.array([2, 0, 1]))):
        assert bound.formula == one.formula
        kinds = [[(leaf.shape, leaf.dtype) for leaf in leaves(each.arrays)] for each in (one, bound)]
        assert kinds[0] == kinds[1]
    assert all(len(leaf) == len(X) for leaf in leaves(one.arrays))


@every_case
def test_some_of_the_images_can_be_asked_alone(case: Case) -> None:
    model, rows = wrap(case.of(np.float64)), np.array([2, 0, 0])
    for target in (case.target, case.other):
        bound = frozen(model, target, X)
        np.testing.assert_allclose(scored(model, bound.take(rows), X[rows]), scored(model, bound, X)[rows])
        assert bound.take(rows).names == tuple(bound.names[i] for i in rows)
        assert "top-1" not in "".join(bound.names)
        np.testing.assert_allclose(scored(model, bound, X), scored(model, target, X))


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(torch, marks=pytest.mark.torch),
        pytest.param(jax, marks=pytest.mark.jax),
        pytest.param(tensorflow, marks=pytest.mark.tensorflow),
    ],
)
def test_an_activation_that_is_all_zero_has_no_slope_in_any_framework(build: Any) -> None:
    dark = network(np.float32, *POOLED)
    layers: dict[str, Any] = dict(dark.layers)
    layers["conv1"] = replace(layers["conv1"], bias=np.full(5, -100, np.float32))
    scores, slope = sloped(build(Network(layers)), Similarity((1, 2, 3, 4)), X)
    assert not scores.any()
    assert not slope.any()
