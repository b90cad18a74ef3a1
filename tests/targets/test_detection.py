"""The score of a box is that of the candidate that matches best: overlap times probability."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agnoscope import Occlusion, TargetError
from agnoscope.backends.reference import Sigmoid
from agnoscope.targets.detection import Box
from tests.targets.asking import bind, frozen, scored, shown, sloped

LABELS = ("cat", "dog")
SIZE = (4, 6)  # of the image in pixels; every pixel of the little detector is a candidate
# Corners and the probabilities of both classes.
CANDIDATES = [
    (1, 1, 3, 3, 0.5, 0.2),  # overlaps the box (1, 1, 3, 3) by 1
    (2, 1, 4, 3, 0.9, 0.1),  # by 2 / 6
    (0, 0, 6, 4, 0.3, 1.0),  # by 4 / 24
    (4, 0, 6, 2, 1.0, 1.0),  # not at all
]
HERE = (1.0, 1.0, 3.0, 3.0)


def found(*candidates: tuple[float, ...]) -> NDArray[np.float64]:
    """An image of which the little detector makes these candidates, and otherwise nothing."""
    image = np.zeros((1, *SIZE, len(candidates[0])))
    image.reshape(-1, image.shape[-1])[: len(candidates)] = candidates
    return image


X = found(*CANDIDATES)
EMPTY = found((4, 0, 6, 2, 1.0, 1.0))


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (Box(HERE, "cat"), 0.5),
        (Box(HERE, "dog"), 0.2),
        (Box(HERE), 0.5),
        (Box((2, 1, 4, 3), 0), 0.9),
        (Box((0, 0, 6, 4)), 1.0),  # of both classes the dog
        (Box((1, 1, 2, 2), 0), 0.5 / 4),
        (Box((0, 3, 1, 4), 0), 0.3 / 24),
        (Box((-1, -1, 0.5, 0.5), 0), 0.3 * 0.25 / (24 + 2.25 - 0.25)),
    ],
)
def test_it_is_overlap_times_probability_of_the_best_candidate(target: Box, expected: float) -> None:
    model = shown(6, labels=LABELS)
    np.testing.assert_allclose(scored(model, target, X), [expected])
    np.testing.assert_allclose(scored(model, frozen(model, target, X), X), [expected])


def test_candidates_are_read_as_the_detector_writes_them() -> None:
    corners = X.reshape(-1, 6)
    left, top, right, bottom = corners[:, :4].T
    centres = np.stack([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top], axis=1)
    for layout, edges in (("corners", corners[:, :4]), ("centre", centres)):
        for unit, size in (("pixels", [1, 1, 1, 1]), ("shares", [6, 4, 6, 4])):
            x = np.concatenate([edges / size, corners[:, 4:]], axis=1).reshape(X.shape)
            target = Box((2, 0, 5, 3), "cat", layout=layout, unit=unit)  # type: ignore[arg-type]
            np.testing.assert_allclose(scored(shown(6, labels=LABELS), target, x), [0.9 * 4 / (4 + 9 - 4)])


@pytest.mark.parametrize("head", ["sigmoid", "softmax"])
def test_numbers_become_probabilities_by_the_head(head: Any) -> None:
    logits = np.array([2.0, -1.0])
    probabilities = {
        "sigmoid": 1 / (1 + np.exp(-logits)),
        "softmax": np.exp(logits) / np.exp(logits).sum(),
    }[head]
    x = found((*HERE, *logits))
    np.testing.assert_allclose(scored(shown(6), Box(HERE, 1, head=head), x), probabilities[1:])
    assert frozen(shown(6), Box(HERE, head=head), x).names == ("class 0 at (1, 1, 3, 3)",)


def test_its_gradient_is_that_of_the_overlap_and_of_the_probability() -> None:
    # The candidate's right edge at r: overlap (r - 2) · 2 of a union 4 + (r - 2) · 2 - (3 - 2) · 2, here at r = 4.
    x = found((2, 1, 4, 3, 0.9, 0.1))
    slope = sloped(shown(6), Box((1, 1, 3, 3), 0), x)[1].reshape(-1, 6)
    np.testing.assert_allclose(slope[0, 4:], [1 / 3, 0])
    np.testing.assert_allclose(slope[0, 2], 0.9 * -2 * 2 / 6**2)  # a wider union for the same overlap 2
    assert not slope[1:].any()


def test_what_overlaps_nothing_scores_zero() -> None:
    model = shown(6, labels=LABELS)
    scores, slope = sloped(model, Box(HERE, 1), EMPTY)
    assert scores.tolist() == [0]
    assert not slope.any()
    assert frozen(model, Box(HERE, 1), EMPTY).names == ("dog [1] at (1, 1, 3, 3)",)
    # No class is the best there, so it remains open which.
    assert frozen(model, Box(HERE), EMPTY).names == ("top-1 at (1, 1, 3, 3)",)
    assert scored(model, frozen(model, Box(HERE), EMPTY), X).tolist() == [0.5]


def test_corners_the_wrong_way_round_hold_nothing() -> None:
    assert scored(shown(6), Box(HERE, 0), found((3, 3, 1, 1, 1.0, 1.0))).tolist() == [0]


def test_boxes_and_classes_may_differ_from_image_to_image() -> None:
    model, x = shown(6, labels=LABELS), np.concatenate([X, X])
    target = Box((HERE, (0, 0, 6, 4)), ("dog", None))
    np.testing.assert_allclose(scored(model, target, x), [0.2, 1.0])
    assert frozen(model, target, x).names == ("dog [1] at (1, 1, 3, 3)", "dog [1] at (0, 0, 6, 4)")
    both = Box(HERE) + 2 * Box((0, 0, 6, 4))
    assert frozen(model, both, X).names == ("cat [0] at (1, 1, 3, 3) + 2 × dog [1] at (0, 0, 6, 4)",)
    np.testing.assert_allclose(scored(model, frozen(model, both, X), X), [2.5])


def test_the_class_is_settled_on_the_clean_image() -> None:
    model = shown(6, labels=LABELS)
    settled = frozen(model, Box(HERE), X)
    np.testing.assert_allclose(scored(model, settled, found((*HERE, 0.1, 0.8))), [0.1])
    occlusion = Occlusion(window=1, stride=1, fill=0.0)
    found_by_itself, named = occlusion(model, X, Box(HERE)), occlusion(model, X, Box(HERE, "cat"))
    np.testing.assert_array_equal(found_by_itself.values, named.values)
    assert found_by_itself.values.reshape(-1)[0] == pytest.approx(0.5 - 0.9 / 3)  # the next best candidate is left
    assert found_by_itself.provenance.targets == ("cat [0] at (1, 1, 3, 3)",)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (Box(HERE, 2), "Class 2 was asked for; the network has 2 classes"),
        (Box(HERE, (0, 1)), "2 targets were given for 1 images"),
        (Box((1, 1, 3)), r"box=\(1, 1, 3\) must be \(left, top, right, bottom\)"),  # type: ignore[arg-type]
        (Box((HERE, HERE)), "or 1 of these, one per image"),
        (Box("here"), "box='here' must be"),  # type: ignore[arg-type]
        (Box((3, 1, 1, 3)), "its left before its right"),
        (Box((1, 1, 3, 1)), "its top above its bottom"),
        (Box((1, 1, np.nan, 3)), "its left before its right"),
        (Box((6, 0, 7, 1)), "outside the image, which is 6 pixels wide and 4 high"),
        (Box((-2, -2, 0, 0)), "outside the image"),
        (Box(HERE, layout="center"), "layout='center' is unknown: use one of corners, centre"),  # type: ignore[arg-type]
        (Box(HERE, unit="percent"), "unit='percent' is unknown"),  # type: ignore[arg-type]
        (Box(HERE, head="relu"), "head='relu' is unknown"),  # type: ignore[arg-type]
    ],
)
def test_bad_boxes_are_refused(target: Box, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        bind(shown(6, labels=LABELS), target, X)


def test_what_is_no_detector_is_refused() -> None:
    for model in (shown(6, pooled=True), shown(4), shown(6, Sigmoid())):
        with pytest.raises(TargetError, match=r"a detector's are \(candidates, 4 \+ classes\), linear as a whole"):
            bind(model, Box(HERE), X[..., : model.spec.depth])


def test_a_detector_may_know_one_class() -> None:
    x = found((*HERE, 0.7))
    assert scored(shown(5), Box(HERE), x).tolist() == [0.7]
    with pytest.raises(TargetError, match="the network has 1 classes, 0 to 0"):
        bind(shown(5), Box(HERE, 1), x)


def test_numbers_that_are_no_probabilities_are_refused() -> None:
    x = found((*HERE, 2.0, -1.5))
    with pytest.raises(TargetError, match=r"go from -1\.5 to 2, which are no probabilities: .*head='sigmoid'"):
        frozen(shown(6), Box(HERE), x)
    assert frozen(shown(6), Box(HERE, head="sigmoid"), x).arrays["index"].tolist() == [0]
