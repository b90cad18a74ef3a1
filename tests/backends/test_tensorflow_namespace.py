"""The namespace of TensorFlow's tensors against NumPy's: eager, in a graph and under XLA."""

from types import SimpleNamespace

import array_api_compat.numpy as reference
import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")

from agnoscope.backends.tensorflow_namespace import xp

pytestmark = pytest.mark.tensorflow

random = np.random.default_rng(0)
INPUTS = {
    "x": random.normal(size=(2, 3, 4)).astype(np.float32),
    "y": random.normal(size=(2, 1, 4)).astype(np.float32),
    "p": random.uniform(0.5, 2, size=(2, 3, 4)).astype(np.float32),
    "d": random.normal(size=(3, 4)),
    "v": random.normal(size=4).astype(np.float32),
    "i": random.integers(-5, 6, size=(2, 3, 4)).astype(np.int32),
    "b": random.integers(0, 2, size=(2, 3, 4)).astype(bool),
    "rows": np.array([1, 0, 1], dtype=np.int32),
    "places": random.integers(0, 3, size=(2, 2, 4)).astype(np.int32),
    "odd": np.array([np.nan, np.inf, -np.inf, -0.5, 0.5, 1.5, 2.5, 0.0], dtype=np.float32),
}

# "name" or "name/variant": what is computed, on xp and the inputs above.
CASES = {
    "abs": lambda xp, a: xp.abs(a.x),
    "add": lambda xp, a: xp.add(a.x, 2),
    "add/left": lambda xp, a: xp.add(0.1, a.d),
    "all": lambda xp, a: xp.all(a.b, axis=1),
    "all/everything": lambda xp, a: xp.all(a.i, axis=None, keepdims=True),
    "any": lambda xp, a: xp.any(a.b, axis=(0, 2)),
    "arange": lambda xp, a: xp.arange(5),
    "arange/range": lambda xp, a: xp.arange(2, 9, 3),
    "arange/float": lambda xp, a: xp.arange(0.5, 3, 0.5, dtype=xp.float32),
    "arange/dtype": lambda xp, a: xp.arange(5, dtype=xp.int64),
    "argmax": lambda xp, a: xp.argmax(a.x, axis=1),
    "argmax/first of ties": lambda xp, a: xp.argmax(xp.sign(a.x), axis=-1, keepdims=True),
    "argmax/everything": lambda xp, a: xp.argmax(a.x),
    "argmin": lambda xp, a: xp.argmin(a.x, axis=-2),
    "argmin/kept": lambda xp, a: xp.argmin(a.x, keepdims=True),
    "argsort": lambda xp, a: xp.argsort(a.x, axis=1),
    "argsort/stable": lambda xp, a: xp.argsort(a.i, axis=-1, stable=True),
    "argsort/down": lambda xp, a: xp.argsort(a.x, axis=0, descending=True),
    "asarray": lambda xp, a: xp.asarray(a.d),
    "asarray/dtype": lambda xp, a: xp.asarray(a.d, dtype=xp.float32),
    "asarray/list": lambda xp, a: xp.asarray([[1.0, 0.1]], dtype=xp.float64),
    "astype": lambda xp, a: xp.astype(a.x, xp.int32),
    "astype/bool": lambda xp, a: xp.astype(a.i, xp.bool),
    "atan2": lambda xp, a: xp.atan2(a.x, a.y),
    "broadcast_to": lambda xp, a: xp.broadcast_to(a.y, (2, 3, 4)),
    "ceil": lambda xp, a: xp.ceil(a.x),
    "clip": lambda xp, a: xp.clip(a.x, -0.5, 0.5),
    "clip/below": lambda xp, a: xp.clip(a.d, min=0),
    "clip/arrays": lambda xp, a: xp.clip(a.x, a.y - 0.1, a.y + 0.1),
    "concat": lambda xp, a: xp.concat([a.x, a.y], axis=1),
    "concat/flat": lambda xp, a: xp.concat((a.x, a.y), axis=None),
    "cos": lambda xp, a: xp.cos(a.x),
    "cosh": lambda xp, a: xp.cosh(a.x),
    "cumulative_sum": lambda xp, a: xp.cumulative_sum(a.x, axis=-1),
    "cumulative_sum/from zero": lambda xp, a: xp.cumulative_sum(a.x, axis=1, include_initial=True),
    "cumulative_sum/vector": lambda xp, a: xp.cumulative_sum(a.v, dtype=xp.float64),
    "divide": lambda xp, a: xp.divide(a.x, a.p),
    "equal": lambda xp, a: xp.equal(a.i, 2),
    "exp": lambda xp, a: xp.exp(a.x),
    "expand_dims": lambda xp, a: xp.expand_dims(a.x, axis=-1),
    "expm1": lambda xp, a: xp.expm1(a.x),
    "eye": lambda xp, a: xp.eye(3, 4, dtype=xp.float64),
    "flip": lambda xp, a: xp.flip(a.x, axis=-1),
    "flip/two": lambda xp, a: xp.flip(a.x, axis=(0, -1)),
    "flip/all": lambda xp, a: xp.flip(a.x),
    "floor": lambda xp, a: xp.floor(a.x),
    "floor_divide": lambda xp, a: xp.floor_divide(a.i, 3),
    "full": lambda xp, a: xp.full((2, 3), 0.5, dtype=xp.float32),
    "full/number": lambda xp, a: xp.full(3, 7, dtype=xp.int32),
    "full_like": lambda xp, a: xp.full_like(a.d, 0.1),
    "greater": lambda xp, a: xp.greater(a.x, a.y),
    "greater_equal": lambda xp, a: xp.greater_equal(0, a.i),
    "isfinite": lambda xp, a: xp.isfinite(a.odd),
    "isinf": lambda xp, a: xp.isinf(a.odd),
    "isnan": lambda xp, a: xp.isnan(a.odd),
    "less": lambda xp, a: xp.less(a.x, 0),
    "less_equal": lambda xp, a: xp.less_equal(a.i, 0),
    "linalg.matmul": lambda xp, a: xp.linalg.matmul(a.x, xp.linalg.matrix_transpose(a.p)),
    "linalg.matrix_transpose": lambda xp, a: xp.linalg.matrix_transpose(a.d),
    "linalg.tensordot": lambda xp, a: xp.linalg.tensordot(a.x, a.p, axes=((0,), (0,))),
    "linalg.vecdot": lambda xp, a: xp.linalg.vecdot(a.x, a.y),
    "linspace": lambda xp, a: xp.linspace(-1, 1, 7, dtype=xp.float64),
    "linspace/open": lambda xp, a: xp.linspace(0, 1, 5, endpoint=False, dtype=xp.float32),
    "log": lambda xp, a: xp.log(a.p),
    "log1p": lambda xp, a: xp.log1p(a.p),
    "logical_and": lambda xp, a: xp.logical_and(a.b, a.x > 0),
    "logical_not": lambda xp, a: xp.logical_not(a.b),
    "logical_or": lambda xp, a: xp.logical_or(a.b, a.x > 0),
    "logical_xor": lambda xp, a: xp.logical_xor(a.b, a.x > 0),
    "matmul": lambda xp, a: xp.matmul(a.d, xp.matrix_transpose(a.d)),
    "matmul/batch": lambda xp, a: xp.matmul(a.x, xp.matrix_transpose(a.p)),
    "matmul/vector": lambda xp, a: xp.matmul(a.x, a.v),
    "matmul/left": lambda xp, a: xp.matmul(a.v, xp.matrix_transpose(a.x)),
    "matmul/vectors": lambda xp, a: xp.matmul(a.v, a.v),
    "matrix_transpose": lambda xp, a: xp.matrix_transpose(a.x),
    "max": lambda xp, a: xp.max(a.x, axis=(1, 2), keepdims=True),
    "max/everything": lambda xp, a: xp.max(a.i),
    "maximum": lambda xp, a: xp.maximum(a.x, a.y),
    "maximum/number": lambda xp, a: xp.maximum(0, a.d),
    "maximum/whole": lambda xp, a: xp.maximum(a.i, 2),
    "maximum/large": lambda xp, a: xp.maximum(a.p * 1.6e38, 1e38),
    "mean": lambda xp, a: xp.mean(a.x, axis=0),
    "mean/everything": lambda xp, a: xp.mean(a.d, keepdims=True),
    "meshgrid": lambda xp, a: xp.meshgrid(a.v, a.v[:2])[1],
    "meshgrid/rows": lambda xp, a: xp.meshgrid(a.v, a.v[:2], indexing="ij")[0],
    "min": lambda xp, a: xp.min(a.x, axis=-1),
    "minimum": lambda xp, a: xp.minimum(a.x, a.y),
    "moveaxis": lambda xp, a: xp.moveaxis(a.x, 0, -1),
    "moveaxis/two": lambda xp, a: xp.moveaxis(a.x, (0, -1), (1, 0)),
    "multiply": lambda xp, a: xp.multiply(a.x, a.y),
    "negative": lambda xp, a: xp.negative(a.x),
    "not_equal": lambda xp, a: xp.not_equal(a.i, 0),
    "ones": lambda xp, a: xp.ones((2, 3), dtype=xp.float32),
    "ones_like": lambda xp, a: xp.ones_like(a.d, dtype=xp.float32),
    "permute_dims": lambda xp, a: xp.permute_dims(a.x, (2, 0, 1)),
    "pow": lambda xp, a: xp.pow(a.x, 2),
    "pow/base": lambda xp, a: xp.pow(2, a.d),
    "prod": lambda xp, a: xp.prod(a.x, axis=1),
    "remainder": lambda xp, a: xp.remainder(a.i, 3),
    "repeat": lambda xp, a: xp.repeat(a.x, 2, axis=1),
    "repeat/flat": lambda xp, a: xp.repeat(a.y, 3),
    "reshape": lambda xp, a: xp.reshape(a.x, (4, -1)),
    "roll": lambda xp, a: xp.roll(a.x, 1, axis=-1),
    "roll/two": lambda xp, a: xp.roll(a.x, (1, -2), axis=(0, 2)),
    "roll/flat": lambda xp, a: xp.roll(a.x, 3),
    "round": lambda xp, a: xp.round(a.odd),
    "sign": lambda xp, a: xp.sign(a.x),
    "sin": lambda xp, a: xp.sin(a.x),
    "sinh": lambda xp, a: xp.sinh(a.x),
    "sort": lambda xp, a: xp.sort(a.x),
    "sort/down": lambda xp, a: xp.sort(a.i, axis=0, descending=True),
    "sqrt": lambda xp, a: xp.sqrt(a.p),
    "square": lambda xp, a: xp.square(a.x),
    "squeeze": lambda xp, a: xp.squeeze(a.y, axis=1),
    "stack": lambda xp, a: xp.stack((a.x, a.p), axis=-1),
    "std": lambda xp, a: xp.std(a.x, axis=(1, 2)),
    "std/correction": lambda xp, a: xp.std(a.d, axis=0, correction=1.0, keepdims=True),
    "subtract": lambda xp, a: xp.subtract(1, a.x),
    "sum": lambda xp, a: xp.sum(a.x, axis=(0, 1)),
    "sum/truths": lambda xp, a: xp.sum(a.b, axis=0),
    "sum/dtype": lambda xp, a: xp.sum(a.x, dtype=xp.float64),
    "take": lambda xp, a: xp.take(a.x, a.rows, axis=1),
    "take/vector": lambda xp, a: xp.take(a.v, a.rows),
    "take_along_axis": lambda xp, a: xp.take_along_axis(a.x, a.places, axis=1),
    "take_along_axis/last": lambda xp, a: xp.take_along_axis(a.x, xp.argsort(a.x), axis=-1),
    "tan": lambda xp, a: xp.tan(a.x),
    "tanh": lambda xp, a: xp.tanh(a.x),
    "tensordot": lambda xp, a: xp.tensordot(a.x, a.p, axes=([1, 2], [1, 2])),
    "tile": lambda xp, a: xp.tile(a.y, (3, 1)),
    "tile/longer": lambda xp, a: xp.tile(a.v, (2, 2)),
    "tril": lambda xp, a: xp.tril(a.x),
    "tril/off": lambda xp, a: xp.tril(a.x, k=1),
    "triu": lambda xp, a: xp.triu(a.x, k=-1),
    "unstack": lambda xp, a: xp.unstack(a.x, axis=1)[2],
    "var": lambda xp, a: xp.var(a.x),
    "var/correction": lambda xp, a: xp.var(a.x, axis=1, correction=1),
    "vecdot": lambda xp, a: xp.vecdot(a.x, a.p),
    "vecdot/axis": lambda xp, a: xp.vecdot(a.x, a.p, axis=0),
    "linalg.vector_norm": lambda xp, a: xp.linalg.vector_norm(a.x, axis=(1, 2), keepdims=True),
    "linalg.vector_norm/one": lambda xp, a: xp.linalg.vector_norm(a.x, axis=-1, ord=1),
    "where": lambda xp, a: xp.where(a.b, a.x, a.y),
    "where/number": lambda xp, a: xp.where(a.x > 0, a.x, 0),
    "where/left": lambda xp, a: xp.where(a.d > 0, 0.1, a.d),
    "where/numbers": lambda xp, a: xp.astype(xp.where(a.b, 1, 2), xp.int32),
    "zeros": lambda xp, a: xp.zeros((2, 3), dtype=xp.int32),
    "zeros_like": lambda xp, a: xp.zeros_like(a.x),
}


