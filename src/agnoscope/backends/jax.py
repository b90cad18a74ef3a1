"""JAX: flax.linen and flax.nnx modules, plain functions, and Keras models on the JAX backend.

There is one mechanism for all of them. The network becomes a pure function of its parameters and the images
(`jax_networks`), is traced once per shape and flattened (`jaxpr`), and its values get names (`jax_layers`).
Captures, patches and ReLU rules are then an evaluation of that graph with some values taken out or changed,
inside whatever jit and grad surround it. XLA drops what is not needed.

Parameters and constants travel as arguments of the compiled programs, and parameters are read from the network
at each call: one that is trained further is explained as it is now. What a function closes over is read when
it is traced; give it as `params` if it changes. A float64 network runs with JAX's 64-bit mode switched on.
"""

import copy
import threading
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from types import MappingProxyType
from typing import Any, Self, final

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from agnoscope.backends.jax_layers import find_layers, hidden_layers
from agnoscope.backends.jax_linear import product
from agnoscope.backends.jax_networks import Network, canonical, x64
from agnoscope.backends.jaxpr import Graph, ValuePatch, evaluate
from agnoscope.backends.jaxpr_patterns import RELU, activations, find_head, hidden_relus, with_rule
from agnoscope.errors import CapabilityError, LayerError, ModelError, nearest
from agnoscope.images import InputSpec
from agnoscope.model import Model, Outline
from agnoscope.patches import Array, Patch, patched

PROGRAMS = 64
"""How many compiled programs a model keeps."""


def wrap(network: Any, params: Any, spec: InputSpec, labels: Sequence[str] | None) -> "JaxModel":
    """A network that JAX computes, ready to be explained.

    Args:
        network: a flax.linen module, a flax.nnx module, a Keras model or layer on the JAX backend, or a
            function of (params, images), or of the images alone. Images come channels last. Modules run for
            inference: nnx modules after `eval()`, and where `__call__` has an argument such as `train` or
            `deterministic` without default, or with the one for training, it gets the one for inference.
        params: variables of a linen module (or its "params" alone) or first argument of the function;
            None for the others.
        spec: what the network expects of an image.
        labels: names of the classes, or None.

    Raises:
        ModelError: the network is of no such kind, or its parameters are missing or superfluous.
    """
    return JaxModel(canonical(network, params), spec, labels)


@dataclass(frozen=True)
class _Trace:
    """What is known of the network at one shape of the images.

    Attributes:
        graph: the flat jaxpr.
        outline: what the user sees of it.
        values: names that can be captured, with the number of their value.
        constants: number to the place among the model's constants.
        hidden: names of layers that cannot be captured.
    """

    graph: Graph
    outline: Outline
    values: Mapping[str, int]
    constants: Mapping[int, int]
    hidden: frozenset[str]


@dataclass(frozen=True)
class _Program:
    """A compiled program: `body((parameters, constants, bound inputs), trees)`, and the constants that it knows of."""

    body: Callable[..., dict[str, Any]]
    constants: tuple[Array, ...]


