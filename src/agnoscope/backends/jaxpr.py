"""A traced network as one flat list of steps, and its evaluation with values taken out and changed.

JAX writes a network down as a jaxpr: equations, some of which hold a jaxpr of their own, such as a jitted
function, a checkpointed block or a scan. Here calls are inlined and short scans unrolled, so that every value
of the network has a number of its own. A layer is then such a number, and to capture or patch it needs no
hook: the steps are evaluated in order, inside whatever jit, grad or vmap surrounds them.

What is not opened (cond, while, long scans, functions with a derivative of the user's own) is one step.
"""

from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from agnoscope.errors import CapabilityError

Array: TypeAlias = Any
ValuePatch: TypeAlias = Callable[[Array, Mapping[int, Array]], Array]
"""Changes a value; the second argument holds what was computed before it, by number."""
Patches: TypeAlias = Mapping[int, Sequence[ValuePatch]]

CALLS = ("jit", "pjit", "closed_call", "core_call", "call", "remat2", "checkpoint")
"""Primitives that only call. The memory that a checkpoint saves is not needed for a few images."""

LONGEST_SCAN = 64
"""Steps up to which a scan is unrolled."""


@dataclass(frozen=True, eq=False)
class Step:
    """One operation of the network.

    Attributes:
        name: of the primitive.
        inputs: numbers of the values that it reads.
        outputs: numbers of the values that it writes.
        bind: computes the outputs from the inputs.
        params: of the equation.
        scope: path of the `jax.named_scope` in which it was traced.
        bodies: what a step that is not opened holds.
    """

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    bind: Callable[..., Sequence[Array]]
    params: Mapping[str, Any] = field(default_factory=dict)
    scope: str = ""
    bodies: tuple["Graph", ...] = ()


