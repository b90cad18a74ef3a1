"""An output is the number that the network gives, after whatever head."""

from typing import Any

import numpy as np
import pytest

from agnoscope import ClassScore, Saliency, TargetError
from agnoscope.backends.reference import Sigmoid, Softmax
from agnoscope.targets.regression import Output
from tests.targets.asking import bind, scored, shown, sloped

Z = np.array([[1.0, -2.0, 0.5], [-3.0, 0.0, 2.0]]).reshape(2, 1, 1, 3)


@pytest.mark.parametrize(("index", "expected"), [(0, [1, -3]), (2, [0.5, 2]), ((1, 2), [-2, 2])])
def test_it_is_a_unit_as_it_stands(index: Any, expected: list[float]) -> None:
    model = shown(3, pooled=True)
    assert scored(model, Output(index), Z).tolist() == expected
    assert bind(model, Output(index), Z).space == "output"
    each = index if isinstance(index, tuple) else (index, index)
    assert bind(model, Output(index), Z).names == tuple(f"output {i}" for i in each)


def test_it_lies_after_the_head() -> None:
    powers = np.exp(Z.reshape(2, 3))
    softmax = powers / powers.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(scored(shown(3, Softmax(), pooled=True), Output(1), Z), softmax[:, 1])
    sigmoid = 1 / (1 + np.exp(-Z[..., 1].reshape(2)))
    np.testing.assert_allclose(scored(shown(3, Sigmoid(), pooled=True), Output(1), Z), sigmoid)


def test_one_unit_is_no_class_and_has_no_complement() -> None:
    model, z = shown(1, pooled=True, labels=("age",)), Z[..., :1]
    scores, slope = sloped(model, Output(), z)
    assert scores.tolist() == [1, -3]
    assert slope.reshape(-1).tolist() == [1, 1]
    assert scored(shown(1, pooled=True), ClassScore(), z).tolist() == [1, 3]
    provenance = Saliency()(model, z, Output()).provenance
    assert (provenance.targets, provenance.space, provenance.answers) == (("age", "age"), "output", ())


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (3, "Output 3 was asked for; the network has 3, by their number from 0"),
        (-1, "Output -1 was asked for"),
        ("age", "Output 'age' was asked for"),
        (None, "Output None was asked for"),
        ((0, 1, 2), "3 outputs were given for 2 images"),
    ],
)
def test_outputs_that_are_not_there_are_refused(index: Any, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        bind(shown(3, pooled=True), Output(index), Z)


def test_maps_are_no_list_of_outputs() -> None:
    with pytest.raises(TargetError, match=r"output of shape \(1, 1, 3\).*Use a function of the run"):
        bind(shown(3), Output(), Z)
