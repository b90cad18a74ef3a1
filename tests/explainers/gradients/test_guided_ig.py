"""Guided IG against the loop that its paper describes, in the space of the pixels."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agnoscope import NonFiniteError, OptionError, wrap
from agnoscope.backends.reference import Network
from agnoscope.explainers.gradients.guided_ig import GuidedIG
from agnoscope.testing import deep_network, images, linear_network, parametrize_with_checks, rectified_network
from agnoscope.testing.networks import Rectified

X = images().astype(np.float64)
KERNEL: Any = linear_network().layers["conv"].kernel  # type: ignore[union-attr]


def in_pixels(x: NDArray[Any], start: NDArray[Any], index: int, options: dict[str, Any]) -> NDArray[Any]:
    """The values of one image, shape (height, width, channels), on the rectified network."""
    steps, fraction, reach = (options[name] for name in ("steps", "fraction", "max_dist"))
    point, values, whole = start.copy(), np.zeros_like(x), np.abs(x - start).sum()
    gradient = Rectified(point[None]).at_image(index)[0]
    for step in range(1, steps + 1):
        behind, ahead = (start + (x - start) * np.clip(step / steps + d, 0, 1) for d in (-reach, reach))
        before, wanted = point.copy(), whole * (1 - step / steps)
        late = np.abs(point - start) < np.abs(behind - start)
        point[late] = behind[late]
        while np.abs(x - point).sum() > wanted + 1e-9 * whole:
            steep = np.round(np.abs(gradient / np.abs(gradient).max()) / np.sqrt(np.finfo(np.float32).eps))
            cost = np.where(np.isclose(point, ahead, rtol=0, atol=1e-14), np.inf, steep)
            first = (cost <= np.sort(cost, axis=None)[int(fraction * (cost.size - 1))]) & (cost < np.inf)
            reachable = np.abs(ahead - point)[first].sum()
            missing = np.abs(x - point).sum() - wanted
            point[first] += (ahead - point)[first] * min(missing / reachable, 1)
        after = Rectified(point[None]).at_image(index)[0]
        values += (gradient + after) / 2 * (point - before)
        gradient = after
    return values


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 20, "fraction": 0.25, "max_dist": 0.1},
        {"steps": 9, "fraction": 0.02, "max_dist": 1.0},
        {"steps": 30, "fraction": 0.1, "max_dist": 0.02},
        {"steps": 5, "fraction": 1.0, "max_dist": 0.5},
    ],
)
def test_the_values_are_those_of_the_paper(options: dict[str, Any]) -> None:
    start = np.full_like(X[0], 0.2)
    found = GuidedIG(baseline=0.2, **options)(wrap(rectified_network()), X, 1).values
    for image, values in zip(X, found, strict=True):
        expected = in_pixels(image, start, 1, options)
        np.testing.assert_allclose(values, expected, atol=1e-4 * np.abs(expected).max())


def test_on_a_linear_network_the_values_are_the_kernel_times_the_way() -> None:
    choices: list[dict[str, Any]] = [{}, {"steps": 3, "max_dist": 1.0}, {"baseline": "white", "fraction": 1.0}]
    for options in choices:
        found = GuidedIG(**options)(wrap(linear_network()), X, 2)
        start = 1.0 if "baseline" in options else 0.0
        np.testing.assert_allclose(found.values, KERNEL[..., 2] * (X - start), atol=1e-5)
        np.testing.assert_allclose(found.extras["delta"], 0, atol=1e-5)


def test_without_leave_to_stray_it_is_integrated_gradients() -> None:
    steps = 12
    found = GuidedIG(steps=steps, max_dist=0)(wrap(rectified_network()), X, 3)
    gradients = np.stack([Rectified(X * i / steps).at_image(3) for i in range(steps + 1)])
    expected = (gradients[:-1] + gradients[1:]).mean(axis=0) / 2 * X
    np.testing.assert_allclose(found.values, expected, atol=1e-5 * np.abs(expected).max())
    rise = (Rectified(X).scores - Rectified(0 * X).scores)[:, 3]
    np.testing.assert_allclose(found.extras["delta"], expected.sum(axis=(1, 2, 3)) - rise, atol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_progress_counts_the_steps_of_all_images(batch_size: int) -> None:
    seen: list[tuple[int, int]] = []
    model = wrap(deep_network())
    GuidedIG(steps=4)(model, X, batch_size=batch_size, progress=lambda done, total: seen.append((done, total)))
    assert seen[0] == (0, 12)
    assert seen[-1] == (12, 12)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


def test_the_first_answer_is_settled_on_the_clean_image() -> None:
    model = wrap(deep_network())
    found = GuidedIG(steps=6)(model, X)
    assert found.output is not None
    first = found.output.argmax(axis=1)
    assert len(set(first)) > 1
    np.testing.assert_array_equal(found.values, GuidedIG(steps=6)(model, X, list(first)).values)


def test_an_image_that_is_the_baseline_has_no_way_to_go() -> None:
    found = GuidedIG(steps=3)(wrap(deep_network()), np.zeros_like(X))
    assert not found.values.any()
    assert not found.extras["delta"].any()


def test_it_ends_where_the_gradient_is_not_a_number() -> None:
    layers: dict[str, Any] = dict(deep_network().layers)
    broken = replace(layers["conv2"], kernel=layers["conv2"].kernel * np.float32(np.nan))
    with pytest.raises(NonFiniteError, match="conv2"):
        GuidedIG(steps=3)(wrap(Network({**layers, "conv2": broken})), X, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps=0 must be a whole number, at least 1"),
        ({"fraction": 0}, r"fraction=0 must be a finite number above 0"),
        ({"max_dist": 1.5}, r"max_dist=1\.5"),
        ({"max_dist": float("nan")}, "max_dist=nan"),
        ({"baseline": "pink"}, "baseline='pink' is unknown"),
    ],
)
def test_it_refuses_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        GuidedIG(**options)(wrap(linear_network()), X)


@parametrize_with_checks([GuidedIG(steps=10)])
def test_it_keeps_the_contract(check: Any) -> None:
    check()
