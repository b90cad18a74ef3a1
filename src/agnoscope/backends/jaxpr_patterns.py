"""ReLUs and the head of a network, recognised in its graph by what they compute, not by how they are written.

A step is a ReLU if it gives `min(max(x, 0), top)` of an earlier value x. That is tried out on a few numbers in
NumPy, so `relu`, `maximum`, `where`, `clip`, `x * (x > 0)` and the like need no pattern each. What computes this
but is no ReLU of the network (a variance kept from below 0, a part of another activation) is told by its
surroundings. In the same way the scores are the value of which the output is the softmax or sigmoid.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from agnoscope.backends.jaxpr import Array, Graph, Step, evaluate
from agnoscope.backends.kinds import kind_of
from agnoscope.errors import OptionError
from agnoscope.model import Head, ReluRule

RELU = "relu"
"""Name of a step that is a ReLU under a rule."""

PROBE = np.array([-1000.0, -50, -7, -6, -3, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 3, 5, 6, 7, 20, 50, 1000])

ELEMENTWISE: Mapping[str, Callable[..., Any]] = {
    "abs": np.abs,
    "add": np.add,
    "broadcast_in_dim": lambda x: x,  # of single numbers; anything else changes the shape
    "clamp": lambda low, x, high: np.minimum(np.maximum(x, low), high),
    "convert_element_type": lambda x: x,
    "copy": lambda x: x,
    "div": np.divide,
    "ge": np.greater_equal,
    "gt": np.greater,
    "le": np.less_equal,
    "lt": np.less,
    "max": np.maximum,
    "min": np.minimum,
    "mul": np.multiply,
    "neg": np.negative,
    "select_n": lambda which, *cases: np.choose(np.asarray(which, dtype=int), cases),
    "sub": np.subtract,
}
ENDS = ("add", "clamp", "custom_jvp_call", "div", "max", "min", "mul", "select_n", "sub")
"""Steps with which a ReLU may end."""

JOINS = ("add", "div", "max", "min", "mul", "select_n", "sub")
POINTWISE = {*ELEMENTWISE, "custom_jvp_call", "exp", "expm1", "integer_pow", "log", "log1p", "logistic", "tanh"}


@dataclass(frozen=True)
class Relu:
    """A ReLU: its value is `min(max(source, 0), top)`."""

    value: int
    source: int
    top: float


def find_relus(graph: Graph) -> dict[int, Relu]:
    """The graph's ReLUs, by the value that they give."""
    found: dict[int, Relu] = {}
    for step in graph.steps:
        relu = _relu(graph, step)
        if relu:
            parts = graph.needed((relu.value,), (relu.source,))
            for part in parts[:-1]:
                # The maximum within a clip is no ReLU of its own, unless something else reads it.
                if set(graph.consumers[part.outputs[0]]) <= set(parts):
                    found.pop(part.outputs[0], None)
            found[relu.value] = relu
    leaky = {value for relu in found.values() for value in _leaky(graph, relu, found)}
    others = (_gate, _variance, _part)
    return {
        value: relu
        for value, relu in found.items()
        if value not in leaky and not any(other(graph, relu) for other in others)
    }


def hidden_relus(graph: Graph) -> int:
    """How many ReLUs lie inside steps that are not opened: cond, while and long scans."""
    closed = [body for step in graph.steps if not step.name.startswith("custom_") for body in step.bodies]
    return sum(len(find_relus(body)) + hidden_relus(body) for body in closed)


def activations(graph: Graph) -> list[str]:
    """Names of the functions in the graph that look like activations."""
    names = graph.calls | {"sigmoid" if step.name == "logistic" else step.name for step in graph.steps}
    return sorted(name for name in names if kind_of(name, False) == "activation")


def with_rule(graph: Graph, rule: ReluRule) -> Graph:
    """The same graph with ReLUs that go backward by a rule.

    Raises:
        OptionError: there is no such rule.
    """
    if rule not in ("guided", "deconvnet") and not callable(rule):
        raise OptionError(f"{rule!r} is no rule for ReLUs: give 'guided', 'deconvnet' or a function.")
    relus = find_relus(graph)

    def ruled(step: Step) -> Step:
        relu = relus.get(step.outputs[0]) if step.outputs else None
        if relu is None:
            return step
        return replace(step, name=RELU, inputs=(relu.source,), bind=_ruled(graph, relu, rule))

    return replace(graph, steps=tuple(map(ruled, graph.steps)))