def compute(a):
    return {name: case(xp, SimpleNamespace(**a)) for name, case in CASES.items()}


@pytest.fixture(scope="module")
def results():
    """Every case, computed eagerly, in one graph and in one XLA program."""
    tensors = {name: tf.convert_to_tensor(array) for name, array in INPUTS.items()}
    graph, xla = (tf.function(compute, autograph=False, jit_compile=compiled) for compiled in (False, True))
    return {"eager": compute(tensors), "graph": graph(tensors), "xla": xla(tensors)}


@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
@pytest.mark.parametrize("name", CASES)
def test_agrees_with_numpy(name, mode, results):
    expected = np.asarray(CASES[name](reference, SimpleNamespace(**INPUTS)))
    found = results[mode][name].numpy()
    assert found.shape == expected.shape
    assert found.dtype.kind == expected.dtype.kind
    if expected.dtype.kind == "f":
        assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_every_name_is_tried_and_is_the_standards():
    functions = {name for name, item in vars(xp).items() if callable(item) and not isinstance(item, tf.DType)}
    functions |= {f"linalg.{name}" for name in vars(xp.linalg)}
    assert functions - {"finfo"} == {case.split("/")[0] for case in CASES}
    assert not set(vars(xp)) - set(dir(reference))
    assert not set(vars(xp.linalg)) - set(dir(reference.linalg))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "uint8", "bool"])
