"""Segments and coalitions, and feature ablation, which asks each of the simplest."""

from typing import Any

import numpy as np
import pytest

from agnoscope import Model, OptionError, wrap
from agnoscope.explainers.perturbation.feature_ablation import FeatureAblation
from agnoscope.explainers.perturbation.kernel_shap import KernelSHAP
from agnoscope.explainers.perturbation.lime import LIME
from agnoscope.explainers.perturbation.segments import BySegments, segments_of
from agnoscope.explainers.perturbation.shapley import ShapleySampling
from agnoscope.segmentation import superpixels
from agnoscope.testing import SIZE, deep_network, images, rectified_network
from tests.explainers.perturbation.closed_forms import LABELS, X, of_segments, squared, won

ALL = (
    FeatureAblation(LABELS),
    FeatureAblation(4),
    ShapleySampling(3, LABELS),
    LIME(20, LABELS),
    KernelSHAP(64, LABELS),
    KernelSHAP(12, 9),
)
METHODS = pytest.mark.parametrize("explainer", ALL, ids=repr)


@pytest.mark.parametrize("fill", ["mean", "black", 0.25, (0.1, 0.2, 0.9)])
def test_feature_ablation_is_the_fall_when_a_segment_is_hidden(fill: Any) -> None:
    found = FeatureAblation(LABELS, fill)(wrap(rectified_network()), X[0], squared)
    everyone = {0, 1, 2, 3, 4}
    filling = {} if fill == "mean" else {"filling": 0.0 if fill == "black" else fill}
    expected = [won(everyone) - won(everyone - {i}, **filling) for i in range(5)]
    np.testing.assert_allclose(of_segments(found.values[0]), expected, rtol=1e-4, atol=1e-5)


def test_labels_may_have_gaps_and_any_order() -> None:
    model = wrap(rectified_network())
    renamed = np.array([7, 3, 100, 0, 12])[LABELS]
    for dtype in (np.int64, np.uint8, np.float32):
        given = FeatureAblation(renamed.astype(dtype))(model, X, 2).values
        np.testing.assert_allclose(given, FeatureAblation(LABELS)(model, X, 2).values, atol=1e-5)


def test_a_number_asks_for_superpixels() -> None:
    for image in X:
        np.testing.assert_array_equal(segments_of(6, image), superpixels(image, 6))
    found = FeatureAblation(6)(wrap(rectified_network()), X, 2)
    for image, values in zip(X, found.values, strict=True):
        alone = FeatureAblation(superpixels(image, 6))(wrap(rectified_network()), image, 2).values[0]
        np.testing.assert_allclose(values, alone, atol=1e-5)


def test_images_of_different_superpixels_share_one_program() -> None:
    photos = np.stack([X[0], np.full_like(X[0], 0.5), np.repeat(X[1, :, :1], SIZE[1], axis=1)])
    assert len({superpixels(photo, 12).max() for photo in photos}) > 1
    shapes = set()
    model = wrap(rectified_network())
    compiled = model.compile

    def noting(program: Any, static: Any) -> Any:
        def run(*trees: Any) -> Any:
            shapes.add((program.__name__, *(np.shape(tree) for tree in trees if not isinstance(tree, dict))))
            return compiled(program, static)(*trees)

        return run

    model.compile = noting  # type: ignore[method-assign]
    for explainer in (FeatureAblation(12), ShapleySampling(4, 12), LIME(20, 12), KernelSHAP(40, 12)):
        shapes.clear()
        explainer(model, photos, 2, batch_size=5)
        assert len(shapes) == 2  # the clean run's and the coalitions'


def test_one_segment_is_worth_all_that_the_image_is() -> None:
    whole = np.zeros(SIZE)
    for explainer in (FeatureAblation(whole), ShapleySampling(2, whole), KernelSHAP(10, whole)):
        found = explainer(wrap(rectified_network()), X[0], squared)
        np.testing.assert_allclose(found.values, won({0, 1, 2, 3, 4}) - won(()), rtol=1e-4)


@METHODS
@pytest.mark.parametrize("batch_size", [1, 3, 4, 100])
def test_chunks_and_company_make_no_difference(explainer: BySegments, batch_size: int) -> None:
    model, x = wrap(deep_network()), images(3)
    whole = explainer(model, x, 1)
    for i in range(3):
        alone = explainer(model, x[i], 1, batch_size=batch_size)
        np.testing.assert_allclose(alone.values[0], whole.values[i], atol=2e-5)


@METHODS
def test_they_are_black_boxes(explainer: BySegments) -> None:
    model = wrap(deep_network())
    model.can = frozenset()
    seen: list[tuple[int, int]] = []
    found = explainer(model, X, progress=lambda done, total: seen.append((done, total)), batch_size=4)
    assert np.abs(found.values).max() > 0
    done = [step for step, _ in seen]
    assert done == sorted(set(done))
    assert (done[0], done[-1]) == (0, seen[0][1])
    assert len(done) > len(X) + 1


@pytest.mark.parametrize("explainer", [ShapleySampling(3, LABELS), LIME(9, LABELS), KernelSHAP(9, LABELS)], ids=repr)
def test_another_seed_draws_others(explainer: Any) -> None:
    model: Model = wrap(deep_network())
    other = type(explainer)(explainer.samples, LABELS, seed=1)
    assert np.array_equal(explainer(model, X, 1).values, explainer(model, X, 1).values)
    assert not np.allclose(explainer(model, X, 1).values, other(model, X, 1).values)


def test_equal_options_make_equal_explainers() -> None:
    assert LIME(segments=LABELS) == LIME(segments=LABELS.copy())
    assert hash(LIME(segments=LABELS)) == hash(LIME(segments=LABELS.copy()))
    assert LIME(segments=LABELS) != LIME(segments=LABELS + 1)


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        (0, "segments=0 must be a whole number, at least 1"),
        (2.5, "segments=2.5 must be a whole number"),
        (True, "segments=True must be"),
        ("slic", "segments='slic' must be"),
        (np.zeros((5, 6)), r"one number per pixel, shape \(5, 7\)"),
        (np.zeros((3, 5, 7)), "one number per pixel"),
        (np.zeros(35), "must be a whole number"),
        (LABELS - 1, "whole numbers from 0 on"),
        (LABELS + 0.5, "whole numbers from 0 on"),
        (np.where(LABELS > 1, np.nan, 0.0), "whole numbers from 0 on"),
        (LABELS.astype(str), "one number per pixel"),
    ],
)
def test_they_refuse_what_are_no_segments(segments: Any, message: str) -> None:
    for method in (FeatureAblation, ShapleySampling, LIME, KernelSHAP):
        with pytest.raises(OptionError, match=message):
            method(segments=segments)(wrap(rectified_network()), X)


@pytest.mark.parametrize("samples", [0, -2, 1.5, None, True])
def test_they_refuse_numbers_of_samples_that_make_no_sense(samples: Any) -> None:
    for method in (ShapleySampling, LIME, KernelSHAP):
        with pytest.raises(OptionError, match=rf"samples={samples} must be a whole number, at least [13]"):
            method(samples=samples, segments=LABELS)(wrap(rectified_network()), X)
