"""The oracle: small networks in NumPy whose gradients are derived by hand.

A `Network` is a description without a framework: named operations in a row. This backend runs it; the
conformance kit hands the same description to every other backend to build.
"""

import copy
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any, Final, Self, TypeAlias, final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from agnoscope.backends.tape import Variable, gradients_of, value_of, xp
from agnoscope.errors import CapabilityError, LayerError, ModelError
from agnoscope.images import InputSpec
from agnoscope.model import RESERVED, Head, Layer, Model, Outline, ReluRule
from agnoscope.patches import Array, Patch, patched, unasked
from agnoscope.trees import mapped


@final
@dataclass(frozen=True, eq=False)
class Conv:
    """A convolution (as networks have it: not flipped), with zeros around the image.

    Attributes:
        kernel: shape (height, width, channels in, channels out).
        bias: shape (channels out,).
        stride: step in both directions.
        padding: rows and columns of zeros on every side.
    """

    kernel: NDArray[Any]
    bias: NDArray[Any]
    stride: int = 1
    padding: int = 0


@final
@dataclass(frozen=True, eq=False)
class Dense:
    """A product with `kernel`, shape (in, out), plus `bias`, shape (out,)."""

    kernel: NDArray[Any]
    bias: NDArray[Any]


@final
@dataclass(frozen=True)
class Relu:
    """max(x, 0), cut off at `high`: 6 makes it ReLU6."""

    high: float | None = None


@final
@dataclass(frozen=True)
class AveragePool:
    """The mean of each square of `size` pixels, side by side."""

    size: int


@final
@dataclass(frozen=True)
class GlobalAverage:
    """The mean over height and width."""


@final
@dataclass(frozen=True)
class Softmax:
    """Probabilities over the last axis."""


@final
@dataclass(frozen=True)
class Sigmoid:
    """1 / (1 + exp(-x))."""


Operation: TypeAlias = Conv | Dense | Relu | AveragePool | GlobalAverage | Softmax | Sigmoid
KINDS: Final[Mapping[type, str]] = {
    Conv: "conv",
    Dense: "dense",
    Relu: "relu",
    AveragePool: "pool",
    GlobalAverage: "pool",
    Softmax: "softmax",
    Sigmoid: "activation",
}
WEIGHTS: Final = ("kernel", "bias")


@final
@dataclass(frozen=True, eq=False)
class Network:
    """Named operations in a row.

    Attributes:
        layers: name to operation, in order; the names must be Python identifiers.
    """

    layers: Mapping[str, Operation]

    @property
    def dtype(self) -> str:
        """Of the weights: "float32" or "float64"."""
        weights = [op.kernel.dtype for op in self.layers.values() if isinstance(op, Conv | Dense)]
        return str(np.result_type(*weights)) if weights else "float32"


def wrap(network: Network, params: Any, spec: InputSpec, labels: Sequence[str] | None) -> "ReferenceModel":
    """Make a `Network` explainable.

    Raises:
        ModelError: it is no `Network`, or parameters were given beside it.
    """
    if not isinstance(network, Network) or params is not None:
        raise ModelError("The reference backend explains an agnoscope.backends.reference.Network, without params.")
    return ReferenceModel(network, spec, labels)


