"""Randomisation: maps that stay, that turn round, that have nothing in common."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agnoscope.errors import OptionError
from agnoscope.metrics import label_randomisation, parameter_randomisation

RNG = np.random.default_rng(0)
MAPS = RNG.normal(size=(3, 32, 32))


def test_maps_that_stay_are_alike() -> None:
    found = label_randomisation(MAPS, 2 * MAPS)
    for alike in (found.spearman, found.absolute_spearman, found.ssim):
        np.testing.assert_allclose(alike, 1)
    np.testing.assert_allclose(found.entropy_rise, 0, atol=1e-12)


def test_a_changed_sign_is_seen_by_the_signed_maps_only() -> None:
    found = label_randomisation(MAPS, -MAPS)
    np.testing.assert_allclose(found.spearman, -1)
    np.testing.assert_allclose(found.absolute_spearman, 1)
    np.testing.assert_allclose(found.ssim, 1)


def test_independent_maps_have_nothing_in_common() -> None:
    found = label_randomisation(MAPS, RNG.normal(size=MAPS.shape))
    assert (np.abs([found.spearman, found.absolute_spearman]) < 0.1).all()
    assert (found.ssim < 0.5).all()


def test_entropy_rises_from_two_bins_to_a_hundred() -> None:
    steps, ramp = np.repeat([0.0, 1.0], 50).reshape(1, 10, 10), np.arange(100.0).reshape(1, 10, 10)
    assert label_randomisation(steps, ramp).entropy_rise == pytest.approx(np.log(100) / np.log(2) - 1)
    assert np.isnan(label_randomisation(np.ones((1, 10, 10)), ramp).entropy_rise)


def test_the_cascade_keeps_its_steps_and_looks_at_one_at_a_time() -> None:
    drawn = []

    def networks() -> Iterator[tuple[str, NDArray[Any]]]:
        for name, share in (("head", 0.5), ("conv2", 0.1), ("conv1", 0.0)):
            drawn.append(name)
            yield name, share * MAPS + (1 - share) * np.random.default_rng(5).normal(size=MAPS.shape)

    found = parameter_randomisation(MAPS, networks())
    assert list(found) == drawn == ["head", "conv2", "conv1"]
    means = [step.spearman.mean() for step in found.values()]
    assert means == sorted(means, reverse=True)
    assert found["head"].spearman.shape == (3,)


def test_steps_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(OptionError, match="nothing to compare"):
        parameter_randomisation(MAPS, [])
    with pytest.raises(OptionError, match="Two steps have the name 'a'"):
        parameter_randomisation(MAPS, [("a", MAPS), ("a", MAPS)])
    with pytest.raises(OptionError, match="cannot be compared"):
        parameter_randomisation(MAPS, [("a", MAPS[:2])])
