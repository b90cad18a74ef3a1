"""Backends and explainers with one mistake each, of the kind that people make, and the checks that find it.

The conformance kit must find every one of them, by the check made for it, and let it pass all checks that look at
something else.
"""

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType, SimpleNamespace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from agnoscope import Explainer, Model, wrap
from agnoscope.backends.reference import Network, Relu
from agnoscope.explainers.base import StepExplainer, input_gradient
from agnoscope.inputs import Input, Inputs
from agnoscope.model import RESERVED, Outline
from agnoscope.patches import Array, LinearPatch, Patch
from agnoscope.target import Bound
from agnoscope.testing import Backend


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


class Transposes(StepExplainer):
    """Swaps rows and columns of its values."""

    name, reduction = "transposes", "max-abs"

    def step(self, model: Model, images: Array, target: Bound) -> dict[str, Array]:
        found = input_gradient(model, images, target)
        return found | {"values": model.xp.permute_dims(found["values"], (0, 2, 1, 3))}


class NormalisesByBatch(StepExplainer):
    """Divides by the largest value of all images."""

    name, reduction = "normalises-by-batch", "max-abs"

    def step(self, model: Model, images: Array, target: Bound) -> dict[str, Array]:
        found = input_gradient(model, images, target)
        return found | {"values": found["values"] / model.xp.max(model.xp.abs(found["values"]))}


class Draws(StepExplainer):
    """Draws random numbers without a seed."""

    name, reduction = "draws", "max-abs"

    def step(self, model: Model, images: Array, target: Bound) -> dict[str, Array]:
        found = input_gradient(model, images, target)
        noise = np.random.default_rng().normal(size=found["values"].shape).astype(np.float32)
        return found | {"values": found["values"] * (1 + 1e-6 * noise)}


class IsHeavy(StepExplainer):
    """Lives in a module that imports a framework."""

    name, reduction = "is-heavy", "max-abs"

    def step(self, model: Model, images: Array, target: Bound) -> dict[str, Array]:
        return input_gradient(model, images, target)


for explainer in (Transposes, NormalisesByBatch, Draws, IsHeavy):
    dataclass(frozen=True)(explainer)
IsHeavy.__module__ = "heavy"


def of(flaw: type[Sound], **more: Any) -> Backend:
    """A backend under test that has this flaw."""
    return Backend(flaw.__name__, flaw, **more)


FLAWS: list[tuple[Backend | Explainer, str]] = [
    (of(ForgetsOrderOfChannels), "check_output"),
    (of(OverlooksHead), "check_head"),
    (of(TellsNoHead), "check_head"),
    (of(ListsLayersAsDefined), "check_layers"),
    (of(CapturesWhatReluOverwrote), "check_activation check_explainers"),
    (of(SwapsAxes), "check_activation check_gradient_at_layer check_explainers"),
    (of(DifferentiatesPreparedImage), "check_gradient"),
    (of(CountsDeepReluTwice), "check_finite_differences check_explainers"),
    (of(NegatesGradientAtLayer), "check_gradient_at_layer check_explainers"),
    (of(FlipsKernel), "check_convolution"),
    (of(TakesColumnsForRows), "check_resampling"),
    (of(ShowsKernelsItsOwnWay), "check_kernels"),
    (of(KeepsBatch), "check_patch"),
    (of(IgnoresPatch), "check_patch check_gradient_at_layer check_state_restored check_kernels check_explainers"),
    (of(ForgetsUpperEnd), "check_relu_rules"),
    (of(IgnoresRule), "check_relu_rules check_relu_rule_without_relu check_explainers"),
    (of(PassesWithoutRelu), "check_relu_rule_without_relu"),
    (of(MixesImages), "check_batch_independence check_patch check_explainers"),
    (of(WritesToInput), "check_input_untouched check_relu_rules check_parameters check_explainers"),
    (of(NeedsWritableInput), "check_input_untouched"),
    (of(LeavesHookBehind), "check_state_restored"),
    (of(SwallowsErrors), "check_state_restored"),
    (of(Wavers), "check_determinism"),
    (of(SharesRule), "check_threads"),
    (of(RaisesItsOwnErrors), "check_errors"),
    (of(CountsFromOne), "check_explainers"),
    (of(ChangesItsOwnWeights), "check_parameters"),
    (of(GivesItsWeightsAway), "check_parameters"),
    (of(NamesWeightsByItself), "check_parameters"),
    (Backend("KeepsFirstBinding", Sound, build_shifted=KeepsFirstBinding), "check_inputs"),
    (of(Sound, entry="heavy"), "check_light_import"),
    (
        of(Sound, fingerprint=lambda model, seen=[]: seen.append(0) or len(seen)),
        "check_state_restored check_parameters",
    ),
    (Transposes(), "check_explainer_shape"),
    (NormalisesByBatch(), "check_explainer_batch"),
    (Draws(), "check_explainer_batch"),
    (IsHeavy(), "check_explainer_imports_no_framework"),
]