@final
class ReferenceModel(Model):
    """A NumPy network behind the protocol."""

    backend = "reference"

    def __init__(self, network: Network, spec: InputSpec, labels: Sequence[str] | None) -> None:
        super().__init__(spec, labels)
        self.network = network
        self.xp = xp
        self.dtype = network.dtype
        self.versions = MappingProxyType({"numpy": np.__version__})

    def discover(self, size: tuple[int, int]) -> Outline:
        names = tuple(self.network.layers)
        with np.errstate(all="ignore"):  # weights that are not finite show when images are explained
            values = self._walk(np.zeros((1, *size, self.spec.depth), dtype=self.dtype), names, {}, None)
        layers = {
            name: Layer(name, KINDS[type(operation)], values[name].shape[1:], type(operation).__name__)
            for name, operation in self.network.layers.items()
        }
        return Outline(MappingProxyType(layers), values["scores"].shape[1:], self._head())

    def run(
        self, images: Array, capture: Sequence[str], patch: Mapping[str, Patch] = MappingProxyType({})
    ) -> dict[str, Array]:
        for name in (*capture, *patch):
            if name not in self.network.layers and name not in RESERVED:
                raise LayerError(f"The layer {name!r} did not run; this network has {', '.join(self.network.layers)}.")
        values = self._walk(images, capture, patch, self.rule)
        return {name: values[name] for name in capture}

    def value_and_grad(self, function: Callable[..., tuple[Array, Any]]) -> Callable[..., Any]:
        def differentiated(tree: Any, *rest: Any) -> tuple[tuple[Any, Any], Any]:
            leaves: list[Variable] = []

            def leaf(array: Any) -> Variable:
                leaves.append(Variable(array))
                return leaves[-1]

            value, aux = function(mapped(tree, leaf), *rest)
            # a value that depends on no leaf has no way back, and its gradient is zero
            found = iter(gradients_of(value if isinstance(value, Variable) else Variable(value), leaves))
            return (value_of(value), mapped(aux, value_of)), mapped(tree, lambda _: next(found))

        return differentiated

    def compile(self, program: Callable[..., dict[str, Array]], static: Hashable) -> Callable[..., dict[str, Any]]:
        def cast(array: Any) -> NDArray[Any]:
            array = np.asarray(array)
            return array.astype(self.dtype if array.dtype.kind == "f" else np.int32, copy=False)

        def compiled(*trees: Any) -> dict[str, Any]:
            found: dict[str, Any] = mapped(program(self, static, *(mapped(tree, cast) for tree in trees)), value_of)
            return found

        return compiled

    def read_weights(self) -> dict[str, NDArray[Any]]:
        weighted = {name: op for name, op in self.network.layers.items() if isinstance(op, Conv | Dense)}
        return {f"{name}.{own}": np.array(getattr(op, own)) for name, op in weighted.items() for own in WEIGHTS}

    def replace_weights(self, values: Mapping[str, NDArray[Any]]) -> Self:
        def changed(name: str, operation: Operation) -> Operation:
            own = {own: values[f"{name}.{own}"] for own in WEIGHTS if f"{name}.{own}" in values}
            return replace(operation, **own) if own else operation  # type: ignore[arg-type]

        view = copy.copy(self)
        view.network = Network({name: changed(name, operation) for name, operation in self.network.layers.items()})
        view._outlines = {}
        return view

    def _head(self) -> Head:
        last = list(self.network.layers.values())[-1]
        return "softmax" if isinstance(last, Softmax) else "sigmoid" if isinstance(last, Sigmoid) else "linear"

    def _walk(
        self, images: Array, capture: Sequence[str], patch: Mapping[str, Patch], rule: ReluRule | None
    ) -> dict[str, Array]:
        """One operation after the other, until everything wanted is known."""
        x = self.spec.prepare(xp, images)
        values: dict[str, Array] = {"scores": x}
        met = 0
        left = set(capture)
        for name, operation in self.network.layers.items():
            before = x
            if not isinstance(operation, Softmax | Sigmoid):
                x = forward(operation, x, rule)
            else:
                values["scores"], x = x, forward(operation, x, rule)
            met += isinstance(operation, Relu)
            x = patched(patch[name], x, partial(product, operation, before)) if name in patch else x
            values[name] = x
            left.discard(name)
            if not left:
                break
        values["output"] = x
        if self._head() == "linear":
            values["scores"] = x
        if rule is not None and met == 0:
            raise CapabilityError(
                f"{rule!r} changes the gradient of ReLUs, and none ran on the way to this target. Use saliency."
            )
        return values


def forward(operation: Operation, x: Array, rule: ReluRule | None) -> Array:
    """The value of one operation, with its way back."""
    match operation:
        case Conv():
            return _convolved(x, operation)
        case Dense():
            return xp.matmul(x, operation.kernel) + operation.bias
        case Relu():
            return _rectified(x, operation.high, rule)
        case AveragePool(size=size):
            n, h, w, c = x.shape
            x = x[:, : h // size * size, : w // size * size, :]
            return xp.mean(xp.reshape(x, (n, h // size, size, w // size, size, c)), axis=(2, 4))
        case GlobalAverage():
            return xp.mean(x, axis=(1, 2))
        case Softmax():
            powers = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
            return powers / xp.sum(powers, axis=-1, keepdims=True)
        case Sigmoid():
            return (xp.tanh(x / 2) + 1) / 2


def product(operation: Operation, x: Array, of_input: Patch, of_kernel: Patch) -> Array:
    """What a linear operation makes of its input and kernel, both changed, without its bias."""
    if not isinstance(operation, Conv | Dense):
        raise unasked()
    changed = replace(operation, kernel=of_kernel(operation.kernel), bias=np.zeros_like(operation.bias))
    return forward(changed, of_input(x), None)


def _convolved(x: Array, op: Conv) -> Array:
    """y[i, j] = sum over (u, v) of x[i·s + u, j·s + v] · kernel[u, v]; the gradient goes back the same ways."""
    a, s, p = value_of(x), op.stride, op.padding
    kh, kw = op.kernel.shape[:2]
    padded = np.pad(a, ((0, 0), (p, p), (p, p), (0, 0)))
    windows = sliding_window_view(padded, (kh, kw), axis=(1, 2))[:, ::s, ::s]
    y = np.tensordot(windows, op.kernel, axes=((4, 5, 3), (0, 1, 2))) + op.bias

    def back(g: NDArray[Any]) -> NDArray[Any]:
        spread = np.zeros_like(padded)
        rows, columns = g.shape[1], g.shape[2]
        for u in range(kh):
            for v in range(kw):
                spread[:, u : u + s * rows : s, v : v + s * columns : s] += g @ op.kernel[u, v].T
        return spread[:, p : p + a.shape[1], p : p + a.shape[2]]

    return Variable(y, [(x, back)]) if isinstance(x, Variable) else y


def _rectified(x: Array, high: float | None, rule: ReluRule | None) -> Array:
    a = value_of(x)
    y = np.maximum(a, 0) if high is None else np.clip(a, 0, a.dtype.type(high))
    is_open = (a > 0) & (a < (np.inf if high is None else high))

    def back(g: NDArray[Any]) -> Any:
        plain = g * is_open
        if rule == "guided":
            return np.maximum(g, 0) * is_open
        if rule == "deconvnet":
            return np.maximum(g, 0)
        return rule(xp, a, y, g, plain) if callable(rule) else plain

    return Variable(y, [(x, back)]) if isinstance(x, Variable) else y
