"""Similarity to given features: the cosine, or the inner product."""

from typing import Any

import numpy as np
import pytest

from agnoscope import ImageError, LayerError, Saliency, TargetError, wrap
from agnoscope.targets.embedding import Similarity
from agnoscope.testing import deep_network, images
from tests.targets.asking import bind, captured, scored, shown, sloped

E = np.array([[3.0, 4.0], [0.0, -2.0]]).reshape(2, 1, 1, 2)  # the little network's embeddings are its images
X = images()


@pytest.mark.parametrize(
    ("features", "measure", "expected"),
    [
        ((1, 0), "cosine", [0.6, 0]),
        ((7, 0), "cosine", [0.6, 0]),
        ((0, 0.1), "cosine", [0.8, -1]),
        ((3, 4), "cosine", [1, -0.8]),
        ([(4, -3), (0, -1)], "cosine", [0, 1]),
        ((2, 1), "dot", [10, -2]),
        ((0, 0), "dot", [0, 0]),
    ],
)
def test_it_is_the_cosine_or_the_inner_product(features: Any, measure: Any, expected: list[float]) -> None:
    model = shown(2, pooled=True)
    np.testing.assert_allclose(scored(model, Similarity(features, measure=measure), E), expected, atol=1e-15)
    assert bind(model, Similarity(features, measure=measure), E).names == (f"{measure} similarity of scores",) * 2


def test_the_gradient_of_the_cosine_is_at_right_angles_to_the_embedding() -> None:
    _, slope = sloped(shown(2, pooled=True), Similarity((1, 0)), E)
    # (f - cos · e / |e|) / |e| with e = (3, 4): (1 - 0.36, -0.48) / 5
    np.testing.assert_allclose(slope.reshape(2, 2), [[0.128, -0.096], [0.5, 0]])
    np.testing.assert_allclose((slope * E).sum(axis=(1, 2, 3)), [0, 0], atol=1e-15)


def test_an_activation_that_is_all_zero_resembles_nothing() -> None:
    scores, slope = sloped(shown(2, pooled=True), Similarity((1, 0)), np.zeros_like(E))
    assert scores.tolist() == [0, 0]
    assert not slope.any()


def test_all_of_a_layer_is_compared() -> None:
    model = wrap(deep_network())
    relu1, output = captured(model, X, "relu1", "output")
    found = scored(model, Similarity(relu1[0], "relu1", "dot"), X)
    np.testing.assert_allclose(found, (relu1 * relu1[0]).sum(axis=(1, 2, 3)), rtol=1e-5)
    found = scored(model, Similarity(output, "output", "dot"), X)
    np.testing.assert_allclose(found, (output**2).sum(axis=1), rtol=1e-5)


def test_a_reference_image_gives_the_features() -> None:
    model = wrap(deep_network())
    for layer in ("scores", "output", "gap", "relu2"):
        activation = captured(model, X, layer)[0]
        one = Similarity.to(model, X[1], layer)
        np.testing.assert_allclose(one.features, activation[1], rtol=1e-5, atol=1e-6)
        cosines = scored(model, one, X)
        assert cosines[1] == pytest.approx(1, abs=1e-6)
        assert np.delete(cosines, 1).max() < 1
        np.testing.assert_allclose(scored(model, Similarity.to(model, X, layer), X), np.ones(3), rtol=1e-5)
    assert Similarity.to(model, X[1], "gap", "dot") != Similarity.to(model, X[1], "gap", "dot")
    explained = Saliency()(model, X, Similarity.to(model, X[1], "gap"))
    assert explained.provenance.targets == ("cosine similarity of gap",) * 3
    assert explained.provenance.space == "similarity"
    # At its own features the cosine is at its peak.
    assert np.abs(explained.values[1]).max() < 1e-4 * np.abs(explained.values[0]).max()


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        (Similarity((1, 0, 0)), TargetError, r"shape \(3,\); 'scores' gives \(2,\) for an image.*or \(2, 2\) with one"),
        (Similarity([(1, 0)] * 3), TargetError, r"shape \(3, 2\)"),
        (Similarity([(1, 0), (1,)]), TargetError, "The features do not make one array"),
        (Similarity((1, 0), "conv"), TargetError, r"'conv' gives \(1, 1, 2\)"),
        (Similarity((1, np.inf)), TargetError, "must be finite numbers"),
        (Similarity(("a", "b")), TargetError, "must be finite numbers"),
        (Similarity((0, 0)), TargetError, "all zero, which has no direction: use measure='dot'"),
        (Similarity([(1, 0), (0, 0)]), TargetError, "all zero"),
        (Similarity((1, 0), measure="l2"), TargetError, "measure='l2' is unknown"),  # type: ignore[arg-type]
        (Similarity((1, 0), "pool"), LayerError, "no layer 'pool'"),
    ],
)
def test_features_that_do_not_fit_are_refused(target: Similarity, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        bind(shown(2, pooled=True), target, E)


def test_references_that_cannot_be_read_are_refused() -> None:
    with pytest.raises(ImageError, match="There is no image file"):
        Similarity.to(wrap(deep_network()), "nowhere.png")
    with pytest.raises(LayerError, match="no layer 'embedding'"):
        Similarity.to(wrap(deep_network()), X[0], "embedding")
