"""TensorFlow: Keras networks, traced into graphs.

Nothing here runs eagerly. A compiled program is one `tf.function`; inside it layers are seen by watching Keras
call them, the scores by walking the finished graph back from the output, and gradients come from
`tf.gradients`, which heeds changed ReLUs and computes nothing that is not asked for.
"""

import copy
import functools
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType
from typing import Any, NamedTuple, Self, final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from agnoscope.arrays import affine_taps
from agnoscope.backends import tensorflow_relu
from agnoscope.backends.keras_network import weights_of
from agnoscope.backends.tensorflow_layers import Watch, main_tensor, watched
from agnoscope.backends.tensorflow_namespace import xp
from agnoscope.backends.tensorflow_network import (
    build,
    calling,
    channels_first,
    dtype_of,
    fitted,
    library_of,
    roots_of,
    taking,
)
from agnoscope.errors import AgnoscopeError, CapabilityError, LayerError, ModelError, nearest
from agnoscope.images import InputSpec
from agnoscope.model import RESERVED, Head, Layer, Model, Outline, ReluRule
from agnoscope.patches import Array, Patch
from agnoscope.trees import mapped

PROGRAMS = 32
"""How many traced programs a model keeps; one of ResNet-50 holds about 34 MiB."""

HEADS: Mapping[str, Head] = {"Softmax": "softmax", "LogSoftmax": "softmax", "Sigmoid": "sigmoid"}
THROUGH = {"Identity", "IdentityN", "Cast", "Reshape", "Squeeze", "ExpandDims", "StopGradient", "EnsureShape"}


def wrap(network: Any, params: Any, spec: InputSpec, labels: Sequence[str] | None) -> "TensorFlowModel":
    """Make a Keras network explainable.

    Args:
        network: a Keras model or layer on TensorFlow, or a function of a tensor of images. One that is not
            built yet is built by running it once.
        params: None; a Keras network brings its own.
        spec: what it expects of an image; a size that is not given is read off the network.
        labels: names of its classes.

    Raises:
        ModelError: it takes something else than images of this kind, or cannot be built.
    """
    if params is not None:
        raise ModelError("A Keras network brings its own weights: load them with load_weights, not params=.")
    if not callable(network):
        raise ModelError(f"A {type(network).__name__} is no network: it cannot be called on images.")
    spec = fitted(network, spec)
    build(network, spec)
    return TensorFlowModel(network, spec, labels)


class _Traced(NamedTuple):
    """A network's run in a graph."""

    watch: Watch
    outputs: Any
    output: Array
    scores: Array
    head: Head


