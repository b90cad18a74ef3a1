"""Changed gradients of ReLUs in TensorFlow.

While the network is traced, its graph marks every ReLU operation with the name of the one gradient function
that is registered here; afterwards the ReLUs that count are told their rule. `tf.gradients` heeds such marks,
`GradientTape` does not.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import tensorflow as tf

from agnoscope.backends.tensorflow_layers import Call, Watch
from agnoscope.backends.tensorflow_namespace import xp
from agnoscope.errors import CapabilityError
from agnoscope.model import ReluRule
from agnoscope.patches import Array

MARK = "agnoscope_relu"
PLAIN = {"Relu": tf.raw_ops.ReluGrad, "Relu6": tf.raw_ops.Relu6Grad}

_rules: WeakKeyDictionary[Any, dict[str, ReluRule]] = WeakKeyDictionary()
"""Graph to the names of its ReLUs that have a rule. A graph that is forgotten takes its rules with it."""


def _backward(op: Any, g: Array) -> Array:
    x, y = op.inputs[0], op.outputs[0]
    plain = PLAIN[op.type](gradients=g, features=y)
    rule = _rules.get(op.graph, {}).get(op.name)
    if rule is None:
        return plain
    if rule == "guided":
        return tf.nn.relu(plain)
    if rule == "deconvnet":
        return tf.nn.relu(g)
    return rule(xp, x, y, g, plain)  # type: ignore[operator]


with suppress(KeyError):  # a notebook has reloaded this module: TensorFlow keeps the function it had
    tf.RegisterGradient(MARK)(_backward)


def marked(rule: ReluRule | None) -> AbstractContextManager[Any]:
    """Within it, the ReLUs that are traced into the current graph can be given a rule."""
    if rule is None:
        return nullcontext()
    marks: AbstractContextManager[Any] = tf.compat.v1.get_default_graph().gradient_override_map(
        dict.fromkeys(PLAIN, MARK)
    )
    return marks


def give(rule: ReluRule, watch: Watch) -> None:
    """Tell the ReLUs of a network that was traced under `marked` which rule they follow.

    Raises:
        CapabilityError: there are none, or some lie inside a function or loop, where they were not marked.
    """
    called = repr(rule) if isinstance(rule, str) else "a rule for ReLUs"
    found = [op.name for op, owner in _rectifiers(watch) if _is_relu(op, owner)]
    inner = watch.graph.as_graph_def().library.function
    if any(node.op in PLAIN for function in inner for node in function.node_def):
        raise CapabilityError(
            f"{called} changes the gradient of ReLUs, and some of this network's run inside a loop or a tf.function "
            "of its own, where it cannot be changed. Use saliency."
        )
    if not found:
        others = ", ".join(_activations(watch.calls)) or "none that Keras shows"
        raise CapabilityError(
            f"{called} changes the gradient of ReLUs; this network ran none (its activations: {others}). Use saliency."
        )
    _rules.setdefault(watch.graph, {}).update(dict.fromkeys(found, rule))


def untouched(watch: Watch) -> list[str]:
    """Names of layers that rectify in another way than by a ReLU operation: rules leave them as they are."""
    relus: set[str] = set()
    others = {name for name, call in watch.calls.items() if call.kind == "relu"}
    for op, owner in _rectifiers(watch):
        (relus if _is_relu(op, owner) else others).add(owner[0])
    return [name for name in watch.calls if name in others - relus]


def _rectifiers(watch: Watch) -> Iterator[tuple[Any, tuple[str, Any]]]:
    """The operations of this trace that rectify, each with the name and class of its innermost layer."""
    for position, op in enumerate(watch.graph.get_operations()[watch.start :], watch.start):
        if op.type in PLAIN or (op.type == "Maximum" and any(_constant(i, 0) for i in op.inputs)):
            # An inner layer is done before its outer one, so the first that fits is the innermost.
            owners = ((n, c.layer) for n, c in watch.calls.items() if c.start <= position < c.stop)
            yield op, next(owners, ("", None))


def _is_relu(op: Any, owner: tuple[str, Any]) -> bool:
    """Whether the operation is a ReLU in its own right, not a piece of PReLU or of a hard sigmoid or swish."""
    if op.type not in PLAIN or any(base.__name__ == "PReLU" for base in type(owner[1]).__mro__):
        return False
    source = op.inputs[0].op
    return not (op.type == "Relu6" and source.type == "AddV2" and any(_constant(i, 3) for i in source.inputs))


def _constant(tensor: Array, value: float) -> bool:
    known = tf.get_static_value(tensor)
    return known is not None and bool(np.all(known == value))


def _activations(calls: Mapping[str, Call]) -> list[str]:
    """What the layers of a network show of their activation functions."""
    inline = (getattr(call.layer, "activation", None) for call in calls.values())
    names = {getattr(function, "__name__", type(function).__name__) for function in inline if function is not None}
    names |= {call.type for call in calls.values() if call.kind == "activation" and call.type != "Activation"}
    return sorted(names - {"linear", "softmax"})
