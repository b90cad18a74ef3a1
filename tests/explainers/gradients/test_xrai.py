"""XRAI: the greedy choice against its plain loop, a planted square, and what it takes over from what it wraps."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agnoscope import GradCAM, OptionError, Saliency, wrap
from agnoscope.backends.reference import Conv, GlobalAverage, Network
from agnoscope.explainers.gradients.xrai import XRAI, ranked_anew, ranked_once, regions
from agnoscope.testing import deep_network, images, linear_network, parametrize_with_checks

X = images()
RNG = np.random.default_rng(3)
Rank = Callable[[NDArray[Any], NDArray[np.bool_]], NDArray[np.float64]]


def greedy(values: NDArray[Any], masks: NDArray[np.bool_], anew: bool) -> NDArray[np.float64]:
    """Region after region, each with the mean over what it adds; at least a thousandth of the image."""
    free, found, left = np.ones(values.shape, bool), np.zeros(values.shape), list(range(len(masks)))
    while left := [i for i in left if (masks[i] & free).sum() >= 50 / 224**2 * values.size]:
        best = max(left, key=lambda i: values[masks[i] & free if anew else masks[i]].mean())
        added = masks[best] & free
        found[added] = values[added].mean()
        free &= ~added
        left.remove(best)
    found[free] = values[free].mean() if free.any() else 0
    return found


@pytest.mark.parametrize(("rank", "anew"), [(ranked_anew, True), (ranked_once, False)])
def test_regions_are_taken_by_what_they_gain(rank: Rank, anew: bool) -> None:
    values = RNG.normal(size=(60, 80))
    rows, columns = np.ogrid[:60, :80]
    masks = np.stack([(rows - a) ** 2 + (columns - b) ** 2 < r**2 for a, b, r in RNG.uniform(1, 60, (40, 3))])
    found = rank(values, masks)
    np.testing.assert_allclose(found, greedy(values, masks, anew), rtol=1e-10, atol=1e-12)
    assert found.sum() == pytest.approx(values.sum())  # every pixel counts once
    assert not np.array_equal(greedy(values, masks, True), greedy(values, masks, False))


@pytest.mark.parametrize("variant", ["full", "fast"])
def test_a_planted_square_comes_first(variant: Any) -> None:
    size, square = (64, 96), (slice(16, 40), slice(50, 74))
    kernel = RNG.normal(scale=0.1, size=(*size, 3, 1)).astype(np.float32)
    kernel[square] += 1
    image = np.full((1, *size, 3), 0.2)
    image[0][square] = 0.7
    model = wrap(Network({"conv": Conv(kernel, np.zeros(1, np.float32)), "gap": GlobalAverage()}))
    found = XRAI(Saliency(), variant=variant)(model, image, 1).values[0]
    margin = 4  # of a region, in the pixels of this image
    far = np.ones(size, bool)
    far[16 - margin : 40 + margin, 50 - margin : 74 + margin] = False
    assert (found[square] > 2 * found[far].max()).mean() > 0.99


def test_regions_cover_the_image_and_overlap() -> None:
    image = RNG.uniform(size=(50, 120, 3)).astype(np.float32)
    found = regions(image)
    assert found.shape[1:] == (50, 120)
    assert found.any(axis=(1, 2)).all()
    assert found.sum(axis=0).min() >= 6  # once for every scale
    assert found.sum(axis=0).max() > 6
    np.testing.assert_array_equal(regions(3 * image - 1), found)  # in whatever bounds


def test_one_colour_is_one_region_with_the_mean() -> None:
    flat = np.full((1, *X.shape[1:]), 0.5)
    found = XRAI(Saliency())(wrap(linear_network()), flat, 1)
    plain = Saliency()(wrap(linear_network()), flat, 1).values.max(axis=-1)
    np.testing.assert_allclose(found.values, plain.mean(), rtol=1e-6)


def test_it_takes_over_from_what_it_wraps() -> None:
    found = XRAI(GradCAM())(wrap(deep_network()), X, 1)
    assert found.provenance.options["explainer"]["method"] == "grad-cam"
    assert found.provenance.options["explainer"]["layer"] == "relu2"
    assert found.values.shape == X.shape[:3]
    assert XRAI("occlusion").needs == frozenset()  # type: ignore[arg-type]
    assert XRAI("saliency") == XRAI(Saliency())  # type: ignore[arg-type]
    assert "delta" in XRAI()(wrap(linear_network()), X, 1).extras


def test_it_refuses_what_has_no_regions() -> None:
    with pytest.raises(OptionError, match=r"height and width \(5, 7\); saliency gives values of shape \(8,\)"):
        XRAI(Saliency("gap"))(wrap(deep_network()), X)
    with pytest.raises(OptionError, match="variant='slow' is unknown: use 'full' or 'fast'"):
        XRAI(variant="slow")  # type: ignore[arg-type]


@parametrize_with_checks([XRAI(Saliency())])
def test_it_keeps_the_contract(check: Any) -> None:
    check()
