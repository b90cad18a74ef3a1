"""Names for the values of a traced network.

While a network of modules is traced, each module's output is tagged: it passes through JAX's `checkpoint_name`,
an identity that survives jit, scan and checkpoint and stands in the jaxpr. `jax_networks` sets the tags, this
file reads them. Without tags the names are those that the user gave, by `checkpoint_name` or
`jax.named_scope`, and at the last the operations: `conv`, `conv@1`, `dot`.
"""

import re
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from agnoscope.backends.jaxpr import Graph, Step
from agnoscope.backends.jaxpr_patterns import find_relus
from agnoscope.backends.kinds import kind_of
from agnoscope.model import Layer

Types: TypeAlias = Mapping[str, tuple[str, str]]

TAG = "agnoscope:"

# The name and the type of what an operation gives, by its primitive.
OPERATIONS = {
    "conv_general_dilated": ("conv", "conv_general_dilated"),
    "dot_general": ("dot", "dot"),
    "reduce_window": ("pool", "reduce_window"),
    "reduce_window_max": ("pool", "reduce_window"),
    "reduce_window_sum": ("pool", "reduce_window"),
}


def tagged(outputs: Any, path: str, type_name: str) -> Any:
    """The outputs of a module, the first array among them tagged with its name."""
    leaves, tree = jax.tree.flatten(outputs)
    for i, leaf in enumerate(leaves):
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jnp.floating):
            leaves[i] = checkpoint_name(leaf, f"{TAG}{path}|{type_name}")  # type: ignore[no-untyped-call]
            break
    return jax.tree.unflatten(tree, leaves)


@dataclass(frozen=True)
class _Site:
    """A value with a name; `word` is the type that tells its kind."""

    path: str
    value: int
    type: str
    word: str
    composed: bool = False


def find_layers(graph: Graph, types: Types | None = None) -> dict[str, tuple[Layer, int]]:
    """Name to layer and the number of its value, in the order of execution.

    Args:
        graph: the network; its last input is the images.
        types: where scopes are the names of layers, those names, each with its type and the one that tells its
            kind. The outermost scope is then left out.
    """
    sites = [site for site in _sites(graph, types) if _is_activation(graph, site.value)]
    paths = {site.path for site in sites}
    uses: Counter[str] = Counter()
    found = {}
    for site in sites:
        name = f"{site.path}@{uses[site.path]}" if uses[site.path] else site.path
        uses[site.path] += 1
        composed = site.composed or any(path.startswith((site.path + "/", site.path + ".")) for path in paths)
        shape = tuple(graph.avals[site.value].shape[1:])
        found[name] = (Layer(name, kind_of(site.word, composed), shape, site.type), site.value)
    return found


def hidden_layers(graph: Graph) -> Iterator[tuple[str, str]]:
    """Names of the layers inside steps that are not opened, each with the name of that step."""
    for step in graph.steps:
        for body in step.bodies:
            labels = [_label(inner)[0] for inner in body.steps if inner.name == "name"]
            for label in (*labels, *(label for label, _ in hidden_layers(body))):
                yield label, step.name


def _is_activation(graph: Graph, value: int) -> bool:
    """Whether a value is floating, depends on the images and has them as its first axis."""
    aval, images = graph.avals[value], graph.avals[graph.inputs[-1]]
    floating = jnp.issubdtype(aval.dtype, jnp.floating)
    return floating and value in graph.moving and aval.shape[:1] == images.shape[:1]


def _sites(graph: Graph, types: Types | None) -> list[_Site]:
    names = [step for step in graph.steps if step.name == "name"]
    relus = find_relus(graph)
    sites = []
    for step in names:
        path, type_name = _label(step)
        word = type_name or _operation(graph, step.inputs[0], relus)
        sites.append(_Site(path, step.outputs[0], word, word))
    if any(step.params["name"].startswith(TAG) for step in names):
        return sites
    sites = sorted([*sites, *_scopes(graph, types, relus)], key=lambda site: site.value)
    return sites if sites or types is not None else list(_operations(graph, relus))


def _label(step: Step) -> tuple[str, str]:
    path, _, type_name = step.params["name"].removeprefix(TAG).partition("|")
    return path, type_name


def _operations(graph: Graph, relus: Container[int]) -> Iterator[_Site]:
    for step in graph.steps:
        name, word = OPERATIONS.get(step.name, ("", ""))
        if step.outputs and step.outputs[0] in relus:
            name = word = "relu"
        if name:
            yield _Site(name, step.outputs[0], word, word)


def _operation(graph: Graph, value: int, relus: Container[int]) -> str:
    """The type of the operation that gave a value, but for a bias; "" if it is none that has a kind."""
    if value in relus:
        return "relu"
    step = graph.producers.get(value)
    while step is not None and step.name == "add":
        moving = graph.moving.intersection(step.inputs)
        if len(moving) > 1:
            return "add"
        step = graph.producers.get(*moving)
    return OPERATIONS.get(step.name, ("", ""))[1] if step is not None else ""


def _scopes(graph: Graph, types: Types | None, relus: Container[int]) -> Iterator[_Site]:
    for path, steps in _runs(graph, types):
        value = _end(graph, steps)
        if value is not None and types is not None:
            yield _Site(path, value, *types[path.rpartition("/")[2]])
        elif value is not None:
            words = [OPERATIONS[step.name][1] for step in steps if step.name in OPERATIONS]
            word = words[0] if len(words) == 1 else _operation(graph, value, relus)
            yield _Site(path, value, word, word, len(words) > 1)


def _runs(graph: Graph, types: Types | None) -> list[tuple[str, list[Step]]]:
    """Each use of a scope: its path and the steps that follow one another in it, inner scopes first."""
    runs: list[tuple[str, list[Step]]] = []
    current: dict[str, list[Step]] = {}
    for step in graph.steps:
        paths = _paths(step.scope, types is not None)
        current = {path: steps for path, steps in current.items() if path in paths}
        for i, path in enumerate(paths):
            if types is not None and path.rpartition("/")[2] not in types:
                continue
            if path not in current or (types is not None and i == 0 and _again(graph, current[path], step)):
                current[path] = []
                runs.append((path, current[path]))
            current[path].append(step)
    return sorted(runs, key=lambda run: -run[0].count("/"))


@cache
def _paths(scope: str, rooted: bool) -> Sequence[str]:
    """A scope and those around it, inner first, without the transformations: "a/vmap(b)" gives "a/b", "a"."""
    while (plain := re.sub(r"\w+\(([^()]*)\)", r"\1", scope)) != scope:
        scope = plain
    parts = [part for part in scope.split("/") if part][rooted:]
    return ["/".join(parts[:length]) for length in range(len(parts), 0, -1)]


def _again(graph: Graph, steps: Sequence[Step], step: Step) -> bool:
    """Whether a step begins another call of the layer: it reads a weight that was read in this way already."""
    weights = set(graph.inputs[: -1 - graph.beside]).intersection(step.inputs)
    return any(step.name == earlier.name and weights.intersection(earlier.inputs) for earlier in steps)


def _end(graph: Graph, steps: Sequence[Step]) -> int | None:
    """The last activation that leaves these steps."""
    inside = set(steps)
    for step in reversed(steps):
        for value in step.outputs:
            leaves = value in graph.outputs or not inside.issuperset(graph.consumers[value])
            if leaves and _is_activation(graph, value):
                return value
    return None
