"""The oracle is right: each gradient on its tape, each operation, against difference quotients in float64."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agnoscope import CapabilityError, LayerError, ModelError, wrap
from agnoscope.backends.reference import (
    AveragePool,
    Conv,
    Dense,
    GlobalAverage,
    Network,
    Operation,
    Relu,
    Sigmoid,
    Softmax,
    forward,
)
from agnoscope.backends.tape import CONSTANT, ELEMENTWISE, FUNCTIONS, Variable, gradients_of, value_of, xp
from agnoscope.testing import Backend, deep_network, images, parametrize_with_checks

STEP = 1e-6


def numbers(*shape: int, seed: int = 0) -> NDArray[np.float64]:
    """Between 0.5 and 2, all different and none equal to another set's: away from poles, kinks and ties."""
    count = int(np.prod(shape))
    return (
        np.random.default_rng([seed, count])
        .permutation(0.5 + 1.5 * (np.arange(count) + 0.3 * (seed + 1)) / count)
        .reshape(shape)
    )


def assert_gradients(function: Callable[..., Any], *arrays: NDArray[np.float64]) -> None:
    """What goes back through a function is what difference quotients of a weighted sum of its results say."""
    variables = [Variable(array.copy()) for array in arrays]
    y = function(*variables)
    assert isinstance(y, Variable)
    weights = np.random.default_rng(5).normal(size=y.shape)
    found = gradients_of(xp.sum(y * weights), variables)
    for i, array in enumerate(arrays):
        expected = np.empty_like(array)
        for place in np.ndindex(array.shape):
            ahead, behind = (
                np.sum(weights * value_of(function(*arrays[:i], _moved(array, place, step), *arrays[i + 1 :])))
                for step in (STEP, -STEP)
            )
            expected[place] = (ahead - behind) / (2 * STEP)
        np.testing.assert_allclose(found[i], expected, rtol=1e-6, atol=1e-8)
        assert found[i].dtype == array.dtype


def _moved(array: NDArray[np.float64], place: tuple[int, ...], step: float) -> NDArray[np.float64]:
    moved = array.copy()
    moved[place] += step
    return moved


