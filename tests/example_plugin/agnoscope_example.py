"""A plugin for agnoscope in two files, this one and its `pyproject.toml`: a backend and a method.

agnoscope imports this module whenever it looks for plugins, so it must load no framework. A backend for a real one
imports it inside its functions, or lies in a module of its own, which the spec's import string then names.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NoReturn, final

import array_api_compat.numpy as xp

from agnoscope import CapabilityError, LayerError, Model, ModelError
from agnoscope.explainers.base import StepExplainer, input_gradient
from agnoscope.images import InputSpec
from agnoscope.model import RESERVED, Head, Layer, Outline
from agnoscope.patches import Array, Patch
from agnoscope.plugins import BackendSpec, ExplainerSpec, hookimpl
from agnoscope.target import Bound


@final
@dataclass(frozen=True)
class Chain:
    """A network of the framework that this plugin is for: named functions of NumPy arrays, one after the other.

    Attributes:
        steps: name to kind, as `agnoscope.model.Layer` lists them, and function.
        head: what the last of them is: "softmax", "sigmoid" or "linear".
    """

    steps: Mapping[str, tuple[str, Callable[[Array], Array]]]
    head: Head = "linear"


@final
class ChainModel(Model):
    """A chain behind agnoscope's protocol. It has no gradients and says so; methods that need none work."""

    backend = "example"
    versions = MappingProxyType({"agnoscope-example": "0.1.0"})
    xp = xp
    can = frozenset({"capture", "patch"})
    dtype = "float32"

    def __init__(self, chain: Chain, params: Any, spec: InputSpec, labels: Sequence[str] | None) -> None:
        if params is not None:
            raise ModelError("A chain has its parameters in its functions: leave params out.")
        super().__init__(spec, labels)
        self.chain = chain

    def discover(self, size: tuple[int, int]) -> Outline:
        image = xp.zeros((1, *size, self.spec.depth), dtype=xp.float32)
        values = self.run(image, (*self.chain.steps, "scores"))
        layers = {name: Layer(name, kind, values[name].shape[1:]) for name, (kind, _) in self.chain.steps.items()}
        return Outline(layers, values["scores"].shape[1:], self.chain.head)

    def run(
        self, images: Array, capture: Sequence[str], patch: Mapping[str, Patch] = MappingProxyType({})
    ) -> dict[str, Array]:
        if absent := {*capture, *patch} - {*self.chain.steps, *RESERVED}:
            raise LayerError(f"There are no layers {sorted(absent)}; the chain has {', '.join(self.chain.steps)}.")
        x = before = self.spec.prepare(xp, images)
        values = {}
        for name, (_, function) in self.chain.steps.items():
            before, x = x, function(x)
            values[name] = x = patch[name](x) if name in patch else x
        values |= {"output": x, "scores": x if self.chain.head == "linear" else before}
        return {name: values[name] for name in capture}

    def value_and_grad(self, function: Callable[..., Any]) -> NoReturn:
        raise CapabilityError("A chain has no gradients.")

    def compile(self, program: Callable[..., dict[str, Array]], static: Hashable) -> Callable[..., dict[str, Any]]:
        return lambda *trees: program(self, static, *trees)


@final
@dataclass(frozen=True)
class GradientNorm(StepExplainer):
    """The length of the gradient at each pixel: how much the score can move with its colour.

    Attributes:
        squared: whether the length is left squared.
    """

    name = "gradient-norm"
    needs = frozenset({"gradient"})
    reduction = "signed"

    squared: bool = False

    def step(self, model: Model, images: Array, target: Bound) -> dict[str, Array]:
        found = input_gradient(model, images, target)
        length = model.xp.sum(found["values"] ** 2, axis=-1)
        return {**found, "values": length if self.squared else model.xp.sqrt(length)}


@hookimpl
def agnoscope_backends() -> Iterator[BackendSpec]:
    """The backend, and by which class of network agnoscope recognises that it is to be used."""
    yield BackendSpec("example", "agnoscope_example:ChainModel", model_types=("agnoscope_example.Chain",))


@hookimpl
def agnoscope_explainers() -> Iterator[ExplainerSpec]:
    """The method, under the name by which users ask for it."""
    yield ExplainerSpec("gradient-norm", "agnoscope_example:GradientNorm")