@dataclass(frozen=True, eq=False)
class Graph:
    """A flat jaxpr. Values are numbered as they arise.

    Attributes:
        steps: in the order of execution.
        inputs: numbers of the arguments.
        outputs: numbers of the results.
        known: values that are no arguments: literals and constants.
        avals: shape and dtype of each value, by number.
        calls: names of the functions that were inlined.
        beside: how many arguments before the last one have the images as their first axis, too.
    """

    steps: tuple[Step, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    known: Mapping[int, Any]
    avals: Sequence[Any]
    calls: frozenset[str]
    beside: int = 0

    @cached_property
    def producers(self) -> Mapping[int, Step]:
        """Value to the step that writes it."""
        return {value: step for step in self.steps for value in step.outputs}

    @cached_property
    def consumers(self) -> Mapping[int, Sequence[Step]]:
        """Value to the steps that read it."""
        found: dict[int, list[Step]] = defaultdict(list)
        for step in self.steps:
            for value in set(step.inputs):
                found[value].append(step)
        return found

    @cached_property
    def moving(self) -> frozenset[int]:
        """The values that depend on the last argument, the images, or on what comes beside them."""
        found = set(self.inputs[-1 - self.beside :])
        for step in self.steps:
            if not found.isdisjoint(step.inputs):
                found.update(step.outputs)
        return frozenset(found)

    @cached_property
    def scalars(self) -> Mapping[int, Any]:
        """The known values that are single numbers."""
        return {value: known for value, known in self.known.items() if not self.avals[value].shape}

    def needed(self, wanted: Iterable[int], given: Container[int] = ()) -> list[Step]:
        """The steps that lead to the wanted values, in order; given values need none."""
        missing = {value for value in wanted if value not in given}
        steps = []
        while missing:
            # The latest value first: when its step comes up, all that read it have come up before.
            latest = max(missing)
            missing.remove(latest)
            step = self.producers.get(latest)
            if step is not None:
                steps.append(step)
                missing.difference_update(step.outputs)
                missing.update(value for value in step.inputs if value not in given)
        return steps[::-1]

    def sources(self, value: int, through: Callable[[Step], bool] | None = None) -> Iterator[int]:
        """The values, nearest first, of which `value` is a function, and of nothing else but single numbers.

        Args:
            value: where the walk begins.
            through: whether the walk goes on through this step; by default through any.
        """
        front = {value}
        while front:
            step = self.producers.get(max(front))
            if step is None or (through is not None and not through(step)):
                return
            front = (front - set(step.outputs)) | (set(step.inputs) - self.scalars.keys())
            if len(front) == 1:
                yield from front
            elif len(front - self.producers.keys()) > 1:
                return  # arguments stay to the end


def flatten(jaxpr: ClosedJaxpr | Jaxpr, beside: int = 0) -> Graph:
    """Inline calls and short scans of a jaxpr.

    Args:
        jaxpr: of the network; its last argument is the images.
        beside: how many arguments before it have the images as their first axis, too.
    """
    tape = _Tape()
    inputs = tuple(tape.value(var.aval) for var in _opened(jaxpr)[0].invars)
    outputs = tape.inline(jaxpr, inputs, "")
    return Graph(tuple(tape.steps), inputs, outputs, tape.known, tape.avals, frozenset(tape.calls), beside)


@dataclass
class _Tape:
    """A graph while it is being written."""

    steps: list[Step] = field(default_factory=list)
    known: dict[int, Any] = field(default_factory=dict)
    avals: list[Any] = field(default_factory=list)
    calls: set[str] = field(default_factory=set)

    def value(self, aval: Any) -> int:
        self.avals.append(aval)
        return len(self.avals) - 1

    def constant(self, array: Any, aval: Any) -> int:
        number = self.value(aval)
        self.known[number] = array
        return number

    def inline(self, jaxpr: ClosedJaxpr | Jaxpr, arguments: Sequence[int], scope: str) -> tuple[int, ...]:
        """Write a jaxpr's equations with its arguments replaced; returns its results."""
        opened, constants = _opened(jaxpr)
        numbers: dict[Any, int] = dict(zip(opened.invars, arguments, strict=True))
        for var, array in zip(opened.constvars, constants, strict=True):
            numbers[var] = self.constant(array, var.aval)

        def read(atom: Any) -> int:
            return self.constant(atom.val, atom.aval) if isinstance(atom, Literal) else numbers[atom]

        for equation in opened.eqns:
            inputs = tuple(map(read, equation.invars))
            numbers.update(zip(equation.outvars, self.equation(equation, inputs, scope), strict=True))
        return tuple(map(read, opened.outvars))

    def equation(self, equation: JaxprEqn, inputs: tuple[int, ...], scope: str) -> tuple[int, ...]:
        name, params = equation.primitive.name, equation.params
        scope = f"{scope}/{equation.source_info.name_stack}".strip("/")
        if name in CALLS:
            self.calls.add(str(params.get("name", "")))
            return self.inline(params["jaxpr" if "jaxpr" in params else "call_jaxpr"], inputs, scope)
        if name == "scan" and 1 <= params["length"] <= LONGEST_SCAN:
            return self.unroll(equation, inputs, scope)
        bodies = tuple(map(flatten, _jaxprs(params)))
        self.calls.update(*(body.calls for body in bodies))
        outputs = tuple(self.value(var.aval) for var in equation.outvars)
        self.steps.append(Step(name, inputs, outputs, _bind(equation), params, scope, bodies))
        return outputs

    def unroll(self, equation: JaxprEqn, inputs: tuple[int, ...], scope: str) -> tuple[int, ...]:
        """Write a scan's body once for each of its steps."""
        params = equation.params
        body, consts, carries = params["jaxpr"], params["num_consts"], params["num_carry"]
        carry, stacked = inputs[consts : consts + carries], inputs[consts + carries :]
        shapes = [var.aval for var in body.jaxpr.invars[consts + carries :]]
        results: dict[int, tuple[int, ...]] = {}
        order = range(params["length"])
        for i in reversed(order) if params["reverse"] else order:
            slices = [
                self.function("slice", lambda x, i=i: x[i], (whole,), aval, scope)
                for whole, aval in zip(stacked, shapes, strict=True)
            ]
            outputs = self.inline(body, (*inputs[:consts], *carry, *slices), scope)
            carry, results[i] = outputs[:carries], outputs[carries:]
        columns = zip(*(results[i] for i in order), strict=True)
        joined = [
            self.function("stack", lambda *xs: jnp.stack(xs), column, var.aval, scope)
            for column, var in zip(columns, equation.outvars[carries:], strict=True)
        ]
        return (*carry, *joined)

    def function(
        self, name: str, function: Callable[..., Array], inputs: tuple[int, ...], aval: Any, scope: str
    ) -> int:
        """Write a step that is no equation of the jaxpr."""
        output = self.value(aval)
        self.steps.append(Step(name, inputs, (output,), lambda *xs: [function(*xs)], scope=scope))
        return output


def _opened(jaxpr: ClosedJaxpr | Jaxpr) -> tuple[Jaxpr, Sequence[Any]]:
    return (jaxpr.jaxpr, jaxpr.consts) if isinstance(jaxpr, ClosedJaxpr) else (jaxpr, ())


def _jaxprs(params: Mapping[str, Any]) -> Iterator[ClosedJaxpr | Jaxpr]:
    for value in params.values():
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, ClosedJaxpr | Jaxpr):
                yield item


