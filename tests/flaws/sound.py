"""The reference backend behind a second door, in which flaws can be made."""

import copy
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Self

from numpy.typing import NDArray

from agnoscope import Model, wrap
from agnoscope.backends.reference import Network
from agnoscope.inputs import Input, Inputs
from agnoscope.model import RESERVED, Outline
from agnoscope.patches import Array, Patch


class Sound(Model):
    """The reference backend behind a second door, where each flaw below changes one thing."""

    def __init__(self, network: Network, **options: Any) -> None:
        self.network, self.inner = network, wrap(network, **options)
        super().__init__(self.inner.spec)
        self.backend, self.versions = "sound", self.inner.versions
        self.xp, self.dtype = self.inner.xp, self.inner.dtype

    def discover(self, size: tuple[int, int]) -> Outline:
        return self.inner.discover(size)

    def run(
        self, images: Array, capture: Sequence[str], patch: Mapping[str, Patch] = MappingProxyType({})
    ) -> dict[str, Array]:
        return self.ruled(self.rule).run(images, capture, patch)

    def ruled(self, rule: Any) -> Model:
        """The reference model under a rule."""
        return self.inner if rule is None else self.inner.with_relu(rule)

    def value_and_grad(self, function: Callable[..., tuple[Array, Any]]) -> Callable[..., Any]:
        def differentiated(*trees: Any) -> Any:
            value, slopes = self.inner.value_and_grad(function)(*trees)
            return value, self.slopes(slopes)

        return differentiated

    def slopes(self, found: dict[str, Any]) -> dict[str, Any]:
        """The gradients of a pass, as they should be; for flaws to change."""
        return found

    def compile(self, program: Callable[..., dict[str, Array]], static: Any) -> Callable[..., dict[str, Any]]:
        return self.inner.compile(lambda _, *rest: program(self, *rest), static)

    def read_weights(self) -> Mapping[str, NDArray[Any]]:
        return self.inner.read_weights()

    def replace_weights(self, values: Mapping[str, NDArray[Any]]) -> Self:
        view = copy.copy(self)
        view.inner = self.inner.replace_weights(values)
        return view


class Shifted(Sound):
    """A network of two inputs, the second of which is added to the output."""

    inputs = Inputs({"images": Input(), "shift": Input()}, ("images", "shift"))

    def discover(self, size: tuple[int, int]) -> Outline:
        outline = super().discover(size)
        if self.bound["shift"].shape != outline.scores:
            raise ValueError("these cannot be added")
        return outline

    def run(
        self, images: Array, capture: Sequence[str], patch: Mapping[str, Patch] = MappingProxyType({})
    ) -> dict[str, Array]:
        values, shift = super().run(images, capture, patch), self.shift(images)
        return {name: value + shift if name in RESERVED else value for name, value in values.items()}

    def shift(self, images: Array) -> Array:
        """What is added for these images."""
        return self.repeated(images)["shift"]
