"""The kinds of networks that JAX knows, each as one pure function of its parameters and the images.

Modules are traced in inference mode, with every module's output tagged by its path. The user's network is only
read: linen modules are stateless, an nnx module is copied for each trace, a Keras model runs in a scope of
its own.
"""

import dataclasses
import inspect
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from agnoscope.backends.jax_layers import Types, tagged
from agnoscope.backends.jaxpr import Array, Graph, flatten
from agnoscope.backends.keras_network import arguments, inputs_of, weights_of
from agnoscope.errors import AgnoscopeError, ModelError
from agnoscope.inputs import Inputs
from agnoscope.weights import unused

INFERENCE = {
    "train": False,
    "training": False,
    "is_training": False,
    "deterministic": True,
    "use_running_average": True,
}
"""Arguments of a module's `__call__` that tell training from inference, and what they are here."""

# Functions that the user jitted were perhaps traced before, without tags: JAX caches traces per context.
_CONTEXT: Any = getattr(jax, "make_user_context", lambda _: lambda _: nullcontext())(None)


@dataclass(frozen=True)
class Network:
    """A network of any kind.

    Attributes:
        apply: a pure function of the parameters, the images and the bound inputs by name; it returns the output.
        parameters: gives the current parameters.
        inputs: of which the images are one.
        names: of the parameters' leaves, in their order; "" where one is no weight.
        versions: distribution to version of what it is written in.
        types: where `jax.named_scope` tells the layers, their names; each with its type and the one that tells
            its kind.
    """

    apply: Callable[[Any, Array, Mapping[str, Array]], Array]
    parameters: Callable[[], Any]
    inputs: Inputs = field(default_factory=Inputs)
    names: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    types: Types | None = None

    def trace(self, shape: tuple[int, ...], dtype: Any, beside: Mapping[str, Any] = MappingProxyType({})) -> Graph:
        """The network's graph for images of this shape. Its last input is the images.

        Args:
            shape: of the images.
            dtype: likewise.
            beside: name to `jax.ShapeDtypeStruct` of the bound inputs for these images.

        Raises:
            ModelError: the network does not run on them.
        """
        try:
            with _CONTEXT("agnoscope"), _linen_tags():
                images: Any = jax.ShapeDtypeStruct(shape, dtype)  # type: ignore[no-untyped-call]
                traced = jax.make_jaxpr(lambda given, others, images: self.apply(given, images, others))
                graph = flatten(traced(self.parameters(), dict(beside), images), len(beside))
        except AgnoscopeError:
            raise
        except Exception as error:
            reason = str(error).strip().partition("\n")[0]
            raise ModelError(
                f"The network does not run on images of shape {shape}, dtype {jnp.dtype(dtype).name}: "
                f"{type(error).__name__}: {reason}. Check input_size, and that it takes channels last."
            ) from error
        output = graph.avals[graph.outputs[0]].shape
        if output[:1] != shape[:1]:
            raise ModelError(
                f"The network turned {shape[0]} images into an output of shape {output}; "
                "its first axis must be the images."
            )
        return graph


def canonical(network: Any, params: Any) -> Network:
    """A network of any kind that JAX knows.

    Raises:
        ModelError: it is of no such kind, or its parameters are missing or superfluous.
    """
    name = type(network).__name__
    if _is_a(network, "flax.linen", "Module"):
        if params is None:
            raise ModelError(f"The linen module {name} has its variables apart: give wrap(module, variables).")
        return _linen(network, params)
    for module, kind, make in (("flax.nnx", "Module", _nnx), ("keras", "Layer", _keras)):
        if _is_a(network, module, kind):
            if params is not None:
                raise ModelError(f"{name} holds its own parameters: give wrap(network) without others.")
            return make(network)
    if callable(network):
        return _function(network, params)
    raise ModelError(
        f"A {name} is no network for JAX: give a flax.linen module with its variables, a flax.nnx module, "
        "a Keras model on the JAX backend, or a function of (params, images)."
    )