def _ruled(graph: Graph, relu: Relu, rule: ReluRule) -> Callable[[Array], list[Array]]:
    def forward(x: Array) -> Array:
        return evaluate(graph, {relu.source: x}, (relu.value,))[relu.value]

    def remember(x: Array) -> tuple[Array, Any]:
        y, plain = jax.vjp(forward, x)
        return y, (x, y, plain)

    def backward(kept: Any, g: Array) -> tuple[Array]:
        x, y, plain = kept
        return (_gradient(rule, relu.top, x, y, g, plain).astype(x.dtype),)

    function = jax.custom_vjp(forward)
    function.defvjp(remember, backward)
    return lambda x: [function(x)]


def _gradient(rule: ReluRule, top: float, x: Array, y: Array, g: Array, plain: Callable[..., Any]) -> Array:
    """What goes on backward from a ReLU of x and y where g arrives."""
    if callable(rule):
        return rule(jnp, x, y, g, plain(g)[0])
    return jnp.maximum(g, 0) if rule == "deconvnet" else jnp.where((x > 0) & (x < top) & (g > 0), g, 0)


def _relu(graph: Graph, step: Step) -> Relu | None:
    """The ReLU that ends with this step, of the farthest source that makes it one."""
    if step.name not in ENDS or len(step.outputs) != 1:
        return None
    value, aval = step.outputs[0], graph.avals[step.outputs[0]]
    if not aval.shape or not jnp.issubdtype(aval.dtype, jnp.floating):
        return None

    def through(inner: Step) -> bool:
        return inner.scope == step.scope and (inner.name in ELEMENTWISE or inner.name == "custom_jvp_call")

    relu = None
    for source in islice(graph.sources(value, through), 6):
        if graph.avals[source].shape == aval.shape and graph.avals[source].dtype == aval.dtype:
            samples = _samples(graph, {source: PROBE}, value)
            if samples is not None and samples.shape == PROBE.shape and samples.max() > 0:
                top = float(samples.max()) if samples.max() < PROBE.max() else np.inf
                relu = Relu(value, source, top) if np.allclose(samples, np.clip(PROBE, 0, top)) else relu
    return relu


def _samples(graph: Graph, given: Mapping[int, Any], value: int) -> NDArray[Any] | None:
    """A value computed in NumPy, one number for each number given; None where it is not elementwise."""
    shape = graph.avals[value].shape
    values = dict(given)
    for step in graph.needed((value,), given):
        inputs = [values.get(i, graph.scalars.get(i)) for i in step.inputs]
        if any(array is None for array in inputs):
            return None
        if step.name == "custom_jvp_call":
            body = step.bodies[0]
            result = _samples(body, dict(zip(body.inputs, inputs, strict=True)), body.outputs[0])
        else:
            with np.errstate(all="ignore"):
                result = ELEMENTWISE[step.name](*inputs) if step.name in ELEMENTWISE else None
        if result is None or (np.ndim(result) and graph.avals[step.outputs[0]].shape != shape):
            return None
        values[step.outputs[0]] = result
    return np.asarray(values[value]) if value in values else None


def _gate(graph: Graph, relu: Relu) -> bool:
    """Whether it is a hard sigmoid or the like: a clip at 1, or of a value that a number was added to."""
    before = graph.producers.get(relu.source)
    shifted = before is not None and before.name in ("add", "sub") and _alone(graph, before)
    return relu.top <= 1 or (relu.top < np.inf and shifted)


def _variance(graph: Graph, relu: Relu) -> bool:
    """Whether a root is taken of it, as in a normalisation."""
    return any(
        user.name in ("sqrt", "rsqrt") or (user.name == "pow" and graph.scalars.get(user.inputs[1], 1) < 1)
        for user, _ in _users(graph, relu.value)
    )


