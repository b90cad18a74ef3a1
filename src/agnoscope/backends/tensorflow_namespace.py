"""The array API on TensorFlow's tensors: `xp`, the standard's names and no others.

array-api-compat knows no TensorFlow yet; the names are those that it would use, so that it can take over.
Only what TensorFlow does differently is a function here; the table at the end is the whole namespace.
Three choices: whole numbers are int32 unless they come in as something else, a Python number takes the
dtype of the tensor beside it, and values that tie for a maximum share its gradient.
"""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

Array: TypeAlias = Any
Axis: TypeAlias = int | Sequence[int] | None


def _pair(x1: Any, x2: Any) -> tuple[Array, Array]:
    """Both as tensors, a Python number in the dtype of the other."""
    dtype = next((x.dtype for x in (x1, x2) if hasattr(x, "dtype")), None)
    if dtype is None:
        return tf.convert_to_tensor(x1), tf.convert_to_tensor(x2)
    return tf.convert_to_tensor(x1, dtype), tf.convert_to_tensor(x2, dtype)


def _binary(function: Callable[..., Array]) -> Callable[[Any, Any], Array]:
    return lambda x1, x2: function(*_pair(x1, x2))


def _sharing(function: Callable[..., Array]) -> Callable[[Any, Any], Array]:
    """TensorFlow gives a tie's whole gradient to the first argument: let each have its turn."""

    def shared(x1: Any, x2: Any) -> Array:
        x1, x2 = _pair(x1, x2)
        if not x1.dtype.is_floating:
            return function(x1, x2)
        return function(x1, x2) / 2 + function(x2, x1) / 2

    return shared


