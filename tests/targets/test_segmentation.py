"""A class over a mask is the mean of its scores there; without a mask, where the network itself sees it."""

from typing import Any

import numpy as np
import pytest

from agnoscope import Occlusion, Saliency, TargetError
from agnoscope.backends.reference import Sigmoid, Softmax
from agnoscope.targets.segmentation import Segment
from tests.targets.asking import bind, captured, frozen, scored, shown, sloped

LABELS = ("road", "tree", "sky")
# Two maps of 2 × 3 pixels with three scores each. In the first, 1 is best in three pixels, 2 in two, 0 in one;
# in the second, 2 is best in four.
Z = np.array(
    [
        [[[0, 5, 1], [0, 4, 1], [3, 2, 1]], [[1, 3, 2], [0, 1, 9], [0, 0, 7]]],
        [[[0, 1, 2], [0, 1, 2], [5, 1, 2]], [[0, 1, 3], [0, 4, 2], [0, 1, 6]]],
    ],
    dtype=np.float64,
)
LEFT = np.array([[1, 0, 0], [1, 0, 0]], dtype=bool)
RIGHT = np.array([[0, 0, 1], [0, 0, 1]], dtype=bool)
CORNER = np.array([[0, 0, 1], [0, 0, 0]], dtype=bool)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (Segment(1, LEFT), [4, 1]),
        (Segment("sky", RIGHT), [4, 4]),
        (Segment((0, "sky"), LEFT), [0.5, 2.5]),
        (Segment(2, [LEFT, RIGHT]), [1.5, 4]),
        (Segment(2, 3 * LEFT + 1.0 * RIGHT), [(3 * 1 + 1 + 3 * 2 + 7) / 8, (3 * 2 + 2 + 3 * 3 + 6) / 8]),
        (Segment(2, np.uint8(255) * LEFT), [1.5, 2.5]),
        (Segment(None, LEFT), [4, 2.5]),  # of the left pixels most are trees, then sky
        (Segment(None, CORNER), [3, 5]),  # that one pixel is road, though most of the image is not
        (Segment(2), [8, (2 + 2 + 3 + 6) / 4]),
        (Segment(), [4, 13 / 4]),
        (Segment(("top-1", 0)), [4, 5]),
    ],
)
def test_it_is_the_mean_of_a_class_over_a_mask(target: Segment, expected: list[float]) -> None:
    model = shown(3, labels=LABELS)
    np.testing.assert_allclose(scored(model, target, Z), expected)
    np.testing.assert_allclose(scored(model, frozen(model, target, Z), Z), expected)


def test_its_gradient_is_even_over_the_mask() -> None:
    model = shown(3)
    for target, mask, index in ((Segment(1, RIGHT), RIGHT, 1), (Segment(1), Z[0].argmax(axis=-1) == 1, 1)):
        expected = np.zeros_like(Z[:1])
        expected[0, mask, index] = 1 / mask.sum()
        np.testing.assert_allclose(sloped(model, target, Z[:1])[1], expected)
        np.testing.assert_allclose(Saliency()(model, Z[:1], target).values, expected)


@pytest.mark.parametrize("head", [None, Softmax(), Sigmoid()])
def test_its_probabilities_are_those_of_the_head(head: Any) -> None:
    powers = np.exp(Z)
    expected = 1 / (1 + np.exp(-Z)) if isinstance(head, Sigmoid) else powers / powers.sum(axis=-1, keepdims=True)
    found = scored(shown(3, head), Segment(2, LEFT, "probability"), Z)
    np.testing.assert_allclose(found, expected[..., 2][:, LEFT].mean(axis=1))
    assert bind(shown(3, head), Segment(2, LEFT, "probability"), Z).space == "probability"


def test_sigmoids_may_see_several_classes_in_a_pixel() -> None:
    model = shown(3, Sigmoid())
    above = Z - 1.5
    np.testing.assert_allclose(scored(model, Segment(1), above[:1]), [(3.5 + 2.5 + 0.5 + 1.5) / 4])
    assert frozen(model, Segment(), above[:1]).names == ("class 1 where the network sees it",)