def _bind(equation: JaxprEqn) -> Callable[..., Sequence[Array]]:
    primitive: Any = equation.primitive  # its methods are untyped in JAX

    def bind(*arrays: Array) -> Sequence[Array]:
        found = primitive.get_bind_params(equation.params)
        # Until jax 0.9 functions among the parameters came apart from the rest.
        functions, params = found if isinstance(found, tuple) else ((), found)
        results = primitive.bind(*functions, *arrays, **params)
        return results if primitive.multiple_results else [results]

    return bind


def evaluate(
    graph: Graph,
    given: Mapping[int, Array],
    wanted: Iterable[int],
    patches: Patches = MappingProxyType({}),
) -> dict[int, Array]:
    """Compute the wanted values from the given ones.

    A patch may turn the batch into several, one after the other. From there on every step is mapped over
    these groups, and values that the patch did not reach serve all of them.

    Args:
        graph: the network.
        given: values to begin with; literals and constants are known anyhow.
        wanted: numbers of the values to return.
        patches: value to the functions that change it as soon as it is computed.

    Raises:
        CapabilityError: a patch returned something else than whole batches.
    """
    wanted = tuple(wanted)
    values = {**graph.known, **given}
    groups: dict[int, int] = {}  # of the values that have a leading axis of groups
    for step in graph.needed(wanted, given):
        arrays = [values[i] for i in step.inputs]
        counts = {groups[i] for i in step.inputs if i in groups}
        if not counts:
            outputs = step.bind(*arrays)
        elif len(counts) == 1:
            axes = tuple(0 if i in groups else None for i in step.inputs)
            outputs = jax.vmap(step.bind, in_axes=axes)(*arrays)
        else:
            raise CapabilityError(
                f"Patches changed the batch in different ways, to {sorted(counts)} times its size, and the "
                "network brings them together. Change the batch at one layer only."
            )
        for value, array in zip(step.outputs, outputs, strict=True):
            count = next(iter(counts), 1)
            if value in patches:
                array, count = _patched(array, counts, graph.avals[value].shape[0], patches[value], values)
            values[value] = array
            if counts or count > 1:
                groups[value] = count
    return {value: _merged(values[value]) if value in groups else values[value] for value in wanted}


def _merged(array: Array) -> Array:
    return array.reshape(-1, *array.shape[2:])


def _patched(
    array: Array, counts: set[int], batch: int, patches: Sequence[ValuePatch], values: Mapping[int, Array]
) -> tuple[Array, int]:
    images = _merged(array) if counts else array
    for patch in patches:
        images = patch(images, values).astype(array.dtype)
    if images.shape[0] % batch or not images.shape[0]:
        raise CapabilityError(
            f"A patch turned a batch of {batch} into {images.shape[0]} images; with JAX it may return whole "
            "batches only. Run one image at a time."
        )
    count = images.shape[0] // batch
    return (images.reshape(count, batch, *images.shape[1:]) if counts or count > 1 else images), count