def _part(graph: Graph, relu: Relu) -> bool:
    """Whether it meets another function of what it is a function of, as in `relu(x) + min(exp(x) - 1, 0)`."""
    origins = _origins(graph, relu.source)
    others = (
        _origins(graph, other)
        for user, value in _users(graph, relu.value)
        if user.name in JOINS
        for other in set(user.inputs) - {value, relu.source} - graph.scalars.keys()
    )
    # A function of the ReLU itself, as in `gelu(relu(x))`, is none.
    return any(not origins.isdisjoint(other) and relu.value not in other for other in others)


def _origins(graph: Graph, value: int) -> set[int]:
    scope = graph.producers[value].scope if value in graph.producers else ""
    earlier = graph.sources(value, lambda step: step.name in POINTWISE and step.scope == scope)
    return {value, *islice(earlier, 12)}


def _users(graph: Graph, value: int, steps: int = 6) -> Iterator[tuple[Step, int]]:
    """The steps that read a value, or a function of it alone, each with what it reads."""
    for user in graph.consumers[value]:
        yield user, value
        if steps and user.name in {*POINTWISE, "reshape", "squeeze"} and _alone(graph, user):
            yield from _users(graph, user.outputs[0], steps - 1)


def _alone(graph: Graph, step: Step) -> bool:
    """Whether a step reads but one value besides single numbers."""
    return len(set(step.inputs) - graph.scalars.keys()) == 1


def _leaky(graph: Graph, relu: Relu, relus: Mapping[int, Relu]) -> Iterator[int]:
    """The two halves of `relu(x) - slope * relu(-x)` with a learnt slope, where `relu` is the second."""
    before = graph.producers.get(relu.source)
    if before is None or before.name != "neg":
        return
    for scaled in graph.consumers[relu.value]:
        for joined in graph.consumers[scaled.outputs[0]] if scaled.name == "mul" else ():
            for half in joined.inputs if joined.name in ("add", "sub") else ():
                if half in relus and relus[half].source == before.inputs[0]:
                    yield from (relu.value, half)


def find_head(graph: Graph) -> tuple[Head, int]:
    """What turns the scores into the output, and the number of the scores.

    The output is computed from random numbers in the place of each value that it may be the softmax or sigmoid of.
    """
    output = graph.outputs[0]
    aval = graph.avals[output]
    alike = (value for value in graph.sources(output) if graph.avals[value].shape == aval.shape)
    values = [value for value in islice(alike, 8) if jnp.issubdtype(graph.avals[value].dtype, jnp.floating)]
    if not values or not aval.shape or not jnp.issubdtype(aval.dtype, jnp.floating):
        return "linear", output
    scores = np.random.default_rng(0).normal(0, 3, aval.shape)

    def outputs(probe: Array) -> list[Array]:
        given = [{value: probe.astype(graph.avals[value].dtype)} for value in values]
        return [evaluate(graph, values, (output,))[output].astype(probe.dtype) for values in given]

    with jax.ensure_compile_time_eval():
        heads = [_head(scores, np.asarray(array)) for array in jax.jit(outputs)(jnp.asarray(scores, jnp.float32))]
    place = next((i for i, head in enumerate(heads) if head != "linear"), None)
    if place is None:
        return "linear", output
    # Scores from which their maximum was taken first are those before that.
    shift = graph.producers.get(values[place])
    if shift is not None and shift.name == "sub" and heads[place : place + 2] == [heads[place]] * 2:
        return heads[place], values[place + 1]
    return heads[place], values[place]


def _head(scores: NDArray[Any], output: NDArray[Any]) -> Head:
    """What an output is of these scores."""
    softmax = scores - np.log(np.sum(np.exp(scores), axis=-1, keepdims=True))
    heads: dict[Head, NDArray[Any]] = {"sigmoid": -np.logaddexp(0, -scores), "softmax": softmax}
    if scores.shape[-1] == 1:
        del heads["softmax"]
    for head, logarithm in heads.items():
        for known in (logarithm, np.exp(logarithm)):
            if np.abs(output - known).max() <= 0.01 * np.abs(known).max():
                return head
    return "linear"