def _is_a(network: Any, module: str, kind: str) -> bool:
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(network, getattr(loaded, kind, ()))


def x64() -> AbstractContextManager[Any]:
    """Where JAX keeps 64-bit numbers as they are, in this thread."""
    home: Any = jax if hasattr(jax, "enable_x64") else jax.experimental
    return home.enable_x64(True)


def _on_device(params: Any) -> Any:
    """Parameters with NumPy's arrays moved to where JAX computes, once instead of at every call."""
    with x64():
        return jax.tree.map(
            lambda leaf: jnp.asarray(leaf) if isinstance(leaf, np.ndarray) and leaf.dtype.kind == "f" else leaf, params
        )


def _names(tree: Any) -> tuple[str, ...]:
    """`<path>.<own name>` of each floating leaf; where linen's collections are on top, they are left out."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    paths = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]
    if isinstance(tree, Mapping) and "params" in tree:
        paths = [path.partition("/")[2] for path in paths]
    return _told_apart(
        (
            (".".join(filter(None, path.rpartition("/")[::2])), leaf)
            for path, (_, leaf) in zip(paths, leaves, strict=True)
        )
    )


def _told_apart(named: Iterable[tuple[str, Any]]) -> tuple[str, ...]:
    uses: Counter[str] = Counter()
    return tuple(
        unused(name, uses) if hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating) else ""
        for name, leaf in named
    )


def _function(function: Callable[..., Any], params: Any) -> Network:
    inputs = Inputs.of(function, after=int(params is not None))
    arrays = () if params is None else _on_device(params)

    def apply(given: Any, images: Array, bound: Mapping[str, Array]) -> Array:
        by_place, by_name = inputs.arguments(images, bound)
        return first_array(function(*(() if params is None else (given,)), *by_place, **by_name))

    return Network(apply, lambda: arrays, inputs, _names(arrays))


def _linen(module: Any, params: Any) -> Network:
    variables = _on_device(params if "params" in params else {"params": params})
    mode, inputs = inference_arguments(type(module)), Inputs.of(module.__call__, INFERENCE)

    def apply(given: Any, images: Array, bound: Mapping[str, Array]) -> Array:
        by_place, by_name = inputs.arguments(images, bound)
        return first_array(module.apply(given, *by_place, **by_name, **mode))

    return Network(apply, lambda: variables, inputs, _names(variables), {"flax": version("flax")})


@contextmanager
def _linen_tags() -> Iterator[None]:
    """While it lasts, what linen modules return in this thread is tagged, in plain functions too."""
    linen = sys.modules.get("flax.linen")
    if linen is None:
        yield
        return

    active: set[tuple[str, ...]] = set()

    def tag(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        path = context.module.path
        # A module that calls its parent class's `__call__` is one layer.
        if context.method_name != "__call__" or not path or path in active:
            return call(*args, **kwargs)
        active.add(path)
        try:
            return tagged(call(*args, **kwargs), "/".join(path), type(context.module).__name__)
        finally:
            active.remove(path)

    with linen.intercept_methods(tag):
        yield


def _nnx(module: Any) -> Network:
    from flax import nnx

    definition, state = nnx.split(module)
    tree = jax.tree.structure(state)
    mode, inputs = inference_arguments(type(module)), Inputs.of(module.__call__, INFERENCE)

    def apply(leaves: Any, images: Array, bound: Mapping[str, Array]) -> Array:
        copy = nnx.merge(definition, jax.tree.unflatten(tree, leaves))
        copy.eval()
        for path, part in nnx.iter_graph(copy):
            if path and isinstance(part, nnx.Module) and callable(part):
                part.agnoscope_path = ".".join(map(str, path))
                kind: Any = type(part)
                object.__setattr__(part, "__class__", _tagging(kind))
        by_place, by_name = inputs.arguments(images, bound)
        return first_array(copy(*by_place, **by_name, **mode))

    # In the order of the state's leaves; asking nnx for the state at each call would take ten times as long.
    variables = {id(part): (path, part) for path, part in nnx.iter_graph(module) if isinstance(part, nnx.Variable)}

    def values() -> list[Any]:
        # `value` was renamed in Flax 0.12.
        return [v.get_value() if hasattr(v, "get_value") else v.value for _, v in variables.values()]

    paths = [".".join(map(str, path)) for path, _ in variables.values()]
    named = [(path, leaf) for path, value in zip(paths, values(), strict=True) for leaf in jax.tree.leaves(value)]
    return Network(apply, lambda: jax.tree.leaves(values()), inputs, _told_apart(named), {"flax": version("flax")})


@cache
def _tagging(kind: Any) -> Any:
    """A class of nnx modules, its output tagged."""

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return tagged(kind.__call__(self, *args, **kwargs), self.agnoscope_path, kind.__name__)

    # A class that asked not to be a pytree must hand that on; older versions of Flax have no such classes.
    options = {"pytree": False} if getattr(kind, "_pytree__is_pytree", True) is False else {}
    return type(kind)(kind.__name__, (kind,), {"__call__": call, "__module__": kind.__module__}, **options)


def _keras(layer: Any) -> Network:
    import keras

    if keras.config.backend() != "jax":
        raise ModelError(
            f"{type(layer).__name__} is a Keras network on {keras.config.backend()}, not on JAX: "
            "wrap it with that backend, or set KERAS_BACKEND=jax before Keras is imported."
        )
    if not layer.built:
        raise ModelError(f"The Keras network {layer.name!r} has no weights yet: call it on an image first.")

    inputs = inputs_of(layer)

    def apply(arrays: Any, images: Array, bound: Mapping[str, Array]) -> Array:
        state = list(zip(layer.variables, arrays, strict=True))
        by_place, by_name = arguments(layer, inputs, images, bound)
        with _bookkeeping(layer), keras.StatelessScope(state_mapping=state):
            return first_array(layer(*by_place, **by_name, training=False))

    paths = {id(variable): name for name, variable in weights_of(layer).items()}
    names = tuple(paths.get(id(variable), "") for variable in layer.variables)

    types: dict[str, tuple[str, str]] = {}
    for part in layer._flatten_layers(include_self=False):
        name = type(part).__name__
        types[part.name] = (name, getattr(part.activation, "__name__", name) if name == "Activation" else name)
    return Network(apply, lambda: [v.value for v in layer.variables], inputs, names, {"keras": version("keras")}, types)


@contextmanager
def _bookkeeping(layer: Any) -> Iterator[None]:
    """Put back what Keras notes in its layers at a call: that there was one, and the losses of the last one."""
    kept = [(part, vars(part).get("_called"), list(part._losses)) for part in layer._flatten_layers()]
    try:
        yield
    finally:
        for part, called, losses in kept:
            vars(part)["_called"] = called
            part._losses[:] = losses


def inference_arguments(kind: type) -> dict[str, bool]:
    """What to pass to this class's `__call__` for inference: what it would not do by itself."""
    parameters = inspect.signature(kind.__call__).parameters
    return {
        name: value
        for name, value in INFERENCE.items()
        if name in parameters and parameters[name].default in (inspect.Parameter.empty, not value)
    }


def first_array(output: Any) -> Array:
    """The array that a network's output is about: its logits, else the first one.

    Raises:
        ModelError: it holds no array.
    """
    found = next(_arrays(output), None)
    if found is None:
        raise ModelError(
            f"The network returned a {type(output).__name__} without an array: return an array, or a tuple, "
            "dictionary or dataclass with one, called 'logits' if there are several."
        )
    return found


def _arrays(output: Any) -> Iterator[Array]:
    if isinstance(output, jax.Array):
        yield output
        return
    if dataclasses.is_dataclass(output):
        output = {part.name: getattr(output, part.name) for part in dataclasses.fields(output)}
    logits = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if logits is not None:
        yield from _arrays(logits)
    elif isinstance(output, Mapping | tuple | list):
        for item in output.values() if isinstance(output, Mapping) else output:
            yield from _arrays(item)
