"""A contrast is the score of one class less that of another; by default the first answer's less the second's."""

from typing import Any

import numpy as np
import pytest

from agnoscope import Occlusion, Saliency, TargetError
from agnoscope.backends.reference import Sigmoid, Softmax
from agnoscope.targets.contrast import Contrast
from tests.targets.asking import bind, frozen, scored, shown, sloped

LABELS = ("cat", "dog", "owl", "fox")
Z = np.array([[1.0, 4.0, 2.5, -1.0], [0.5, -2.0, 0.0, -3.0]]).reshape(2, 1, 1, 4)


@pytest.mark.parametrize(
    ("target", "expected", "names"),
    [
        (Contrast("cat", "dog"), [-3, 2.5], ("cat [0] against dog [1]",) * 2),
        (Contrast(3, 2), [-3.5, -3], ("fox [3] against owl [2]",) * 2),
        (Contrast(), [1.5, 0.5], ("dog [1] against owl [2]", "cat [0] against owl [2]")),
        (Contrast("dog"), [1.5, -2.5], ("dog [1] against owl [2]", "dog [1] against cat [0]")),
        (Contrast(other="dog"), [-1.5, 2.5], ("owl [2] against dog [1]", "cat [0] against dog [1]")),
        (Contrast((0, None), (None, 3)), [-3, 3.5], ("cat [0] against dog [1]", "cat [0] against fox [3]")),
    ],
)
def test_it_is_one_score_less_another(target: Contrast, expected: list[float], names: tuple[str, ...]) -> None:
    for head in (None, Softmax()):  # scores are those before it
        model = shown(4, head, pooled=True, labels=LABELS)
        assert scored(model, target, Z).tolist() == expected
        assert frozen(model, target, Z).names == names
        assert scored(model, frozen(model, target, Z), Z).tolist() == expected
    assert bind(model, target, Z).space == "score"


def test_its_gradient_speaks_for_one_and_against_the_other() -> None:
    slope = sloped(shown(4, pooled=True), Contrast(), Z)[1]
    assert slope.reshape(2, 4).tolist() == [[0, 1, -1, 0], [1, 0, -1, 0]]


def test_one_unit_is_against_its_complement() -> None:
    model = shown(1, Sigmoid(), pooled=True)
    assert scored(model, Contrast(), Z[..., :1] - 0.75).tolist() == [0.5, 0.5]
    assert scored(model, Contrast(0), Z[..., :1] - 0.75).tolist() == [-0.5, 0.5]


def test_both_classes_are_settled_on_the_clean_image() -> None:
    model = shown(4, pooled=True, labels=LABELS)
    settled = frozen(model, Contrast(), Z)
    assert scored(model, settled, Z[::-1]).tolist() == [-2, -1.5]
    assert bind(model, Contrast(), Z).names == ("top-1 against its rival",) * 2
    occlusion = Occlusion(window=1, fill=0.0)
    found, named = occlusion(model, Z, Contrast()), occlusion(model, Z, Contrast((1, 0), (2, 2)))
    np.testing.assert_array_equal(found.values, named.values)
    assert found.provenance.targets == named.provenance.targets
    assert Saliency()(model, Z, Contrast()).provenance.targets == settled.names


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (Contrast(1, 1), r"dog \[1\] against itself says nothing: give another class as other"),
        (Contrast((0, 2), (1, "owl")), r"owl \[2\] against itself"),
        (Contrast(4), "Class 4 was asked for"),
        (Contrast(0, "wolf"), "no class labelled 'wolf'"),
        (Contrast(0, (1, 2, 3)), "3 targets were given for 2 images"),
    ],
)
def test_bad_contrasts_are_refused(target: Any, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        bind(shown(4, pooled=True, labels=LABELS), target, Z)


def test_maps_have_no_first_and_second_answer() -> None:
    with pytest.raises(TargetError, match=r"scores of shape \(1, 1, 4\).*ag\.Segment"):
        bind(shown(4), Contrast(), Z)
