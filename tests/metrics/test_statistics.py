"""Summaries: what counts, and an interval that the normal distribution confirms."""

import numpy as np
import pytest

from agnoscope.errors import OptionError
from agnoscope.metrics import Summary, summary


def test_undefined_values_are_counted_and_left_out() -> None:
    found = summary(np.array([1.0, np.nan, 2.0, 3.0]))
    assert (found.mean, found.n, found.undefined) == (2, 3, 1)
    assert 1 <= found.low < 2 < found.high <= 3


def test_nothing_defined_is_undefined() -> None:
    for values, undefined in ((np.full(3, np.nan), 3), (np.empty(0), 0)):
        found = summary(values)
        assert (found.n, found.undefined) == (0, undefined)
        assert np.isnan([found.mean, found.low, found.high]).all()


def test_equal_values_have_an_interval_of_no_width() -> None:
    assert summary(np.full(5, 0.5)) == Summary(0.5, 0.5, 0.5, 5, 0)


@pytest.mark.parametrize(("confidence", "deviations"), [(0.95, 1.96), (0.68, 0.9945)])
def test_the_interval_is_that_of_the_normal_distribution(confidence: float, deviations: float) -> None:
    values = np.random.default_rng(3).normal(size=400)
    found = summary(values, confidence)
    half = deviations * values.std() / 20
    assert found.high - found.mean == pytest.approx(half, rel=0.1)
    assert found.mean - found.low == pytest.approx(half, rel=0.1)


def test_the_seed_decides() -> None:
    values = np.arange(9.0)
    assert summary(values) == summary(values)
    assert summary(values) != summary(values, seed=1)


def test_it_reads_as_a_line() -> None:
    assert str(summary(np.full(5, 0.5))) == "0.500 [0.500, 0.500] (n=5)"
    assert str(summary(np.array([0.5, np.nan]))) == "0.500 [0.500, 0.500] (n=1, 1 undefined)"


def test_bad_arguments_are_refused() -> None:
    for values in (np.ones((2, 2)), np.array([np.inf])):
        with pytest.raises(OptionError, match="one finite number"):
            summary(values)
    for options in ({"confidence": 1.0}, {"resamples": 0}):
        with pytest.raises(OptionError, match="must be at least 1"):
            summary(np.ones(3), **options)