def test_one_unit_tells_a_class_and_its_complement() -> None:
    model = shown(1, Sigmoid(), labels=("ground", "thing"))
    z = np.array([[[[-1.0], [2.0], [-6.0]], [[4.0], [-2.0], [-3.0]]]])
    assert scored(model, Segment(1), z).tolist() == [3]
    assert scored(model, Segment("ground"), z).tolist() == [3]
    assert scored(model, Segment(0, RIGHT), z).tolist() == [4.5]
    assert frozen(model, Segment(), z).names == ("ground [0] where the network sees it",)


def test_what_the_network_sees_is_settled_on_the_clean_image() -> None:
    model = shown(3, labels=LABELS)
    settled = frozen(model, Segment(), Z)
    assert settled.names == ("tree [1] where the network sees it", "sky [2] where the network sees it")
    np.testing.assert_array_equal(settled.arrays["mask"], Z.argmax(axis=-1) == np.array([1, 2])[:, None, None])
    # Other images, in which other pixels and classes are the best: the question stays.
    np.testing.assert_allclose(scored(model, settled, Z[::-1]), [1, (1 + 1 + 2 + 7) / 4])
    occlusion = Occlusion(window=1, stride=1, fill=0.0)
    found, named = occlusion(model, Z, Segment()), occlusion(model, Z, Segment((1, 2), settled.arrays["mask"]))
    np.testing.assert_array_equal(found.values, named.values)
    assert found.provenance.targets == settled.names
    assert named.provenance.targets == ("tree [1] over the mask", "sky [2] over the mask")


def test_a_class_that_the_network_sees_nowhere_is_refused() -> None:
    model = shown(3, labels=LABELS)
    nowhere = np.minimum(Z, [-1, np.inf, np.inf])
    with pytest.raises(TargetError, match=r"gives no pixel to road \[0\]: give a mask"):
        Saliency()(model, nowhere, Segment(0))
    with pytest.raises(TargetError, match="gives no pixel to class 0"):
        Occlusion(window=1)(model, nowhere, Segment(0))
    assert scored(model, Segment(0), nowhere).tolist() == [0, 0]
    assert captured(model, nowhere, "scores")[0][..., 0].max() == -1


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (Segment(3), "Class 3 was asked for; the network has 3 classes, 0 to 2"),
        (Segment("lake"), "no class labelled 'lake'. Near it: '"),
        (Segment((1, 2, 0)), "3 targets were given for 2 images"),
        (Segment(1, LEFT, "logit"), "space='logit' is unknown"),  # type: ignore[arg-type]
        (Segment(1, LEFT.T), r"shape \(3, 2\); the network's map of scores is \(2, 3\) .*or to \(2, 2, 3\) with one"),
        (Segment(1, [LEFT] * 3), r"shape \(3, 2, 3\); the network's"),
        (Segment(1, LEFT[..., None]), r"shape \(2, 3, 1\)"),
        (Segment(1, [LEFT, LEFT.T]), "The masks do not make one array"),
        (Segment(1, False & LEFT), "The mask is empty"),
        (Segment(1, [LEFT, 0 * LEFT]), "The mask is empty"),
        (Segment(1, -1.0 * LEFT), "finite weights that are not below 0"),
        (Segment(1, LEFT * np.nan), "finite weights"),
        (Segment(1, np.array([["a", "b", "c"]] * 2)), "must hold True and False"),
    ],
)
def test_bad_masks_and_classes_are_refused(target: Segment, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        bind(shown(3, labels=LABELS), target, Z)


def test_a_network_without_a_map_of_scores_is_refused() -> None:
    with pytest.raises(TargetError, match=r"scores of shape \(3,\) for an image, not a map .*ag\.ClassScore"):
        bind(shown(3, pooled=True), Segment(1), Z)
