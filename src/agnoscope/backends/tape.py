"""Reverse-mode differentiation of NumPy code, each gradient derived by hand.

`xp` is an array namespace: on plain arrays it is NumPy; on a `Variable` it also writes down how the gradient
goes back. A function whose gradient is not listed refuses a `Variable`, rather than lose its gradient.
"""

from collections.abc import Callable, Mapping, Sequence
from types import EllipsisType, ModuleType
from typing import Any, NoReturn, final

import array_api_compat.numpy as np

from agnoscope.errors import CapabilityError

Array = Any
Vjp = Callable[..., Array]

CONSTANT = frozenset(
    """equal not_equal less less_equal greater greater_equal logical_and logical_or logical_not argmax argmin argsort
    sign floor ceil round isfinite isnan zeros_like ones_like full_like all any""".split()
)
"""Functions with the gradient zero, or of no number: they look at the value alone."""


@final
class Variable:
    """An array and the way back to what it was made of."""

    __array_priority__ = 100.0
    __array_ufunc__ = None  # so that `array + variable` asks the variable

    def __init__(self, value: Array, parents: Sequence[tuple["Variable", Vjp]] = ()) -> None:
        self.value = value
        self.parents = parents

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the value."""
        return tuple(self.value.shape)

    @property
    def ndim(self) -> int:
        """Of the value."""
        return int(self.value.ndim)

    @property
    def dtype(self) -> Any:
        """Of the value."""
        return self.value.dtype

    def __getitem__(self, key: Any) -> "Variable":
        def back(g: Array) -> Array:
            spread = np.zeros_like(self.value)
            if _basic(key):  # every number is taken once
                spread[key] = g
            else:
                np.add.at(spread, key, g)
            return spread

        return Variable(self.value[key], [(self, back)])

    def __add__(self, other: Any) -> Any:
        return xp.add(self, other)

    def __sub__(self, other: Any) -> Any:
        return xp.subtract(self, other)

    def __rsub__(self, other: Any) -> Any:
        return xp.subtract(other, self)

    def __mul__(self, other: Any) -> Any:
        return xp.multiply(self, other)

    def __truediv__(self, other: Any) -> Any:
        return xp.divide(self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return xp.divide(other, self)

    def __matmul__(self, other: Any) -> Any:
        return xp.matmul(self, other)

    def __pow__(self, other: Any) -> Any:
        return xp.pow(self, other)

    def __neg__(self) -> Any:
        return xp.negative(self)

    def __abs__(self) -> Any:
        return xp.abs(self)

    def __lt__(self, other: Any) -> Any:
        return self.value < value_of(other)

    def __le__(self, other: Any) -> Any:
        return self.value <= value_of(other)

    def __gt__(self, other: Any) -> Any:
        return self.value > value_of(other)

    def __ge__(self, other: Any) -> Any:
        return self.value >= value_of(other)

    __radd__, __rmul__ = __add__, __mul__


def value_of(x: Any) -> Any:
    """The plain array of a variable, of a list of them, or of what is plain already."""
    if isinstance(x, Variable):
        return x.value
    return type(x)(value_of(item) for item in x) if isinstance(x, list | tuple) else x


def _basic(key: Any) -> bool:
    """Whether an index is made of slices, whole numbers, new axes and an ellipsis only."""
    parts = key if isinstance(key, tuple) else (key,)
    return all(part is None or isinstance(part, int | slice | EllipsisType) for part in parts)


def _holds_variable(x: Any) -> bool:
    return isinstance(x, Variable) or (isinstance(x, list | tuple) and any(map(_holds_variable, x)))


def _refuse(name: str) -> NoReturn:
    known = sorted({*ELEMENTWISE, *FUNCTIONS})
    raise CapabilityError(f"The reference backend has no gradient for {name!r} of this; it knows {', '.join(known)}.")


def unbroadcast(g: Array, shape: tuple[int, ...]) -> Array:
    """Sum a gradient over the axes that broadcasting had spread."""
    g = np.sum(g, axis=tuple(range(g.ndim - len(shape)))) if g.ndim > len(shape) else g
    spread = tuple(i for i, (have, want) in enumerate(zip(g.shape, shape, strict=True)) if want == 1 < have)
    return np.sum(g, axis=spread, keepdims=True) if spread else g


def restored(g: Array, x: Array, axis: Any, keepdims: bool) -> Array:
    """A gradient of a reduction, broadcast over what was reduced."""
    if axis is None:
        return np.broadcast_to(g, x.shape)
    return np.broadcast_to(g if keepdims else np.expand_dims(g, axis=axis), x.shape)


# Elementwise: the gradient with respect to each argument, of (g, result, *arguments).
ELEMENTWISE: Mapping[str, tuple[Vjp, ...]] = {
    "add": (lambda g, y, a, b: g, lambda g, y, a, b: g),
    "subtract": (lambda g, y, a, b: g, lambda g, y, a, b: -g),
    "multiply": (lambda g, y, a, b: g * b, lambda g, y, a, b: g * a),
    "divide": (lambda g, y, a, b: g / b, lambda g, y, a, b: -g * y / b),
    "pow": (lambda g, y, a, b: g * b * a ** (b - 1), lambda g, y, a, b: g * y * np.log(a)),
    "negative": (lambda g, y, a: -g,),
    "abs": (lambda g, y, a: g * np.sign(a),),
    "square": (lambda g, y, a: 2 * g * a,),
    "sqrt": (lambda g, y, a: g / (2 * y),),
    "exp": (lambda g, y, a: g * y,),
    "log": (lambda g, y, a: g / a,),
    "tanh": (lambda g, y, a: g * (1 - y * y),),
    "sin": (lambda g, y, a: g * np.cos(a),),
    "cos": (lambda g, y, a: -g * np.sin(a),),
    # Ties share the gradient.
    "maximum": (
        lambda g, y, a, b: g * ((a > b) + 0.5 * (a == b)),
        lambda g, y, a, b: g * ((b > a) + 0.5 * (a == b)),
    ),
    "minimum": (
        lambda g, y, a, b: g * ((a < b) + 0.5 * (a == b)),
        lambda g, y, a, b: g * ((b < a) + 0.5 * (a == b)),
    ),
    "where": (
        lambda g, y, c, a, b: np.zeros_like(g),
        lambda g, y, c, a, b: np.where(c, g, np.zeros_like(g)),
        lambda g, y, c, a, b: np.where(c, np.zeros_like(g), g),
    ),
}


def _elementwise(name: str, *given: Any) -> Any:
    plain = [value_of(x) for x in given]
    y = getattr(np, name)(*plain)
    parents = [
        (x, lambda g, vjp=vjp, a=x.value: unbroadcast(vjp(g, y, *plain), a.shape).astype(a.dtype))
        for x, vjp in zip(given, ELEMENTWISE[name], strict=True)
        if isinstance(x, Variable)
    ]
    return Variable(y, parents) if parents else y


def _sum(x: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
    a = value_of(x)
    return _made(np.sum(a, axis=axis, keepdims=keepdims), x, lambda g: restored(g, a, axis, keepdims))


def _mean(x: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
    a = value_of(x)
    y = np.mean(a, axis=axis, keepdims=keepdims)
    share = a.dtype.type(y.size / a.size)
    return _made(y, x, lambda g: restored(g, a, axis, keepdims) * share)


def _max(x: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
    a = value_of(x)
    y = np.max(a, axis=axis, keepdims=keepdims)

    def back(g: Array) -> Array:
        best = a == restored(y, a, axis, keepdims)
        return restored(g, a, axis, keepdims) * best / np.sum(best, axis=axis, keepdims=True)

    return _made(y, x, back)


def _reshape(x: Any, shape: Any) -> Any:
    a = value_of(x)
    return _made(np.reshape(a, shape), x, lambda g: np.reshape(g, a.shape))


def _permute_dims(x: Any, axes: Any) -> Any:
    return _made(np.permute_dims(value_of(x), axes), x, lambda g: np.permute_dims(g, tuple(np.argsort(axes))))


def _expand_dims(x: Any, *, axis: int = 0) -> Any:
    return _made(np.expand_dims(value_of(x), axis=axis), x, lambda g: np.squeeze(g, axis=axis))


def _squeeze(x: Any, axis: Any) -> Any:
    return _made(np.squeeze(value_of(x), axis=axis), x, lambda g: np.expand_dims(g, axis=axis))


def _broadcast_to(x: Any, shape: Any) -> Any:
    a = value_of(x)
    return _made(np.broadcast_to(a, shape), x, lambda g: unbroadcast(g, a.shape))


def _flip(x: Any, *, axis: Any = None) -> Any:
    return _made(np.flip(value_of(x), axis=axis), x, lambda g: np.flip(g, axis=axis))


def _astype(x: Any, dtype: Any, *, copy: bool = True) -> Any:
    a = value_of(x)
    return _made(np.astype(a, dtype, copy=copy), x, lambda g: g.astype(a.dtype))


def _asarray(x: Any, *, dtype: Any = None) -> Any:
    if isinstance(x, Variable):
        return x if dtype in (None, x.dtype) else _astype(x, dtype)
    return _refuse("asarray") if _holds_variable(x) else np.asarray(x, dtype=dtype)


def _matmul(x: Any, y: Any) -> Any:
    a, b = value_of(x), value_of(y)
    parents = []
    if isinstance(x, Variable):
        parents.append((x, lambda g: unbroadcast(np.matmul(g, np.matrix_transpose(b)), a.shape)))
    if isinstance(y, Variable):
        parents.append((y, lambda g: unbroadcast(np.matmul(np.matrix_transpose(a), g), b.shape)))
    return Variable(np.matmul(a, b), parents) if parents else np.matmul(a, b)


def _concat(xs: Sequence[Any], *, axis: int = 0) -> Any:
    plain = [value_of(x) for x in xs]
    ends = np.cumulative_sum(np.asarray([a.shape[axis] for a in plain]))
    parents = [
        (
            x,
            lambda g, i=i: np.take(g, np.arange(int(ends[i]) - plain[i].shape[axis], int(ends[i])), axis=axis),
        )
        for i, x in enumerate(xs)
        if isinstance(x, Variable)
    ]
    y = np.concat(plain, axis=axis)
    return Variable(y, parents) if parents else y


def _take(x: Any, indices: Array, *, axis: int | None = None) -> Any:
    a = value_of(x)

    def back(g: Array) -> Array:
        spread = np.zeros_like(a)
        np.add.at(spread, (*[slice(None)] * (axis % a.ndim if axis else 0), indices), g)
        return spread

    return _made(np.take(a, indices, axis=axis), x, back)


def _made(y: Array, x: Any, back: Vjp) -> Any:
    return Variable(y, [(x, back)]) if isinstance(x, Variable) else y


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "sum": _sum,
    "mean": _mean,
    "max": _max,
    "reshape": _reshape,
    "permute_dims": _permute_dims,
    "expand_dims": _expand_dims,
    "squeeze": _squeeze,
    "broadcast_to": _broadcast_to,
    "flip": _flip,
    "astype": _astype,
    "asarray": _asarray,
    "matmul": _matmul,
    "concat": _concat,
    "take": _take,
}


@final
class Namespace:
    """The array API over plain arrays and variables."""

    def __getattr__(self, name: str) -> Any:
        if name in ELEMENTWISE:
            return lambda *given: _elementwise(name, *given)
        if name in FUNCTIONS:
            return FUNCTIONS[name]
        found = getattr(np, name)
        if isinstance(found, ModuleType):
            # The standard's extensions are optional.
            raise AttributeError(f"Nothing in {name!r} is differentiated here.")
        if not callable(found) or isinstance(found, type):
            return found

        def plain(*args: Any, **kwargs: Any) -> Any:
            if name not in CONSTANT and _holds_variable((*args, *kwargs.values())):
                _refuse(name)
            return found(*map(value_of, args), **{k: value_of(v) for k, v in kwargs.items()})

        return plain


xp = Namespace()


def gradients_of(value: Variable, leaves: Sequence[Variable]) -> list[Array]:
    """The gradient of a scalar with respect to each leaf; zeros where it does not depend on it."""
    order: list[Variable] = []
    seen: set[int] = set()
    stack: list[tuple[Variable, bool]] = [(value, False)]
    while stack:
        node, ready = stack.pop()
        if ready:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack.extend((parent, False) for parent, _ in node.parents)
    slopes: dict[int, Array] = {id(value): np.ones_like(value.value)}
    for node in reversed(order):
        g = slopes.get(id(node))
        if g is None:
            continue
        for parent, back in node.parents:
            slopes[id(parent)] = slopes.get(id(parent), 0) + back(g)
    return [slopes.get(id(leaf), np.zeros_like(leaf.value)) for leaf in leaves]
