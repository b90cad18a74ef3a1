"""Backends with one mistake each."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType, SimpleNamespace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from agnoscope import Model
from agnoscope.backends.reference import Network, Relu
from agnoscope.model import Outline
from agnoscope.patches import Array, LinearPatch, Patch
from tests.flaws.sound import Shifted, Sound


class ForgetsOrderOfChannels(Sound):
    """Feeds RGB to a network that expects BGR."""

    def __init__(self, network: Network, **options: Any) -> None:
        super().__init__(network, **{**options, "channels": "RGB"})


class OverlooksHead(Sound):
    """Takes the probabilities for the scores."""

    def run(self, images: Any, capture: Any, patch: Any = MappingProxyType({})) -> dict[str, Array]:
        values = super().run(images, (*capture, "output"), patch)
        return {name: values["output" if name == "scores" else name] for name in capture}


class TellsNoHead(Sound):
    """Finds the scores before the softmax and does not say that there is one."""

    def discover(self, size: tuple[int, int]) -> Outline:
        return replace(super().discover(size), head="linear")


class ListsLayersAsDefined(Sound):
    """Lists the layers in another order than that in which they run."""

    def discover(self, size: tuple[int, int]) -> Outline:
        outline = super().discover(size)
        return replace(outline, layers=dict(sorted(outline.layers.items(), key=lambda item: item[1].kind)))


class CapturesWhatReluOverwrote(Sound):
    """Keeps a reference to an activation that a ReLU then changes in place."""

    def run(self, images: Any, capture: Any, patch: Any = MappingProxyType({})) -> dict[str, Array]:
        names = list(self.network.layers)
        after = {name: names[names.index(name) + 1] for name in capture if name.startswith("conv")}
        rectified = {n: relu for n, relu in after.items() if isinstance(self.network.layers[relu], Relu)}
        values = super().run(images, (*capture, *rectified.values()), patch)
        return {name: values[rectified.get(name, name)] for name in capture}


class SwapsAxes(Sound):
    """Shows activations with rows and columns swapped."""

    def run(self, images: Any, capture: Any, patch: Any = MappingProxyType({})) -> dict[str, Array]:
        values = super().run(images, capture, patch)
        return {k: self.xp.permute_dims(v, (0, 2, 1, 3)) if v.ndim == 4 else v for k, v in values.items()}


class DifferentiatesPreparedImage(Sound):
    """Forgets that the gradient goes back through the division by std."""

    def slopes(self, found: dict[str, Any]) -> dict[str, Any]:
        return {k: v * np.float32(self.spec.std) if k == "images" else v for k, v in found.items()}


class CountsDeepReluTwice(Sound):
    """Registers its hook again for every ReLU, so that the gradient of deeper networks doubles."""

    def slopes(self, found: dict[str, Any]) -> dict[str, Any]:
        relus = sum(isinstance(layer, Relu) for layer in self.network.layers.values())
        return {k: v * relus if k == "images" and relus else v for k, v in found.items()}


class NegatesGradientAtLayer(Sound):
    """Gives the gradient of the loss, as in training, where that of the score is wanted."""

    def slopes(self, found: dict[str, Any]) -> dict[str, Any]:
        return found | {"layers": {name: -slope for name, slope in found.get("layers", {}).items()}}


class FlipsKernel(Sound):
    """Convolves as mathematicians do."""

    def conv2d(self, images: Array, kernel: Array, stride: int = 1) -> Array:
        return super().conv2d(images, self.xp.flip(kernel, axis=(0, 1)), stride)


class TakesColumnsForRows(Sound):
    """Samples with the axes of the maps exchanged."""

    def resample(self, images: Array, maps: Array, size: tuple[int, int], beyond: float) -> Array:
        return super().resample(images, self.xp.flip(maps, axis=1), size, beyond)


class IgnoresPatch(Sound):
    """Runs the layers as they are."""

    def run(self, images: Any, capture: Any, patch: Any = MappingProxyType({})) -> dict[str, Array]:
        return super().run(images, capture)


class ShowsKernelsItsOwnWay(Sound):
    """Shows kernels with their output channels before the input channels."""

    def run(self, images: Any, capture: Any, patch: Any = MappingProxyType({})) -> dict[str, Array]:
        def its_own(patch: Patch) -> Patch:
            if not isinstance(patch, LinearPatch):
                return patch
            return LinearPatch(lambda a, product: patch.function(a, lambda x, k: product(x, self.swapped(k))))

        return super().run(images, capture, {name: its_own(one) for name, one in patch.items()})

    def swapped(self, patch: Patch) -> Patch:
        """The patch of a kernel, of which it sees the last two axes exchanged."""
        return lambda kernel: self.xp.moveaxis(patch(self.xp.moveaxis(kernel, -1, -2)), -1, -2)


class KeepsBatch(Sound):
    """Goes on with as many images as came in, whatever a patch returned."""

    def run(self, images: Any, capture: Any, patch: Any = MappingProxyType({})) -> dict[str, Array]:
        return super().run(images, capture, {k: lambda a, p=p: p(a)[: a.shape[0]] for k, p in patch.items()})


class IgnoresRule(Sound):
    """Offers changed ReLUs and gives the plain gradient."""

    def ruled(self, rule: Any) -> Model:
        return self.inner


class ForgetsUpperEnd(Sound):
    """Takes a ReLU6 for a ReLU in guided backprop."""

    def ruled(self, rule: Any) -> Model:
        return super().ruled(self.guided if rule == "guided" else rule)

    @staticmethod
    def guided(xp: Any, x: Array, y: Array, g: Array, plain: Array) -> Array:
        """What passes where the input is above 0, and also where it is above 6."""
        return xp.maximum(g, xp.zeros_like(g)) * (x > 0)


class PassesWithoutRelu(Sound):
    """Gives the plain gradient where a rule has nothing to change."""

    def ruled(self, rule: Any) -> Model:
        has = any(isinstance(layer, Relu) for layer in self.network.layers.values())
        return super().ruled(rule if has else None)


class MixesImages(Sound):
    """Normalises by the batch, like batch normalisation that was left in training mode."""

    def run(self, images: Any, capture: Any, patch: Any = MappingProxyType({})) -> dict[str, Array]:
        count = 3 / images.shape[0]
        return {k: v * count for k, v in super().run(images, capture, patch).items()}


class WritesToInput(Sound):
    """Prepares the user's own array in place."""

    def compile(self, program: Callable[..., dict[str, Array]], static: Any) -> Callable[..., dict[str, Any]]:
        def compiled(image: Any, *trees: Any) -> dict[str, Any]:
            found = super(WritesToInput, self).compile(program, static)(image, *trees)
            image.setflags(write=True)
            np.clip(image, 0, 0.5, out=image)
            return found

        return compiled