def _truth(function: Callable[..., Array]) -> Callable[..., Array]:
    def reduced(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
        return function(tf.cast(x, tf.bool), axis=axis, keepdims=keepdims)

    return reduced


def _reduction(function: Callable[..., Array]) -> Callable[..., Array]:
    def reduced(x: Array, *, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Array:
        if x.dtype == tf.bool and dtype is None:
            dtype = tf.int32
        return function(x if dtype is None else tf.cast(x, dtype), axis=axis, keepdims=keepdims)

    return reduced


def _place(function: Callable[..., Array]) -> Callable[..., Array]:
    def found(x: Array, *, axis: int | None = None, keepdims: bool = False) -> Array:
        at = function(tf.reshape(x, [-1]) if axis is None else x, axis=axis or 0, output_type=tf.int32)
        if not keepdims:
            return at
        return tf.reshape(at, [1] * len(x.shape)) if axis is None else tf.expand_dims(at, axis)

    return found


def _asarray(obj: Any, *, dtype: Any = None) -> Array:
    if isinstance(obj, tf.Tensor | np.ndarray | np.generic):
        return tf.cast(obj, obj.dtype if dtype is None else dtype)
    return tf.convert_to_tensor(obj, dtype)


def _finfo(of: Any) -> Any:
    return np.finfo(getattr(of, "dtype", of).as_numpy_dtype)


def _sizes(shape: Any) -> list[int]:
    return [shape] if isinstance(shape, int) else list(shape)


def _full(shape: Any, fill_value: Any, *, dtype: Any = None) -> Array:
    return tf.broadcast_to(_asarray(fill_value, dtype=dtype), _sizes(shape))


def _full_like(x: Array, fill_value: Any, *, dtype: Any = None) -> Array:
    return _full(x.shape, fill_value, dtype=dtype or x.dtype)


def _arange(start: Any, stop: Any = None, step: Any = 1, *, dtype: Any = None) -> Array:
    numbers = np.arange(start, step=step) if stop is None else np.arange(start, stop, step)
    return tf.cast(numbers, dtype or (tf.int32 if numbers.dtype.kind == "i" else tf.float32))


def _linspace(start: float, stop: float, num: int, *, dtype: Any = None, endpoint: bool = True) -> Array:
    return tf.cast(np.linspace(start, stop, num, endpoint=endpoint), dtype or tf.float32)


def _tril(x: Array, *, k: int = 0) -> Array:
    return tf.where(_below(x, k), x, tf.zeros_like(x))


def _triu(x: Array, *, k: int = 0) -> Array:
    return tf.where(_below(x, k - 1), tf.zeros_like(x), x)


def _below(x: Array, k: int) -> Array:
    return tf.convert_to_tensor(np.tri(x.shape[-2], x.shape[-1], k, dtype=np.bool_))


def _where(condition: Array, x1: Any, x2: Any) -> Array:
    return tf.where(condition, *_pair(x1, x2))


def _clip(x: Array, min: Any = None, max: Any = None) -> Array:
    x = x if min is None else _where(x < min, min, x)
    return x if max is None else _where(x > max, max, x)


def _var(x: Array, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Array:
    squares = tf.square(x - tf.reduce_mean(x, axis=axis, keepdims=True))
    total = tf.reduce_sum(squares, axis=axis, keepdims=keepdims)
    count = squares.shape.num_elements() // total.shape.num_elements()
    return total / (count - correction)


def _std(x: Array, *, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Array:
    return tf.sqrt(_var(x, axis=axis, correction=correction, keepdims=keepdims))


def _cumulative_sum(x: Array, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Array:
    x = x if dtype is None else tf.cast(x, dtype)
    axis = (axis or 0) % len(x.shape)
    if include_initial:
        x = tf.pad(x, [(int(i == axis), 0) for i in range(len(x.shape))])
    return tf.cumsum(x, axis=axis)


def _sort(x: Array, *, axis: int = -1, descending: bool = False) -> Array:
    return tf.sort(x, axis=axis, direction="DESCENDING" if descending else "ASCENDING")


def _argsort(x: Array, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Array:
    return tf.argsort(x, axis=axis, direction="DESCENDING" if descending else "ASCENDING", stable=stable)


def _take_along_axis(x: Array, indices: Array, *, axis: int = -1) -> Array:
    x, indices = _moveaxis(x, axis, -1), _moveaxis(indices, axis, -1)
    indices = tf.broadcast_to(indices, [*x.shape[:-1], indices.shape[-1]])
    return _moveaxis(tf.gather(x, indices, batch_dims=len(x.shape) - 1), -1, axis)


def _concat(arrays: Sequence[Array], *, axis: int | None = 0) -> Array:
    return tf.concat([tf.reshape(x, [-1]) for x in arrays] if axis is None else list(arrays), axis=axis or 0)


def _permute_dims(x: Array, axes: Sequence[int]) -> Array:
    return tf.transpose(x, axes)


def _moveaxis(x: Array, source: Any, destination: Any) -> Array:
    # NumPy works out the order, on an array whose axis i has the length i.
    return tf.transpose(x, np.moveaxis(np.empty(range(len(x.shape))), source, destination).shape)


def _flip(x: Array, *, axis: Axis = None) -> Array:
    return tf.reverse(x, list(range(len(x.shape))) if axis is None else _sizes(axis))


def _roll(x: Array, shift: Any, *, axis: Axis = None) -> Array:
    if axis is None:
        return tf.reshape(tf.roll(tf.reshape(x, [-1]), shift, 0), x.shape)
    return tf.roll(x, shift, axis)


def _tile(x: Array, repetitions: Sequence[int]) -> Array:
    rank = max(len(x.shape), len(repetitions))
    x = tf.reshape(x, [1] * (rank - len(x.shape)) + list(x.shape))
    return tf.tile(x, [1] * (rank - len(repetitions)) + list(repetitions))


def _matmul(x1: Array, x2: Array) -> Array:
    if len(x2.shape) == 2:  # one product instead of many, over which TensorFlow 2.21 crashes in shapes as (2, 1, 8, 8)
        return tf.tensordot(x1, x2, 1)
    if min(len(x1.shape), len(x2.shape)) > 1:
        return tf.matmul(x1, x2)
    return tf.tensordot(x1, x2, [[-1], [max(len(x2.shape) - 2, 0)]])


def _vecdot(x1: Array, x2: Array, *, axis: int = -1) -> Array:
    return tf.reduce_sum(x1 * x2, axis=axis)


def _vector_norm(x: Array, *, axis: Axis = None, keepdims: bool = False, ord: float = 2) -> Array:
    if ord != 2:
        return tf.norm(x, ord=ord, axis=axis, keepdims=keepdims)
    squared = tf.reduce_sum(tf.square(x), axis=axis, keepdims=keepdims)
    zero = squared == 0  # where the square root has no slope; zero serves
    return tf.where(zero, tf.zeros_like(squared), tf.sqrt(tf.where(zero, tf.ones_like(squared), squared)))


_linalg = SimpleNamespace(
    matmul=_matmul,
    matrix_transpose=tf.linalg.matrix_transpose,
    tensordot=tf.tensordot,
    vecdot=_vecdot,
    vector_norm=_vector_norm,
)

xp = SimpleNamespace(
    # constants and dtypes
    e=np.e, inf=np.inf, nan=np.nan, newaxis=None, pi=np.pi,
    bool=tf.bool, float16=tf.float16, float32=tf.float32, float64=tf.float64,
    int8=tf.int8, int16=tf.int16, int32=tf.int32, int64=tf.int64, uint8=tf.uint8,
    astype=tf.cast, finfo=_finfo,
    # creation
    arange=_arange, asarray=_asarray, eye=tf.eye, full=_full, full_like=_full_like, linspace=_linspace,
    meshgrid=tf.meshgrid, ones=tf.ones, ones_like=tf.ones_like, tril=_tril, triu=_triu, zeros=tf.zeros,
    zeros_like=tf.zeros_like,
    # element by element
    abs=tf.abs, add=_binary(tf.add), atan2=_binary(tf.atan2), ceil=tf.math.ceil, clip=_clip, cos=tf.cos,
    cosh=tf.cosh, divide=_binary(tf.divide), equal=_binary(tf.equal), exp=tf.exp, expm1=tf.math.expm1,
    floor=tf.floor, floor_divide=_binary(tf.math.floordiv), greater=_binary(tf.greater),
    greater_equal=_binary(tf.greater_equal), isfinite=tf.math.is_finite, isinf=tf.math.is_inf,
    isnan=tf.math.is_nan, less=_binary(tf.less), less_equal=_binary(tf.less_equal), log=tf.math.log,
    log1p=tf.math.log1p, logical_and=tf.logical_and, logical_not=tf.logical_not, logical_or=tf.logical_or,
    logical_xor=tf.math.logical_xor, maximum=_sharing(tf.maximum), minimum=_sharing(tf.minimum),
    multiply=_binary(tf.multiply), negative=tf.negative, not_equal=_binary(tf.not_equal), pow=_binary(tf.pow),
    remainder=_binary(tf.math.floormod), round=tf.round, sign=tf.sign, sin=tf.sin, sinh=tf.sinh, sqrt=tf.sqrt,
    square=tf.square, subtract=_binary(tf.subtract), tan=tf.tan, tanh=tf.tanh, where=_where,
    # along axes
    all=_truth(tf.reduce_all), any=_truth(tf.reduce_any), argmax=_place(tf.argmax), argmin=_place(tf.argmin),
    argsort=_argsort, cumulative_sum=_cumulative_sum, max=_reduction(tf.reduce_max),
    mean=_reduction(tf.reduce_mean), min=_reduction(tf.reduce_min), prod=_reduction(tf.reduce_prod),
    sort=_sort, std=_std, sum=_reduction(tf.reduce_sum), take=tf.gather, take_along_axis=_take_along_axis,
    var=_var,
    # shapes
    broadcast_to=tf.broadcast_to, concat=_concat, expand_dims=tf.expand_dims, flip=_flip, moveaxis=_moveaxis,
    permute_dims=_permute_dims, repeat=tf.repeat, reshape=tf.reshape, roll=_roll, squeeze=tf.squeeze,
    stack=tf.stack, tile=_tile, unstack=tf.unstack,
    # products
    linalg=_linalg, matmul=_matmul, matrix_transpose=tf.linalg.matrix_transpose, tensordot=tf.tensordot,
    vecdot=_vecdot,
)  # fmt: skip
