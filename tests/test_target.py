"""What is asked is what gets computed: classes, functions and sums against closed forms, on the reference backend."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agnoscope import Channel, ClassScore, LayerError, Model, Neuron, Occlusion, Saliency, Score, TargetError, wrap
from agnoscope.backends.reference import Conv, Network, Sigmoid, Softmax
from agnoscope.patches import Array
from agnoscope.target import Bound, Sum
from agnoscope.testing import deep_network, images, rectified_network
from tests.targets import asking

LABELS = ("cat", "Dog", "tench, Tinca tinca", "dog house")
X = images()


def bind(model: Model, asked: Any) -> Bound:
    return asking.bind(model, asked, X)


def scored(model: Model, asked: Any) -> NDArray[Any]:
    return asking.scored(model, asked, X)


def captured(model: Model, *names: str) -> list[NDArray[Any]]:
    return asking.captured(model, X, *names)


@pytest.fixture(scope="module")
def model() -> Model:
    return wrap(deep_network(), labels=LABELS)


@pytest.fixture(scope="module")
def scores(model: Model) -> NDArray[Any]:
    return captured(model, "scores")[0]


# -- classes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "classes"),
    [
        (2, [2, 2, 2]),
        (np.int64(2), [2, 2, 2]),
        (np.array(2), [2, 2, 2]),
        ([np.uint8(3), np.str_("cat"), 1], [3, 0, 1]),
        ("2", [2, 2, 2]),
        (" 2 ", [2, 2, 2]),
        ("cat", [0, 0, 0]),
        ("DOG ", [1, 1, 1]),
        ("Tinca tinca", [2, 2, 2]),
        ("tench, tinca tinca", [2, 2, 2]),
        ([3, "cat", "1"], [3, 0, 1]),
        ((3, 2, 1), [3, 2, 1]),
        (np.array([3, 2, 1]), [3, 2, 1]),
        (ClassScore(1), [1, 1, 1]),
    ],
)
def test_classes_by_number_and_label_for_all_or_one_each(
    model: Model, scores: NDArray[Any], asked: Any, classes: list[int]
) -> None:
    np.testing.assert_array_equal(scored(model, asked), scores[[0, 1, 2], classes])
    assert bind(model, asked).names == tuple(f"{LABELS[c]} [{c}]" for c in classes)
    assert bind(model, asked).space == "score"


@pytest.mark.parametrize("asked", [None, "top-1", [None, "top-1", None], ClassScore()])
def test_the_first_answer_is_found_by_itself(model: Model, scores: NDArray[Any], asked: Any) -> None:
    np.testing.assert_array_equal(scored(model, asked), scores.max(axis=1))
    assert bind(model, asked).names == ("top-1",) * 3
    mixed = scored(model, [None, 0, None])
    np.testing.assert_array_equal(mixed, [scores[0].max(), scores[1, 0], scores[2].max()])


@pytest.mark.parametrize("head", [None, Softmax(), Sigmoid()])
def test_probabilities_are_those_of_the_head(head: Any) -> None:
    layers = dict(deep_network().layers) | ({"head": head} if head else {})
    model = wrap(Network(layers))
    z = captured(model, "scores")[0].astype(np.float64)
    softmax = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    expected = 1 / (1 + np.exp(-z)) if isinstance(head, Sigmoid) else softmax
    np.testing.assert_allclose(scored(model, ClassScore(2, "probability")), expected[:, 2], rtol=1e-6)
    np.testing.assert_allclose(scored(model, ClassScore(space="probability")), expected.max(axis=1), rtol=1e-6)
    assert bind(model, ClassScore(2, "probability")).space == "probability"


def test_huge_scores_have_finite_probabilities_and_gradients() -> None:
    kernel = np.full((1, 1, 3, 2), 1e4, dtype=np.float32) * np.array([1, -1], dtype=np.float32)
    for head in (Softmax(), Sigmoid()):
        model = wrap(Network({"conv": Conv(kernel, np.zeros(2, np.float32)), "gap": Mean, "head": head}))
        assert scored(model, ClassScore(0, "probability")).tolist() == [1, 1, 1]
        assert np.isfinite(Saliency()(model, X, ClassScore(1, "probability")).values).all()


Mean = deep_network().layers["gap"]


# -- one sigmoid unit -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def single() -> Model:
    """A network of one sigmoid unit that answers class 1 for some images and its complement for others."""
    layers = dict(rectified_network(head=Sigmoid()).layers)
    layers["dense"] = type(layers["dense"])(layers["dense"].kernel, np.array([-2.5], np.float32))  # type: ignore
    return wrap(Network(layers), labels=("nothing", "something"))


def test_one_unit_has_a_class_and_its_complement(single: Model) -> None:
    z = captured(single, "scores")[0][:, 0]
    assert set(z > 0) == {True, False}
    np.testing.assert_array_equal(scored(single, 1), z)
    np.testing.assert_array_equal(scored(single, "nothing"), -z)
    np.testing.assert_array_equal(scored(single, None), np.abs(z))
    np.testing.assert_allclose(scored(single, ClassScore(0, "probability")), 1 / (1 + np.exp(z)), rtol=1e-5)
    assert bind(single, None).freeze(z[:, None], single.labels).names == tuple(
        "something [1]" if positive else "nothing [0]" for positive in z > 0
    )
    with pytest.raises(TargetError, match="Class 2 was asked for; the network has 2 classes, 0 to 1"):
        bind(single, 2)


def test_what_speaks_for_the_complement_speaks_against_the_class(single: Model) -> None:
    z = captured(single, "scores")[0][:, 0]
    class_1 = Saliency()(single, X, 1).values
    np.testing.assert_array_equal(Saliency()(single, X, 0).values, -class_1)
    signs = np.where(z > 0, 1, -1)[:, None, None, None]
    np.testing.assert_array_equal(Saliency()(single, X).values, signs * class_1)


# -- refused classes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (4, "Class 4 was asked for; the network has 4 classes, 0 to 3"),
        (-1, "Class -1 was asked for"),
        ("-1", "Class -1 was asked for"),
        ("17", "Class 17 was asked for"),
        ("dgo", "no class labelled 'dgo'. Near it: 'Dog'"),
        ("--1", "no class labelled '--1'"),
        ("²", "no class labelled '²'"),
        ([1, 2], "2 targets were given for 3 images"),
        ([], "0 targets were given for 3 images"),
        (1.5, "A float is no target"),
        ([1.5, 2, 3], "A list is no target"),
        (np.zeros((3, 1), int), "A list is no target"),
        (np.zeros(3), "A list is no target"),
        ({"class": 1}, "A dict is no target"),
        (ClassScore(1, "logit"), "space='logit' is unknown"),  # type: ignore[arg-type]
    ],
)
def test_classes_that_are_not_there_are_refused(model: Model, asked: Any, message: str) -> None:
    with pytest.raises(TargetError, match=message) as caught:
        bind(model, asked)
    assert isinstance(caught.value, ValueError)


def test_a_label_of_several_classes_asks_for_a_number() -> None:
    cranes = wrap(deep_network(), labels=("crane", "drill", "Crane", "7"))
    with pytest.raises(TargetError, match=r"'CRANE' names several classes: \[0, 2\]\. Give the number"):
        bind(cranes, "CRANE")
    assert bind(cranes, "7").names == ("7 [3]",) * 3  # a label comes before a number


def test_labels_that_are_not_there_or_do_not_fit_are_told() -> None:
    with pytest.raises(TargetError, match=r"labelled 'cat'\. The network has no labels: give wrap"):
        bind(wrap(deep_network()), "cat")
    for labels in (("cat",), LABELS * 2):
        with pytest.raises(TargetError, match=rf"There are {len(labels)} labels and 4 classes"):
            bind(wrap(deep_network(), labels=labels), 0)
    with pytest.raises(TargetError, match="1 labels and 2 classes"):
        bind(wrap(rectified_network(head=Sigmoid()), labels=("something",)), 1)


def test_scores_with_more_axes_have_no_classes_but_functions() -> None:
    segmenter = wrap(Network({"conv": deep_network().layers["conv1"]}))
    with pytest.raises(TargetError, match=r"scores of shape \(5, 7, 6\).*ag\.Segment .* or a function of the run"):
        bind(segmenter, 1)
    z = captured(segmenter, "scores")[0]
    np.testing.assert_array_equal(scored(segmenter, lambda run: run["scores"][:, 1, 2, 3]), z[:, 1, 2, 3])


# -- functions and sums -----------------------------------------------------------------------------------------


def contrast(run: Mapping[str, Array]) -> Array:
    return run["relu2"][:, 0, 0, 1] - run["output"][:, 2] * run["scores"][:, 0]


def test_a_function_reads_what_it_says_it_needs(model: Model) -> None:
    relu2, output, z = captured(model, "relu2", "output", "scores")
    target = Score(contrast, ("relu2", "output", "scores"))
    np.testing.assert_array_equal(scored(model, target), relu2[:, 0, 0, 1] - output[:, 2] * z[:, 0])
    assert bind(model, target).names == ("contrast",) * 3
    np.testing.assert_array_equal(scored(model, lambda run: run["scores"][:, 3]), z[:, 3])
    with pytest.raises(TargetError, match=r"reads 'relu2', and the run holds scores: .*needs=\('relu2',\)"):
        scored(model, contrast)
    for nothing in ((), "scores"):
        with pytest.raises(TargetError, match="must be a tuple of what the function reads"):
            bind(model, Score(contrast, nothing))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("function", "returned"),
    [
        (lambda run: run["scores"], r"\(3, 4\)"),
        (lambda run: run["scores"][:, :1], r"\(3, 1\)"),
        (lambda run: run["scores"].shape, "tuple"),
        (lambda run: 1.0, "float"),
    ],
)
def test_a_function_must_give_one_number_per_image(model: Model, function: Any, returned: str) -> None:
    with pytest.raises(TargetError, match=rf"returned {returned}; it must return one number per image, shape \(3,\)"):
        scored(model, function)


def test_a_function_of_an_unknown_layer_is_refused(model: Model) -> None:
    with pytest.raises(LayerError, match="no layer 'conv3'"):
        bind(model, Score(len, ("scores", "conv3")))  # type: ignore[arg-type]


def test_targets_add_and_scale(model: Model, scores: NDArray[Any]) -> None:
    unit = captured(model, "conv2")[0][:, 0, 0, 1]
    neuron = Neuron("conv2", 1, (0, 0))
    target = 0.5 * (neuron - ClassScore((1, 2, 3))) * 3 + ClassScore() - 2 * -neuron
    expected = 1.5 * unit - 1.5 * scores[[0, 1, 2], [1, 2, 3]] + scores.max(axis=1) + 2 * unit
    np.testing.assert_allclose(scored(model, target), expected, rtol=1e-5)
    assert bind(model, target).space == "mixed"
    assert bind(model, ClassScore(1) - ClassScore(2)).space == "score"
    assert bind(model, 2 * ClassScore(0) + Channel("gap", 1)).names == ("2 × cat [0] + mean of gap[1]",) * 3
    assert set(bind(model, target).needs) == {"conv2", "scores"}
    assert isinstance(target, Sum)
    assert target == 0.5 * (neuron - ClassScore((1, 2, 3))) * 3 + ClassScore() - 2 * -neuron
    assert len({target, ClassScore(1), ClassScore(1)}) == 2


# -- what the methods do with a bound target --------------------------------------------------------------------


def test_another_class_is_the_same_formula(model: Model) -> None:
    assert bind(model, 1).formula == bind(model, [0, "cat", None]).formula
    assert bind(model, Neuron("conv2", 1)).formula == bind(model, Neuron("conv2", 5, (0, 0))).formula
    assert hash(bind(model, 1 * ClassScore(0)).formula) == hash(bind(model, 7 * ClassScore(3)).formula)
    assert bind(model, 1).arrays["index"].dtype == np.int32


@pytest.mark.parametrize("asked", [[3, 0, None], 2 * ClassScore((3, 0, None)) + Neuron("conv2", 2)])
def test_some_of_the_images_can_be_asked_alone(model: Model, asked: Any) -> None:
    bound, rows = bind(model, asked), np.array([2, 0, 0])
    some = bound.take(rows)
    found = asking.scored(model, some, X[rows])
    np.testing.assert_allclose(found, scored(model, asked)[rows], rtol=1e-6)
    assert some.names == tuple(bound.names[i] for i in rows)


@pytest.mark.parametrize("asked", [[None, 0, None], ClassScore((None, 0, None)) - 3 * ClassScore()])
def test_the_first_answer_is_frozen_once_it_is_known(model: Model, scores: NDArray[Any], asked: Any) -> None:
    frozen = bind(model, asked).freeze(scores, LABELS)
    first = scores.argmax(axis=1)
    assert "top-1" not in "".join(frozen.names)
    assert f"{LABELS[first[2]]} [{first[2]}]" in frozen.names[2]
    assert "cat [0]" in frozen.names[1]
    # Other images, another first answer: the question stays.
    darker = X[[1, 2, 0]]
    there = asking.scored(model, frozen, darker)
    z = scores[[1, 2, 0]]
    of = z[[0, 1, 2], [first[0], 0, first[2]]]
    np.testing.assert_allclose(there, of if isinstance(asked, list) else of - 3 * z[[0, 1, 2], first], rtol=1e-5)


def test_what_has_no_first_answer_stays_as_it_is(model: Model, scores: NDArray[Any]) -> None:
    bound = bind(model, Neuron("conv2", 1))
    assert bound.freeze(None, LABELS) is bound
    assert bound.freeze(scores, LABELS) == bound
    assert bind(model, lambda run: run["scores"][:, 0]).freeze(np.zeros((3, 2, 2, 4)), None).names == ("<lambda>",) * 3


def test_a_hidden_part_does_not_change_which_class_is_asked_for(model: Model, scores: NDArray[Any]) -> None:
    occlusion, first = Occlusion(window=4, stride=1, fill=0.0), tuple(scores.argmax(axis=1).tolist())
    for asked, named in ((None, first), (ClassScore() - ClassScore(0), ClassScore(first) - ClassScore(0))):
        found, expected = occlusion(model, X, asked), occlusion(model, X, named)
        np.testing.assert_array_equal(found.values, expected.values)
        assert found.provenance.targets == expected.provenance.targets


@pytest.mark.parametrize(
    "asked",
    [
        ClassScore(1.5),
        ClassScore([1, 2, 3]),
        ClassScore(np.array([1, 2, 3])),
        Channel("conv1", 1.5),
        Channel("conv1", "1"),
        Neuron("conv1", 0, 5),
        Neuron("conv1", 0, (0.5, 1)),
    ],
)
def test_what_is_no_number_is_refused(model: Model, asked: Any) -> None:
    with pytest.raises(TargetError):
        bind(model, asked)


def test_targets_add_up_with_sum_and_with_nothing_else(model: Model, scores: NDArray[Any]) -> None:
    assert np.allclose(scored(model, sum([ClassScore(1), ClassScore(2)])), scores[:, 1] + scores[:, 2])
    with pytest.raises(TypeError):
        ClassScore(1) + 3  # type: ignore[operator]