@final
class JaxModel(Model):
    """A network that JAX computes."""

    backend = "jax"
    xp = jnp

    def __init__(self, network: Network, spec: InputSpec, labels: Sequence[str] | None = None) -> None:
        super().__init__(spec, labels)
        self.versions = {"jax": version("jax"), **network.versions}
        self._network = network
        self.inputs = network.inputs
        self._traces: dict[Hashable, _Trace] = {}
        self._constants: list[Any] = []
        self._programs: dict[Hashable, _Program] = {}
        self._lock = threading.RLock()
        # Parameters and constants of the program that is being traced, where one is.
        self._arguments: Sequence[Any] | None = None
        leaves = [leaf for leaf in jax.tree.leaves(network.parameters()) if hasattr(leaf, "dtype")]
        kinds = {np.dtype(leaf.dtype) for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating)}
        self.dtype = "float64" if np.dtype("float64") in kinds else "float32"
        # A network in half precision gets its images so, as a convolution takes no mixture.
        self._images = kinds.pop() if len(kinds) == 1 else np.dtype(self.dtype)

    def discover(self, size: tuple[int, int]) -> Outline:
        with self._precision():
            return self._trace((1, *size, self.spec.depth)).outline

    def run(
        self, images: Array, capture: Sequence[str], patch: Mapping[str, Patch] = MappingProxyType({})
    ) -> dict[str, Array]:
        with self._precision():
            trace = self._trace(tuple(images.shape))
            wanted = {name: self._value(trace, name) for name in capture}
            patches: dict[int, list[ValuePatch]] = {}
            for name, function in patch.items():
                number = self._value(trace, name)
                patches.setdefault(number, []).append(_value_patch(trace.graph, number, function))
            given = self._given(trace, images)
            graph = self._ruled(trace.graph, wanted.values(), given)
            values = evaluate(graph, given, wanted.values(), patches)
            # Values in half precision leave the network as float32.
            return {name: self.xp.astype(values[number], self.dtype) for name, number in wanted.items()}

    def value_and_grad(self, function: Callable[..., tuple[Array, Any]]) -> Callable[..., Any]:
        return jax.value_and_grad(function, has_aux=True)

    def conv2d(self, images: Array, kernel: Array, stride: int = 1) -> Array:
        axes = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(images, kernel, (stride, stride), "VALID", dimension_numbers=axes)

    def settle(self) -> Self:
        image = self.inputs.known[self.inputs.image(self.bound) or ""]
        if self.spec.size is None and image.shape and len(image.shape) == 3:  # declared by Keras
            first = image.shape[0] == self.spec.depth != image.shape[2]
            height, width = image.shape[1:] if first else image.shape[:2]
            if height is not None and width is not None:
                self.spec = replace(self.spec, size=(height, width))
        return self

    def read_weights(self) -> dict[str, NDArray[Any]]:
        leaves = jax.tree.leaves(self._network.parameters())
        named = zip(self._network.names, leaves, strict=True)
        # NumPy has no half precision of JAX's kind; in single precision these numbers are exact.
        return {name: np.array(leaf, np.result_type(leaf.dtype, np.float32)) for name, leaf in named if name}

    def replace_weights(self, values: Mapping[str, NDArray[Any]]) -> Self:
        leaves, tree = jax.tree.flatten(self._network.parameters())
        with self._precision():
            named = zip(self._network.names, leaves, strict=True)
            changed = [jnp.asarray(values[name], leaf.dtype) if name in values else leaf for name, leaf in named]
        parameters = jax.tree.unflatten(tree, changed)
        view = copy.copy(self)
        view._network = replace(self._network, parameters=lambda: parameters)
        view._outlines = {}
        return view

    def compile(self, program: Callable[..., dict[str, Array]], static: Hashable) -> Callable[..., dict[str, Any]]:
        key = (program, static, self.rule, self.binding)
        with self._lock:
            kept = self._programs.pop(key) if key in self._programs else self._compiled(program, static)
            self._programs[key] = kept  # at the end: the first one is the one not used for longest
            if len(self._programs) > PROGRAMS:
                del self._programs[next(iter(self._programs))]

        def call(*trees: Any) -> dict[str, Any]:
            with self._precision():
                fed = jax.tree.map(self._fed, trees)
                result = kept.body((self._network.parameters(), kept.constants, dict(self.bound)), fed)
                return jax.tree.map(np.array, result)  # the user's own, to be written to

        return call

    def _compiled(self, program: Callable[..., dict[str, Array]], static: Hashable) -> _Program:

        @jax.jit
        def body(arguments: Any, trees: Any) -> dict[str, Array]:
            model = copy.copy(self)
            *model._arguments, model.bound = arguments
            return program(model, static, *trees)

        return _Program(body, tuple(self._constants))

    def _fed(self, array: Any) -> NDArray[Any]:
        array = np.asarray(array)
        if array.dtype.kind in "iu":
            return array.astype(np.int32)
        return array if array.dtype.kind == "b" else array.astype(self.dtype)

    def _precision(self) -> AbstractContextManager[Any]:
        return x64() if self.dtype == "float64" else nullcontext()

    def _trace(self, shape: tuple[int, ...]) -> _Trace:
        with self._lock:
            key = (shape, self.binding)
            if key not in self._traces:
                try:
                    self._traces[key] = self._traced(self._network.trace(shape, self._images, self._beside(shape[0])))
                except ModelError as error:
                    if self.binding or self.inputs.missing(self.bound):
                        raise self.inputs.refusal(f"images of shape {shape}", self.bound, error) from error
                    raise
            return self._traces[key]

    def _beside(self, count: int) -> dict[str, Any]:
        """Shape and dtype of the bound inputs for so many images."""
        dtypes = {name: self._dtype(np.dtype(dtype)) for name, _, dtype in self.binding}
        return {name: jax.ShapeDtypeStruct((count, *shape), dtypes[name]) for name, shape, _ in self.binding}  # type: ignore[no-untyped-call]

    def _dtype(self, dtype: Any) -> Any:
        """What a bound input is fed as."""
        return self._images if jnp.issubdtype(dtype, jnp.floating) else jax.dtypes.canonicalize_dtype(dtype)

    def _traced(self, graph: Graph) -> _Trace:
        layers = find_layers(graph, self._network.types)
        head, scores = find_head(graph)
        values = {name: number for name, (_, number) in layers.items()}
        values |= {"scores": scores, "output": graph.outputs[0]}
        hidden = dict(hidden_layers(graph))
        notes = tuple(
            f"The layer {name!r} runs inside '{step}', where it can be neither captured nor patched."
            for name, step in hidden.items()
        )
        shape = tuple(graph.avals[scores].shape[1:])
        outline = Outline(MappingProxyType({name: layer for name, (layer, _) in layers.items()}), shape, head, notes)
        constants = {
            number: self._constant(known)
            for number, known in graph.known.items()
            if number not in graph.scalars and jnp.issubdtype(known.dtype, jnp.floating)
        }
        return _Trace(graph, outline, values, constants, frozenset(hidden))

    def _constant(self, array: Any) -> int:
        """The place of an array among the constants: the same one in traces of other shapes."""
        for place, known in enumerate(self._constants):
            if array is known or (
                (array.shape, array.dtype) == (known.shape, known.dtype) and np.array_equal(array, known)
            ):
                return place
        self._constants.append(array)
        return len(self._constants) - 1

    def _given(self, trace: _Trace, images: Array) -> dict[int, Array]:
        """The values with which a run begins: parameters, prepared images and constants."""
        parameters, constants = self._arguments or (self._network.parameters(), self._constants)
        prepared = self.spec.prepare(self.xp, jnp.asarray(images)).astype(self._images)
        beside = {name: array.astype(self._dtype(array.dtype)) for name, array in self.repeated(images).items()}
        given = dict(zip(trace.graph.inputs, jax.tree.leaves((parameters, beside, prepared)), strict=True))
        # A program that was made before a constant was met has it built in.
        return given | {number: constants[place] for number, place in trace.constants.items() if place < len(constants)}

    def _value(self, trace: _Trace, name: str) -> int:
        if name not in trace.values:
            reason = "runs inside a loop or condition of JAX" if name in trace.hidden else "did not run"
            raise LayerError(
                f"The layer {name!r} {reason}, so it cannot be captured. "
                f"Near it: {nearest(name, trace.values)}. model.layers() lists all."
            )
        return trace.values[name]

    def _ruled(self, graph: Graph, wanted: Iterable[int], given: Mapping[int, Array]) -> Graph:
        """The graph with the ReLUs under this model's rule."""
        if self.rule is None:
            return graph
        ruled, name = with_rule(graph, self.rule), getattr(self.rule, "__name__", self.rule)
        if hidden := hidden_relus(graph):
            raise CapabilityError(
                f"{name!r} changes the gradient of ReLUs; {hidden} of this network's run inside a loop or "
                "condition of JAX, where it cannot be changed. Use saliency."
            )
        if not any(step.name == RELU for step in ruled.needed(wanted, given)):
            raise CapabilityError(
                f"{name!r} changes the gradient of ReLUs; this network ran none on the way to the target "
                f"(its activations: {', '.join(activations(graph)) or 'none'}). Use saliency."
            )
        return ruled


def _value_patch(graph: Graph, number: int, patch: Patch) -> ValuePatch:
    """A layer's patch as one of the value with this number."""
    return lambda array, values: patched(patch, array, partial(product, graph, number, values))