@final
class TensorFlowModel(Model):
    """A Keras network behind the protocol."""

    backend = "tensorflow"

    def __init__(self, network: Any, spec: InputSpec, labels: Sequence[str] | None) -> None:
        super().__init__(spec, labels)
        self.xp = xp
        self.network = network
        self.dtype = dtype_of(network)
        self._library = library_of(network)
        libraries = ("tensorflow", self._library) if self._library else ("tensorflow",)
        self.versions = MappingProxyType({name: sys.modules[name].__version__ for name in libraries})
        # What stands in for weights stands in through Keras 3.
        missing = {"keras": set(), "tf_keras": {"weights"}}.get(self._library, {"capture", "patch", "weights"})
        self.can = self.EVERYTHING - missing
        self.inputs = taking(network)
        self._call = calling(network)
        self._channels_first = channels_first(network, spec.depth)
        self._replaced: dict[str, Array] = {}  # weights that stand in for the network's
        self._programs: OrderedDict[Hashable, Callable[..., Any]] = OrderedDict()
        self._lock = threading.RLock()

    # -- the protocol ----------------------------------------------------------------------------------------

    def discover(self, size: tuple[int, int]) -> Outline:
        found: list[_Traced] = []

        def probe(images: Array) -> Array:
            found.append(self._trace(images, {}, None))
            return found[-1].output

        with tf.init_scope():  # it may be asked for in the middle of another trace
            spec = tf.TensorSpec((1, *size, self.spec.depth), self.dtype)
            program = tf.function(probe, autograph=False).get_concrete_function(spec)
            grey = np.clip(0.5, *self.spec.bounds)
            output = program(tf.fill(spec.shape, tf.cast(grey, self.dtype))).numpy()
        traced = found[-1]
        layers = {
            name: Layer(name, call.kind, tuple(call.value.shape[1:]), call.type)
            for name, call in traced.watch.calls.items()
            if call.value.shape[1:].is_fully_defined()
        }
        return Outline(
            MappingProxyType(layers),
            tuple(traced.scores.shape[1:]),
            traced.head,
            tuple(_notes(traced, output, layers)),
        )

    def run(
        self, images: Array, capture: Sequence[str], patch: Mapping[str, Patch] = MappingProxyType({})
    ) -> dict[str, Array]:
        if tf.executing_eagerly():
            raise CapabilityError(
                "TensorFlow networks run inside compiled programs only: model.compile(program, static)."
            )
        traced = self._trace(images, patch, self.rule)
        calls, hidden = traced.watch.calls, traced.watch.hidden
        values = {"scores": traced.scores, "output": traced.output}
        values |= {name: calls[name].value for name in capture if name not in RESERVED and name in calls}
        for name in (*capture, *patch):
            if name in hidden and name not in calls:
                raise LayerError(
                    f"The layer {name!r} runs inside a loop or a tf.function of the network's own, out of reach."
                )
            if name not in values and name not in calls:
                raise LayerError(
                    f"The layer {name!r} did not run. Near it: {nearest(name, calls)}. "
                    "model.layers() lists those that do."
                )
        return {name: values[name] for name in capture}

    def value_and_grad(self, function: Callable[..., tuple[Array, Any]]) -> Callable[..., Any]:
        def differentiated(tree: Any, *rest: Any) -> tuple[tuple[Array, Any], Any]:
            # Copies, so that an array that comes in by two ways is differentiated by this one alone.
            tree = mapped(tree, tf.identity)
            leaves = tf.nest.flatten(tree)
            value, aux = function(tree, *rest)
            slopes = tf.gradients(value, leaves, unconnected_gradients=tf.UnconnectedGradients.ZERO)
            dense = [_dense(slope, leaf) for slope, leaf in zip(slopes, leaves, strict=True)]
            return (value, aux), tf.nest.pack_sequence_as(tree, dense)

        return differentiated

    def conv2d(self, images: Array, kernel: Array, stride: int = 1) -> Array:
        return tf.nn.conv2d(images, kernel, stride, "VALID")

    def resample(self, images: Array, maps: Array, size: tuple[int, int], beyond: float) -> Array:
        # As the product with a sparse matrix, which TensorFlow works out faster than it gathers pixels one by one.
        (count, height, width, depth), views = images.shape, maps.shape[0]
        index, weight = affine_taps(xp, maps, (height, width), size)
        samples = np.arange(views * size[0] * size[1], dtype=np.int64)
        rows = np.broadcast_to(samples.reshape(views, 1, -1), index.shape)
        places = tf.stack([rows.ravel(), tf.cast(tf.reshape(index, [-1]), tf.int64)], axis=1)
        matrix = tf.SparseTensor(places, tf.reshape(weight, [-1]), (len(samples), height * width))
        pixels = tf.reshape(tf.transpose(images - beyond, (1, 2, 0, 3)), (height * width, count * depth))
        seen = tf.reshape(tf.sparse.sparse_dense_matmul(matrix, pixels), (views, *size, count, depth)) + beyond
        return tf.reshape(tf.transpose(seen, (3, 0, 1, 2, 4)), (count * views, *size, depth))

    def settle(self) -> Self:
        self.spec = fitted(self.network, self.spec, self.bound)
        try:
            build(self.network, self.spec, self.bound)
        except AgnoscopeError as error:
            raise self.inputs.refusal(f"images of size {self.spec.size}", self.bound, error) from error
        self.dtype = dtype_of(self.network)
        return self

    def read_weights(self) -> dict[str, NDArray[Any]]:
        weights = weights_of(*roots_of(self.network))
        tensors = {name: tf.convert_to_tensor(self._replaced.get(name, weight)) for name, weight in weights.items()}
        # NumPy has no half precision of this kind; in single precision these numbers are exact.
        return {name: np.array(t.numpy(), np.result_type(t.numpy().dtype, np.float32)) for name, t in tensors.items()}

    def replace_weights(self, values: Mapping[str, NDArray[Any]]) -> Self:
        weights, values = weights_of(*roots_of(self.network)), {**self.read_weights(), **values}
        view = copy.copy(self)
        view._replaced = {name: tf.constant(values[name], weight.dtype) for name, weight in weights.items()}
        view._outlines, view._programs = {}, OrderedDict()
        return view

    def compile(self, program: Callable[..., dict[str, Array]], static: Hashable) -> Callable[..., dict[str, Any]]:
        def compiled(*trees: Any) -> dict[str, Any]:
            tensors = [mapped(tree, self._tensor) for tree in trees]
            bound = mapped(self.bound, tf.convert_to_tensor)
            found: dict[str, Any] = self._program(program, static, [bound, *tensors])(bound, *tensors)
            return mapped(found, lambda tensor: np.asarray(tensor.numpy()))

        return compiled

    # -- how it is done --------------------------------------------------------------------------------------

    def _tensor(self, array: Any) -> Array:
        array = np.asarray(array)
        return tf.convert_to_tensor(array.astype(self.dtype if array.dtype.kind == "f" else np.int32, copy=False))

    def _program(
        self, program: Callable[..., dict[str, Array]], static: Hashable, trees: list[Any]
    ) -> Callable[..., dict[str, Any]]:
        """The program traced for these shapes; the one that was used longest ago makes room."""
        key = (program, static, self.rule, tuple(_signature(tree) for tree in trees))
        with self._lock:
            if key not in self._programs:
                function = tf.function(functools.partial(self._body, program, static), autograph=False)
                specs = [mapped(tree, tf.TensorSpec.from_tensor) for tree in trees]
                self._programs[key] = function.get_concrete_function(*specs)
                if len(self._programs) > PROGRAMS:
                    self._programs.popitem(last=False)
            self._programs.move_to_end(key)
            return self._programs[key]

    def _body(self, program: Callable[..., dict[str, Array]], static: Hashable, bound: Any, *trees: Any) -> Any:
        """What is traced: the program on a view whose bound inputs are arguments."""
        view = copy.copy(self)
        view.bound = bound
        return program(view, static, *trees)

    def _trace(self, images: Array, patch: Mapping[str, Patch], rule: ReluRule | None) -> _Traced:
        """Run the network in the graph that is being traced."""
        x = self.spec.prepare(self.xp, images)
        x = tf.transpose(x, (0, 3, 1, 2)) if self._channels_first else x
        beside = self.repeated(images)
        watch = Watch(self.network, patch, self.dtype, self._channels_first)
        try:
            with watched(watch, self.network), tensorflow_relu.marked(rule), self._unchanged():
                outputs = self._call(x, beside)
        except Exception as error:
            if watch.failure is not None:
                raise watch.failure from None
            raise self.inputs.refusal(f"images of shape {tuple(images.shape)}", self.bound, error) from error
        if rule is not None:
            tensorflow_relu.give(rule, watch)
        output = main_tensor(outputs)
        if output is None:
            raise ModelError(f"The network returns no tensor, but {type(outputs).__name__}.")
        scores, head = _before_head(tf.convert_to_tensor(output), watch.before)
        return _Traced(watch, outputs, watch.shown(output), watch.shown(scores), head)

    def _unchanged(self) -> AbstractContextManager[Any]:
        """Keeps Keras 3 layers that count or average from writing to their variables, and stands in for weights."""
        if self._library != "keras":
            return nullcontext()
        weights = weights_of(*roots_of(self.network)) if self._replaced else {}
        state = [(weight, self._replaced[name]) for name, weight in weights.items()]
        return sys.modules["keras"].StatelessScope(state_mapping=state)