X, Y = numbers(3, 4), numbers(3, 4, seed=1)
CASES: dict[str, list[tuple[Callable[..., Any], tuple[NDArray[np.float64], ...]]]] = {
    "where": [(lambda a, b: xp.where(X > 1, a, b), (X, Y)), (lambda a, b: xp.where(X[0] > 1, a, b), (X, Y[:1]))],
    "sum": [
        (lambda a: xp.sum(a), (X,)),
        (lambda a: xp.sum(a, axis=0), (X,)),
        (lambda a: xp.sum(a, axis=(0, 2)), (numbers(2, 3, 4),)),
        (lambda a: xp.sum(a, axis=-1, keepdims=True), (X,)),
    ],
    "mean": [(lambda a: xp.mean(a), (X,)), (lambda a: xp.mean(a, axis=(1, 2), keepdims=True), (numbers(2, 3, 4),))],
    "max": [
        (lambda a: xp.max(a), (X,)),
        (lambda a: xp.max(a, axis=1), (X,)),
        (lambda a: xp.max(a, axis=0, keepdims=True), (X,)),
    ],
    "reshape": [(lambda a: xp.reshape(a, (2, -1)), (X,))],
    "permute_dims": [(lambda a: xp.permute_dims(a, (2, 0, 1)), (numbers(2, 3, 4),))],
    "expand_dims": [(lambda a: xp.expand_dims(a, axis=1), (X,)), (lambda a: xp.expand_dims(a, axis=-1), (X,))],
    "squeeze": [(lambda a: xp.squeeze(a, 1), (numbers(3, 1, 4),))],
    "broadcast_to": [
        (lambda a: xp.broadcast_to(a, (2, 3, 4)), (X,)),
        (lambda a: xp.broadcast_to(a, (3, 4)), (X[:, :1],)),
    ],
    "flip": [(lambda a: xp.flip(a, axis=-1), (X,)), (lambda a: xp.flip(a), (X,))],
    "astype": [(lambda a: xp.astype(a, np.float64), (X,))],
    "asarray": [(lambda a: xp.asarray(a) * 2, (X,)), (lambda a: xp.asarray(a, dtype=np.float64), (X,))],
    "matmul": [
        (lambda a, b: xp.matmul(a, b), (X, Y.T.copy())),
        (lambda a, b: a @ b, (numbers(2, 3, 4), numbers(4, 2))),
        (lambda b: xp.matmul(X, b), (numbers(2, 4, 3),)),
    ],
    "take": [
        (lambda a: xp.take(a, np.array([2, 0, 2]), axis=0), (X,)),
        (lambda a: xp.take(a, np.array([1, 1, 3, 0]), axis=-1), (numbers(2, 3, 4),)),
    ],
    "concat": [(lambda a, b: xp.concat([a, X, b], axis=0), (X, Y[:1])), (lambda a: xp.concat([Y, a], axis=-1), (X,))],
}
OPERATORS: dict[str, Callable[..., Any]] = {
    "a + b": lambda a, b: a + b + 1.0 + X,
    "1 + a": lambda a, b: 1.0 + a + (X + b),
    "a - b": lambda a, b: a - b - 1.0,
    "1 - a": lambda a, b: 1.0 - a + (X - b),
    "a * b": lambda a, b: a * b * 2.0,
    "2 * a": lambda a, b: 2.0 * a + X * b,
    "a / b": lambda a, b: a / b / 2.0,
    "2 / a": lambda a, b: 2.0 / a + X / b,
    "a ** b": lambda a, b: a**b + a**2,
    "-a": lambda a, b: -a * b,
    "abs(a)": lambda a, b: abs(a - 10.0) * b,
    "a[i]": lambda a, b: a[1:, ::2] * b[:2, [0, 0]],
    "a used twice": lambda a, b: a * a + a * b * a,
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_gradients(name: str) -> None:
    function, count = getattr(xp, name), len(ELEMENTWISE[name])
    if name == "where":
        assert CASES["where"]
        return
    assert_gradients(function, *(X, Y)[:count])
    if count == 2:  # broadcasting, both ways, and a constant on either side
        assert_gradients(function, X, Y[:1])
        assert_gradients(function, X[:, :1], numbers(2, 3, 4, seed=1))
        assert_gradients(lambda a: function(a, Y), X)
        assert_gradients(lambda b: function(X, b), Y)
    else:
        assert_gradients(function, -X) if name not in ("sqrt", "log") else None


@pytest.mark.parametrize("name", CASES)
def test_gradients_of_functions(name: str) -> None:
    for function, arrays in CASES[name]:
        assert_gradients(function, *arrays)


def test_every_function_of_the_tape_is_among_them() -> None:
    assert set(CASES) == {*FUNCTIONS, "where"}
    assert not CONSTANT & {*FUNCTIONS, *ELEMENTWISE}


@pytest.mark.parametrize("function", OPERATORS.values(), ids=OPERATORS)
def test_gradients_of_operators(function: Callable[..., Any]) -> None:
    assert_gradients(function, X, Y)


def test_ties_share_the_gradient() -> None:
    for function, expected in (
        (lambda a: xp.max(a), [0, 0.5, 0.5]),
        (lambda a: xp.maximum(a, 2.0 * np.ones(3)), [0, 0.5, 0.5]),
        (lambda a: xp.minimum(a, np.ones(3)), [0.5, 0, 0]),
    ):
        leaf = Variable(np.array([1.0, 2.0, 2.0]))
        np.testing.assert_array_equal(gradients_of(xp.sum(function(leaf)), [leaf])[0], expected)


def test_the_gradient_has_the_dtype_of_what_it_belongs_to() -> None:
    leaf = Variable(X.astype(np.float32))
    for converted in (xp.astype(leaf, np.float64), xp.asarray(leaf, dtype=np.float64)):
        assert converted.dtype == np.float64
        assert gradients_of(xp.sum(converted * X), [leaf])[0].dtype == np.float32
    assert gradients_of(xp.sum(leaf * X), [leaf])[0].dtype == np.float32


def test_what_only_looks_at_the_value_has_no_gradient() -> None:
    leaf = Variable(X)
    assert not isinstance(xp.argmax(leaf, axis=1), Variable)
    np.testing.assert_array_equal(leaf > 1, X > 1)
    for compare in ("__lt__", "__le__", "__gt__", "__ge__"):
        other = np.where(X > 1, X, Y)  # ties among them
        np.testing.assert_array_equal(getattr(leaf, compare)(Variable(other)), getattr(X, compare)(other))
    gradient, of_other = gradients_of(xp.sum(xp.where(leaf > 1, leaf, xp.zeros_like(leaf))), [leaf, Variable(Y)])
    np.testing.assert_array_equal(gradient, X > 1)
    np.testing.assert_array_equal(of_other, np.zeros_like(Y))


def test_a_function_without_a_listed_gradient_refuses_a_variable() -> None:
    for call in (
        lambda a: xp.prod(a),
        lambda a: xp.cumulative_sum(a, axis=0),
        lambda a: xp.stack([a, a]),
        lambda a: xp.asarray([a, a]),
        lambda a: xp.clip(a, min=a),
    ):
        assert np.isfinite(call(X)).all()
        with pytest.raises(CapabilityError, match=r"no gradient for '\w+' of this; it knows abs, add"):
            call(Variable(X))
    with pytest.raises(AttributeError):
        xp.no_such_function  # noqa: B018


def test_plain_arrays_stay_plain() -> None:
    for name, cases in CASES.items():
        for function, arrays in cases:
            assert not isinstance(function(*arrays), Variable), name


OPERATIONS: dict[str, Operation] = {
    **{
        f"conv {size} stride {stride} padding {padding}": Conv(numbers(*size, 2, 3), numbers(3), stride, padding)
        for size in ((1, 1), (3, 3), (2, 4))
        for stride in (1, 2, 3)
        for padding in (0, 1, 2)
    },
    "relu": Relu(),
    "relu6": Relu(1.5),
    "average pool": AveragePool(2),
    "global average": GlobalAverage(),
    "softmax": Softmax(),
    "sigmoid": Sigmoid(),
}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_gradients_of_operations(operation: Operation) -> None:
    assert_gradients(lambda x: forward(operation, x, None), numbers(2, 5, 6, 2) - 1.2)


def test_gradients_of_a_dense_layer() -> None:
    assert_gradients(lambda x: forward(Dense(numbers(4, 2), numbers(2)), x, None), X)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, 1, 2])