class NeedsWritableInput(Sound):
    """Passes the user's array to a function that works in place, though it changes nothing."""

    def compile(self, program: Callable[..., dict[str, Array]], static: Any) -> Callable[..., dict[str, Any]]:
        def compiled(image: Any, *trees: Any) -> dict[str, Any]:
            image *= 1
            return super(NeedsWritableInput, self).compile(program, static)(image, *trees)

        return compiled


class LeavesHookBehind(Sound):
    """Removes its hooks only if the run comes to its end."""

    left: Mapping[str, Patch] = MappingProxyType({})

    def run(self, images: Any, capture: Any, patch: Any = MappingProxyType({})) -> dict[str, Array]:
        if self.left:
            return super().run(images * 0.5, capture, patch)
        self.left = patch
        values = super().run(images, capture, patch)
        self.left = MappingProxyType({})
        return values


class SwallowsErrors(Sound):
    """Turns every error into its own."""

    def run(self, images: Any, capture: Any, patch: Any = MappingProxyType({})) -> dict[str, Array]:
        try:
            return super().run(images, capture, patch)
        except Exception:
            return super().run(images, capture)


class Wavers(Sound):
    """Sums in another order each time, which shows in the last bit."""

    calls = 0

    def slopes(self, found: dict[str, Any]) -> dict[str, Any]:
        Wavers.calls += 1
        return {k: v * np.float32(1 + 2e-7 * (Wavers.calls % 2)) if k == "images" else v for k, v in found.items()}


class SharesRule(Sound):
    """Keeps the rule in one place for all threads."""

    shared: ClassVar[dict[str, Any]] = {}

    def run(self, images: Any, capture: Any, patch: Any = MappingProxyType({})) -> dict[str, Array]:
        self.shared["rule"] = self.rule
        time.sleep(0.002)
        return self.ruled(self.shared["rule"]).run(images, capture, patch)


class RaisesItsOwnErrors(Sound):
    """Lets the framework's error through when a layer is not there."""

    def run(self, images: Any, capture: Any, patch: Any = MappingProxyType({})) -> dict[str, Array]:
        unknown = set(capture) - {*self.network.layers, "scores", "output"}
        return super().run(images, capture, patch) if not unknown else {}[unknown.pop()]


class CountsFromOne(Sound):
    """Has an array namespace of its own, one of whose functions is wrong."""

    def __init__(self, network: Network, **options: Any) -> None:
        super().__init__(network, **options)
        self.xp = SimpleNamespace(**{n: getattr(self.inner.xp, n) for n in dir(np) if hasattr(self.inner.xp, n)})
        self.xp.argmax = lambda x, axis: self.inner.xp.argmax(x, axis=axis) * 0 + 1


class ChangesItsOwnWeights(Sound):
    """Puts the other weights into the network itself."""

    def replace_weights(self, values: Mapping[str, NDArray[Any]]) -> Self:
        self.inner = self.inner.replace_weights(values)
        return self


class GivesItsWeightsAway(Sound):
    """Shows the weights themselves, where copies are promised."""

    def read_weights(self) -> Mapping[str, NDArray[Any]]:
        names = [name.split(".") for name in super().read_weights()]
        return {f"{layer}.{own}": getattr(self.inner.network.layers[layer], own) for layer, own in names}


class NamesWeightsByItself(Sound):
    """Calls weights by numbers, in which no layer can be found."""

    def read_weights(self) -> Mapping[str, NDArray[Any]]:
        return {f"w{number}": weight for number, weight in enumerate(super().read_weights().values())}

    def replace_weights(self, values: Mapping[str, NDArray[Any]]) -> Self:
        names = list(super().read_weights())
        return super().replace_weights({names[int(name[1:])]: weight for name, weight in values.items()})


class KeepsFirstBinding(Shifted):
    """Keeps one program, with the first arrays that were bound built in."""

    def __init__(self, network: Network, **options: Any) -> None:
        super().__init__(network, **options)
        self.kept: dict[str, Array] = {}

    def shift(self, images: Array) -> Array:
        return self.kept.setdefault("shift", super().shift(images)[:1])
