"""Checks rank maps as they should: what the score rests on beats chance, and what it does not rest on, does not."""

import numpy as np
import pytest

import agnoscope as ag
from agnoscope.backends.reference import Conv, GlobalAverage, Network
from agnoscope.errors import OptionError
from agnoscope.report.judging import CHECKS, READINGS, Question, judged

SIDE = 8


def linear_model() -> ag.Model:
    """Class 1 counts the light in the upper left quarter."""
    weights = np.zeros((SIDE, SIDE, 3, 2), np.float32)
    weights[:4, :4, :, 1] = 1
    layers = {"light": Conv(weights, np.zeros(2, np.float32)), "scores": GlobalAverage()}
    return ag.wrap(Network(layers), input_size=SIDE)


def question(target: object = 1, light: float = 0.1) -> Question:
    """Of a gray image, with so much light in the upper left quarter."""
    image = np.full((SIDE, SIDE, 3), 0.1, np.float32)
    image[:4, :4] = light
    return Question.of(linear_model(), image, target)


def right_and_wrong() -> np.ndarray:
    right = np.zeros((SIDE, SIDE))
    right[:4, :4] = 1
    return np.stack([right, -right, np.zeros_like(right)])


def test_the_right_pixels_beat_chance_and_the_wrong_ones_do_not() -> None:
    right, wrong, blank = judged(question(light=0.2), right_and_wrong(), ("deletion", "insertion"))
    assert [verdict.better for verdict in right] == [True, True]
    assert [verdict.better for verdict in wrong] == [False, False]
    # a map of zeros is chance itself
    assert [(verdict.value, verdict.better) for verdict in blank] == [(v.chance, False) for v in right]


def test_curves_run_from_the_clean_value_to_that_of_the_fill() -> None:
    asked = question()
    deletion, insertion = judged(asked, right_and_wrong(), ("deletion", "insertion"))[0]
    clean, empty = (1 / (1 + np.exp(-light)) for light in (4.8, 0.0))
    np.testing.assert_allclose(deletion.scores[[0, -1]], [clean, empty], rtol=1e-5)
    # a photo of one colour is its own blur
    np.testing.assert_allclose(insertion.scores, clean, rtol=1e-5)
    assert deletion.value == pytest.approx(np.trapezoid(deletion.scores, deletion.fractions))


def test_what_is_no_class_is_read_as_it_is() -> None:
    asked = question(ag.Score(total, needs=("scores",)))
    verdict = judged(asked, right_and_wrong(), ("deletion",))[0][0]
    assert verdict.scores[0] == pytest.approx(4.8, rel=1e-5)


def total(values):
    return values["scores"][:, 1]


def test_edges_find_the_edge_filter_and_leave_constants_undefined() -> None:
    image = np.random.default_rng(0).random((SIDE, SIDE, 3)).astype(np.float32)
    edges = ag.EdgeFilter().map_of(image)
    asked = Question.of(linear_model(), image, None)
    alike, opposite, flat = (row[0].value for row in judged(asked, np.stack([edges, -edges, edges * 0]), ("edges",)))
    assert (alike, opposite) == (pytest.approx(1), pytest.approx(1))
    assert np.isnan(flat)


def test_sparseness_is_the_gini_index() -> None:
    one = np.zeros((1, SIDE, SIDE))
    one[0, 2, 3] = -5
    assert judged(question(), one, ("sparseness",))[0][0].value == pytest.approx(1 - 1 / SIDE**2)


def test_every_check_has_its_reading_and_others_are_refused() -> None:
    assert set(READINGS) == set(CHECKS)
    with pytest.raises(OptionError, match="There is no check 'edge'"):
        judged(question(), right_and_wrong(), ("edge",))
