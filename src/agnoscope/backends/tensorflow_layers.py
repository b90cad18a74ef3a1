"""Looking at Keras layers while a TensorFlow graph is traced.

For the length of one trace every layer's `call` is replaced by one that notes what came out and passes it
through a patch. It is written into the layer's `__dict__`, past Keras' own bookkeeping, and taken out again
whatever happens. One trace at a time holds the lock; to other threads, and to other traces, a replacement
behaves like the original.
"""

import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from agnoscope.backends.kinds import kind_of
from agnoscope.backends.tensorflow_linear import product
from agnoscope.backends.tensorflow_network import inlined, layers_of
from agnoscope.patches import Array, Patch, patched

LOCK = threading.RLock()
"""Held while layers are watched: of two traces at once, each would take the other's call for the original."""

ABSENT = object()
LOSSES = ("_losses", "_eager_losses")
"""Where Keras 3 and tf_keras keep what a layer adds to the loss as it runs."""

_active: ContextVar["Watch | None"] = ContextVar("agnoscope_watch", default=None)


@dataclass(frozen=True)
class Call:
    """One use of one layer.

    Attributes:
        layer: the layer.
        value: its output, or the main one of several, after the patch and as explainers see it.
        start: how many operations the graph had before it ran.
        stop: how many after.
    """

    layer: Any
    value: Array
    start: int
    stop: int

    @property
    def type(self) -> str:
        """The name of the layer's class."""
        return type(self.layer).__name__

    @property
    def kind(self) -> str:
        """The kind of the layer; an `Activation` is of the kind of its function."""
        inline = getattr(self.layer, "activation", None)
        children = getattr(self.layer, "_flatten_layers", lambda **_: ())(include_self=False, recursive=False)
        composed = any(child is not inline for child in children)
        return kind_of(getattr(inline, "__name__", "") if self.type == "Activation" else self.type, composed)


class Watch:
    """What is seen of a network's layers during one trace.

    Attributes:
        graph: the graph that is traced.
        start: how many operations it had before.
        calls: name to call, in the order in which the outputs were ready.
        hidden: names of layers that ran inside a loop or function of TensorFlow's, out of reach.
        before: a patched tensor (by reference) to the tensor that it replaces.
        failure: what a patch raised; Keras makes another exception of it on its way.
    """

    def __init__(
        self, network: Any, patch: Mapping[str, Patch], dtype: str = "float32", channels_first: bool = False
    ) -> None:
        self.graph = tf.compat.v1.get_default_graph()
        self.start: int = self.graph.version
        self.calls: dict[str, Call] = {}
        self.hidden: dict[str, None] = {}
        self.before: dict[Any, Array] = {}
        self.failure: Exception | None = None
        self._network = network
        self._patch = patch
        self._dtype = dtype
        self._channels_first = channels_first
        self._path: list[str] = []

    def shown(self, tensor: Array) -> Array:
        """A tensor as explainers see it: channels last, in the dtype of the model."""
        if tensor.dtype.is_floating:
            tensor = tf.cast(tensor, self._dtype)
        return tf.transpose(tensor, (0, 2, 3, 1)) if self._moved(tensor) else tensor

    def replacement(self, layer: Any, call: Callable[..., Any]) -> Callable[..., Any]:
        """What stands in for a layer's `call`."""
        inline = inlined(call)

        @functools.wraps(inline)
        def watched_call(*args: Any, **kwargs: Any) -> Any:
            if _active.get() is not self:
                return call(*args, **kwargs)
            if layer is self._network:  # names are relative to it
                return inline(*args, **kwargs)
            return self._seen(layer, inline, args, kwargs)

        return watched_call

    def _seen(self, layer: Any, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        start = self.graph.version
        self._path.append(layer.name)
        try:
            output = call(*args, **kwargs)
            name = self._unused("/".join(self._path))
        finally:
            self._path.pop()
        tensor = main_tensor(output)
        if not tf.is_symbolic_tensor(tensor):
            return output
        if tensor.graph is not self.graph:
            self.hidden[name] = None
            return output
        # A network may turn its axes around on the way; its layers say which order they work in.
        if hasattr(layer, "data_format"):
            self._channels_first = layer.data_format == "channels_first"
        changed = self._patched(name, tensor, start)
        self.calls[name] = Call(layer, self.shown(changed), start, self.graph.version)
        return output if changed is tensor else _swapped(output, tensor, changed)

    def _unused(self, path: str) -> str:
        name, use = path, 0
        while name in self.calls:
            use += 1
            name = f"{path}@{use}"
        return name

    def _patched(self, name: str, tensor: Array, start: int) -> Array:
        if name not in self._patch:
            return tensor
        try:
            asked = functools.partial(self._product, tensor, start)
            changed = tf.cast(patched(self._patch[name], self.shown(tensor), asked), tensor.dtype)
        except Exception as error:
            self.failure = error
            raise
        if self._moved(changed):
            changed = tf.transpose(changed, (0, 3, 1, 2))
        if changed is not tensor:
            self.before[changed.ref()] = tensor
        return changed

    def _product(self, tensor: Array, start: int, of_input: Patch, of_kernel: Patch) -> Array:
        return self.shown(product(tensor, start, of_input, of_kernel))

    def _moved(self, tensor: Array) -> bool:
        return self._channels_first and tensor.shape.rank == 4


@contextmanager
def watched(watch: Watch, network: Any) -> Iterator[None]:
    """Watch a network's layers while this thread traces it."""
    with LOCK:
        layers = layers_of(network)
        losses = [
            (layer, name, list(getattr(layer, name))) for layer in layers for name in LOSSES if hasattr(layer, name)
        ]
        originals: list[tuple[dict[str, Any], str, Any]] = []
        token = _active.set(watch)
        try:
            for layer in layers:
                method = "quantized_call" if getattr(layer, "quantization_mode", None) else "call"
                replacement = watch.replacement(layer, getattr(layer, method))
                attributes = vars(layer)
                # `_called` changes by itself; rematerialisation would run the layer again, unpatched, for its gradient.
                changed = {method: replacement, "_called": True, "_remat_mode": None}
                originals += [(attributes, name, attributes.get(name, ABSENT)) for name in changed]
                attributes |= changed
            yield
        finally:
            _active.reset(token)
            for attributes, name, original in originals:
                if original is ABSENT:
                    attributes.pop(name, None)
                else:
                    attributes[name] = original
            for layer, name, before in losses:  # Keras cleared them, and put in tensors of our graph
                getattr(layer, name)[:] = before


def main_tensor(output: Any) -> Any:
    """The tensor that an output is about: itself, its "logits", or the first one; None where there is none."""
    if isinstance(output, Mapping):
        return main_tensor(output["logits"] if "logits" in output else list(output.values()))
    return next((item for item in tf.nest.flatten(output) if isinstance(item, tf.Tensor)), None)


def _swapped(output: Any, old: Array, new: Array) -> Any:
    return tf.nest.map_structure(lambda item: new if item is old else item, output)