def test_a_convolution_is_the_sum_that_it_is_defined_by(stride: int, padding: int) -> None:
    x, kernel, bias = numbers(2, 5, 6, 2), numbers(2, 3, 2, 4), numbers(4)
    padded = np.zeros((2, 5 + 2 * padding, 6 + 2 * padding, 2))
    padded[:, padding : padding + 5, padding : padding + 6] = x
    found = forward(Conv(kernel, bias, stride, padding), x, None)
    rows, columns = (5 + 2 * padding - 2) // stride + 1, (6 + 2 * padding - 3) // stride + 1
    assert found.shape == (2, rows, columns, 4)
    for i in range(rows):
        for j in range(columns):
            there = padded[:, i * stride : i * stride + 2, j * stride : j * stride + 3]
            np.testing.assert_allclose(found[:, i, j], np.einsum("nuvc,uvck->nk", there, kernel) + bias)


def test_a_network_runs_no_further_than_it_must() -> None:
    misfit = Conv(numbers(1, 1, 99, 1), numbers(1))
    model = wrap(Network({**deep_network().layers, "conv2": misfit}))
    assert model.run(images(), ("relu1",))["relu1"].shape == (3, 5, 7, 6)
    with pytest.raises(ValueError, match="shape"):
        model.run(images(), ("relu1", "relu2"))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(LayerError, match="'conv3' did not run; this network has conv1, relu1"):
        wrap(deep_network()).run(images(), ("conv3",))
    with pytest.raises(ModelError, match="without params"):
        wrap(deep_network(), {"a": 1})
    with pytest.raises(ModelError, match=r"explains an agnoscope\.backends\.reference\.Network"):
        wrap(object(), backend="reference")


@parametrize_with_checks([Backend("reference", lambda n, **options: wrap(n, **options), entry="agnoscope.builtin")])
def test_conforms(check: Callable[[], None]) -> None:
    check()
