"""Occlusion against the loop that its paper describes, window by window in NumPy."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agnoscope import Occlusion, OptionError, wrap
from agnoscope.testing import SIZE, images, rectified_network

X = images()
LAYERS: Any = rectified_network().layers


def scores(x: NDArray[Any]) -> NDArray[Any]:
    """The network's, in its closed form."""
    rectified = (x @ LAYERS["conv"].kernel[0, 0] + LAYERS["conv"].bias).clip(0)
    return rectified.mean(axis=(1, 2)) @ LAYERS["dense"].kernel + LAYERS["dense"].bias


def occluded(x: NDArray[Any], filling: NDArray[Any], window: tuple[int, int], stride: tuple[int, int]) -> NDArray[Any]:
    """The falls of all class scores, window by window; shape (height, width, classes)."""
    falls, covers = np.zeros((*SIZE, 4)), np.zeros(SIZE)
    tops = [t for t in range(0, SIZE[0], stride[0]) if t == 0 or t - stride[0] + window[0] < SIZE[0]]
    lefts = [s for s in range(0, SIZE[1], stride[1]) if s == 0 or s - stride[1] + window[1] < SIZE[1]]
    for top in tops:
        for left in lefts:
            there = slice(top, top + window[0]), slice(left, left + window[1])
            hidden = x.copy()
            hidden[there] = filling[there]
            falls[there] += (scores(x[None]) - scores(hidden[None]))[0]
            covers[there] += 1
    assert covers.min() >= 1
    return falls / covers[..., None]


@pytest.mark.parametrize(
    ("options", "window", "stride"),
    [
        ({"window": 3, "stride": 2}, (3, 3), (2, 2)),
        ({"window": 2, "stride": 2}, (2, 2), (2, 2)),
        ({"window": (2, 5), "stride": (1, 3)}, (2, 5), (1, 3)),
        ({"window": (5, 7)}, (5, 7), (2, 3)),
        ({"window": 4, "stride": 4}, (4, 4), (4, 4)),
        ({"window": 4}, (4, 4), (2, 2)),
        ({}, (1, 1), (1, 1)),
    ],
)
def test_a_pixel_is_the_mean_fall_over_the_windows_that_cover_it(
    options: dict[str, Any], window: tuple[int, int], stride: tuple[int, int]
) -> None:
    found = Occlusion(**options, fill=0.25)(wrap(rectified_network()), X, [2, 0, 3], batch_size=5)
    for image, values, index in zip(X.astype(np.float64), found.values, [2, 0, 3], strict=True):
        expected = occluded(image, np.full_like(image, 0.25), window, stride)[..., index]
        np.testing.assert_allclose(values, expected, atol=2e-5 * np.abs(scores(X)).max())
    assert (found.provenance.options["window"], found.provenance.options["stride"]) == (window, stride)


@pytest.mark.parametrize("length", range(1, 12))
def test_windows_cover_every_pixel_and_none_is_idle(length: int) -> None:
    for window in range(1, length + 1):
        for stride in range(1, window + 1):
            spans = Occlusion(window, stride).windows((length, length))[:, :2]
            starts, ends = np.unique(spans, axis=0).T
            covered = [set(range(s, e)) for s, e in zip(starts, ends, strict=True)]
            assert set().union(*covered) == set(range(length))
            assert (starts == stride * np.arange(len(starts))).all()
            assert (ends == np.minimum(starts + window, length)).all()
            assert set().union(*covered[:-1]) != set(range(length))  # the last one is needed


SIGMA = 5 / 16


def blurred(x: NDArray[Any]) -> NDArray[Any]:
    """A Gaussian along both axes, cut off at four deviations; the border goes on beyond the edge."""
    reach = int(4 * SIGMA + 0.5)
    bell = np.exp(-0.5 * (np.arange(-reach, reach + 1) / SIGMA) ** 2)
    for axis in (0, 1):
        pad = [(reach, reach) if axis == i else (0, 0) for i in range(3)]
        x = np.apply_along_axis(np.convolve, axis, np.pad(x, pad, mode="edge"), bell / bell.sum(), "valid")
    return x


@pytest.mark.parametrize(
    ("fill", "filling"),
    [
        ("mean", lambda x: np.broadcast_to(x.mean(axis=(0, 1)), x.shape)),
        ("blur", blurred),
        (0.5, lambda x: np.full_like(x, 0.5)),
        ((0.1, 0.2, 0.9), lambda x: np.broadcast_to([0.1, 0.2, 0.9], x.shape)),
    ],
)
def test_what_hides_is_what_was_asked_for(fill: Any, filling: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
    found = Occlusion(window=2, stride=1, fill=fill)(wrap(rectified_network()), X[0], 2)
    x = X[0].astype(np.float64)
    expected = occluded(x, np.array(filling(x)), (2, 2), (1, 1))[..., 2]
    np.testing.assert_allclose(found.values[0], expected, atol=2e-5 * np.abs(scores(X)).max())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 6}, r"window \(6, 6\) is larger than the image \(5, 7\)"),
        ({"window": (1, 8)}, r"window \(1, 8\) is larger than the image"),
        ({"window": 0}, "window=0 must be a number of pixels"),
        ({"window": 2.5}, r"window=2\.5 must be a number"),
        ({"window": (1, 2, 3)}, r"window=\(1, 2, 3\) must be"),
        ({"window": "large"}, "window='large' must be"),
        ({"stride": -1}, "stride=-1 must be"),
        ({"window": 2, "stride": 3}, r"stride \(3, 3\) is larger than the window \(2, 2\) and would leave gaps"),
        ({"fill": "pink"}, "fill='pink' is unknown: use 'black', .* 'mean', 'zero', 'blur'"),
        ({"fill": 1.5}, r"fill=1\.5 holds values that lie not within the bounds \(0, 1\)"),
        ({"fill": (0.5, 0.5)}, "must be one number or 3"),
        ({"fill": float("nan")}, "fill=nan holds values"),
    ],
)
def test_it_refuses_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Occlusion(**options)(wrap(rectified_network()), X)
