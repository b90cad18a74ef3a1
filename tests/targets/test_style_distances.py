"""Gram and covariance distances: what they are worked out by hand, and the same in every framework."""

import numpy as np
import pytest

from agnoscope.errors import TargetError
from agnoscope.targets.features import CovarianceDistance, GramDistance, gram_matrix, moments
from tests.targets.asking import scored, shown, sloped

PIXELS = np.array([[[[1.0, 0.0], [3.0, 2.0]]]])  # mean (2, 1); both channels differ from it by -1 and 1


def test_moments_by_hand() -> None:
    mean, covariance = moments(np, PIXELS)
    np.testing.assert_allclose(mean, [[2, 1]])
    np.testing.assert_allclose(covariance, [[[1, 1], [1, 1]]])
    np.testing.assert_allclose(gram_matrix(np, PIXELS), [[[5, 3], [3, 2]]])


def test_each_part_of_the_covariance_distance_is_a_share_of_its_own_length() -> None:
    model = shown(2)
    met = CovarianceDistance("conv", [2, 1], np.ones((2, 2)))
    assert scored(model, met, PIXELS) == pytest.approx([0])
    assert scored(model, CovarianceDistance("conv", [4, 1], np.ones((2, 2))), PIXELS) == pytest.approx([4 / 17])
    assert scored(model, CovarianceDistance("conv", [2, 1], [[1, 0], [0, 1]]), PIXELS) == pytest.approx([2 / 2])


def test_gram_distance_by_hand() -> None:
    assert scored(shown(2), GramDistance("conv", [[5, 3], [3, 4]]), PIXELS) == pytest.approx([4 / 59])


def test_places_do_not_matter() -> None:
    x = np.random.default_rng(0).normal(size=(1, 3, 4, 2))
    shuffled = x.reshape(1, 12, 2)[:, np.random.default_rng(1).permutation(12)].reshape(1, 3, 4, 2)
    mean, covariance = moments(np, x)
    assert scored(shown(2), CovarianceDistance("conv", mean[0], covariance[0]), shuffled) == pytest.approx(
        [0], abs=1e-12
    )


def test_gradient_is_that_of_difference_quotients() -> None:
    x = np.random.default_rng(0).normal(size=(1, 2, 3, 2))
    target, model = CovarianceDistance("conv", [1, 2], [[2, 1], [1, 3]]), shown(2)
    _, slope = sloped(model, target, x)
    for place in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[place] += 1e-5
        down[place] -= 1e-5
        quotient = (scored(model, target, up) - scored(model, target, down))[0] / 2e-5
        assert slope[place] == pytest.approx(quotient, abs=1e-7)


@pytest.mark.parametrize(
    ("mean", "covariance", "told"),
    [
        ([0, 0], np.eye(2), "mean of 'conv' is all zero"),
        ([1, 0], np.zeros((2, 2)), "covariance of 'conv' is all zero"),
        ([1, 0, 0], np.eye(2), r"\(3,\)"),
        ([1, np.nan], np.eye(2), "finite"),
    ],
)
def test_moments_that_mean_nothing_are_refused(mean: object, covariance: object, told: str) -> None:
    with pytest.raises(TargetError, match=told):
        scored(shown(2), CovarianceDistance("conv", mean, covariance), PIXELS)
