"""Where a network can be cut, and how far its layers reach."""

import numpy as np
import pytest

import agnoscope as ag
from agnoscope.backends.reference import Network, Relu
from agnoscope.explainers.perturbation.reach import IMAGE, Reach, find_cuts
from tests.explainers.perturbation.full_runs import conv, head, strides


def test_the_reach_of_known_layers_is_measured() -> None:
    found = find_cuts(ag.wrap(strides()), (64, 56))
    assert found.names == (IMAGE, "b", "c")  # "e" has maps of 13 × 11, too small
    assert found.sizes == ((64, 56), (30, 26), (28, 24))
    assert found.reaches == ((Reach(2, 0, 5),) * 2, (Reach(1, 0, 3),) * 2)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(3, 1, 1), (5, 1, 2), (5, 2, 0), (4, 2, 1), (1, 2, 0), (7, 2, 3)]
)
def test_the_reach_of_a_convolution_is_its_kernel(kernel: int, stride: int, padding: int) -> None:
    first, second = conv(3, 6, kernel, stride, padding), conv(6, 6, 3)
    found = find_cuts(ag.wrap(Network({"first": first, "relu": Relu(), "second": second} | head(6))), (64, 56))
    expected = Reach(stride, padding, kernel - padding)
    assert found.reaches == ((expected, expected),)


def test_reaches_one_after_the_other_are_those_of_both() -> None:
    first, second = Reach(2, 1, 3), Reach(3, 0, 4)
    span = np.array([[5, 9], [0, 1], [30, 31]])
    both = first.then(second)
    np.testing.assert_array_equal(both.needed(span, 999), first.needed(second.needed(span, 999), 999))
    span = np.array([[50, 69], [200, 201]])
    np.testing.assert_array_equal(both.changed(span, 99), second.changed(first.changed(span, 299), 99))


@pytest.mark.parametrize("reach", [Reach(1, 1, 2), Reach(2, 1, 3), Reach(2, 0, 1), Reach(3, 2, 5), Reach(1, -2, 5)])
def test_changed_and_needed_are_what_the_definition_says(reach: Reach) -> None:
    length, outputs = 40, 13
    for first in range(0, length, 3):
        for last in range(first + 1, length, 4):
            sees = [range(reach.step * j - reach.before, reach.step * j + reach.after) for j in range(outputs)]
            hit = [j for j in range(outputs) if any(first <= i < last for i in sees[j])]
            found = reach.changed(np.array([[first, last]]), outputs)[0]
            assert list(range(*found)) == hit
            if hit:
                wanted = [i for j in hit for i in sees[j] if 0 <= i < length]
                assert tuple(reach.needed(found[None], length)[0]) == (min(wanted), max(wanted) + 1)