def test_asarray_follows_what_it_is_given(dtype):
    array = np.ones(3, dtype=dtype)
    assert xp.asarray(array).dtype == getattr(xp, dtype)
    assert xp.asarray(xp.asarray(array)).dtype == getattr(xp, dtype)
    assert xp.asarray(array, dtype=xp.float64).dtype == xp.float64


def test_python_numbers_become_float32_and_int32():
    assert [xp.asarray(item).dtype for item in (1.5, 2, True)] == [xp.float32, xp.int32, xp.bool]
    assert [item.dtype for item in (xp.arange(3), xp.zeros(3), xp.linspace(0, 1, 3))] == [
        xp.int32,
        xp.float32,
        xp.float32,
    ]


def test_a_number_keeps_its_precision_beside_float64():
    x = xp.asarray(np.zeros(1))
    assert xp.where(x > 0, x, 0.1).numpy()[0] == 0.1
    assert xp.full_like(x, 0.1).numpy()[0] == 0.1
    assert xp.asarray(0.1, dtype=xp.float64).numpy() == 0.1


def test_finfo_takes_dtypes_and_tensors():
    assert xp.finfo(xp.float32).eps == xp.finfo(xp.zeros(1)).eps == np.finfo(np.float32).eps


@pytest.mark.parametrize(
    ("function", "slope"),
    [
        (lambda x: xp.maximum(x, xp.zeros_like(x)), [0, 0.5, 1]),
        (lambda x: xp.maximum(0, x), [0, 0.5, 1]),
        (lambda x: xp.minimum(x, 0.0), [1, 0.5, 0]),
        (lambda x: xp.max(xp.stack([x, -x, x]), axis=0), [-1, 1 / 3, 1]),
        (lambda x: xp.clip(x, 0, 1), [0, 1, 1]),
        (lambda x: xp.abs(x), [-1, 0, 1]),
        (lambda x: xp.linalg.vector_norm(x[:, None], axis=1), [-1, 0, 1]),
    ],
)
@pytest.mark.parametrize("compiled", [False, True])
def test_gradients_at_ties_and_kinks(function, slope, compiled):
    def program(x):
        return tf.gradients(tf.reduce_sum(function(x)), x)[0]

    x = tf.constant([-1.0, 0.0, 1.0])
    np.testing.assert_allclose(tf.function(program, autograph=False, jit_compile=compiled)(x), slope, atol=1e-7)


def test_several_stacks_of_one_matrix_are_multiplied_from_the_right():
    stack, matrix = np.ones((2, 1, 8, 8), np.float32), np.eye(8, dtype=np.float32)[:, ::-1]
    graph = tf.function(lambda x: xp.matmul(x, tf.constant(matrix)))
    np.testing.assert_array_equal(graph(tf.constant(stack)).numpy(), stack @ matrix)