def _before_head(output: Array, before: Mapping[Any, Array]) -> tuple[Array, Head]:
    """Walk back from the output: what went into the softmax or sigmoid that made it, in its shape."""
    tensor = output
    while True:
        while tensor.ref() in before:  # a patch of the softmax layer is no part of the scores
            tensor = before[tensor.ref()]
        op = tensor.op
        if op.type in HEADS:
            scores, shape = op.inputs[0], output.shape
            same = shape.is_fully_defined() and scores.shape.num_elements() == shape.num_elements()
            return tf.reshape(scores, shape) if same else scores, HEADS[op.type]
        if op.type not in THROUGH:
            return output, "linear"
        tensor = op.inputs[tensor.value_index if op.type == "IdentityN" else 0]


def _notes(traced: _Traced, output: Any, layers: Mapping[str, Layer]) -> Iterator[str]:
    """What the user should know about what was not seen."""
    outputs, watch = [item for item in tf.nest.flatten(traced.outputs) if item is not None], traced.watch
    if len(outputs) > 1:
        yield f"The network gives {len(outputs)} outputs; one is explained: its 'logits', or the first."
    if traced.head == "linear" and output.any() and output.min() >= 0 and output.max() <= 1:
        yield (
            "The output lies in [0, 1], but no softmax or sigmoid was recognised at its end: the scores "
            "explained are the output itself."
        )
    hidden = [name for name in watch.hidden if name not in watch.calls]
    if hidden:
        yield f"Inside a loop or a tf.function of the network's own, and out of reach: {', '.join(hidden)}."
    unknown = [name for name in watch.calls if name not in layers]
    if unknown:
        yield f"Of a shape that is not known before the run, and left out: {', '.join(unknown)}."
    untouched = tensorflow_relu.untouched(watch)
    if untouched:
        yield f"Rules for ReLUs leave these as they are, they work in another way: {', '.join(untouched)}."


def _dense(slope: Array, leaf: Array) -> Array:
    """A gradient in the shape of what it belongs to; that of `take` comes as slices."""
    slope = tf.convert_to_tensor(slope)
    slope.set_shape(leaf.shape)
    return slope


def _signature(tree: Any) -> Hashable:
    if isinstance(tree, Mapping):
        return tuple(sorted((name, _signature(branch)) for name, branch in tree.items()))
    return tuple(tree.shape), tree.dtype.name
