"""The protocol: what a backend gives an explainer.

A `Model` is a trained network seen through six members, the same in every framework: the array
namespace `xp`, what it `can` do, `discover`, `run`, `value_and_grad` and `compile`. Everything else here
is written once, on top of them. Explainers know this file and no framework; backends know this file
and no explainer.

Arrays are the framework's own. Images are channels-last, in the bounds that the user speaks of
((0, 1) unless told otherwise), and so are activations with two spatial axes.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Self, TypeAlias

from numpy.typing import NDArray

from agnoscope.arrays import affine_samples, convolved
from agnoscope.errors import AgnoscopeError, CapabilityError, LayerError, nearest
from agnoscope.images import InputSpec
from agnoscope.inputs import Inputs
from agnoscope.patches import Array, Patch
from agnoscope.tokens import last_tokens, with_grids
from agnoscope.weights import fitting, in_order_of

ReluRule: TypeAlias = str | Callable[[Any, Array, Array, Array, Array], Array]
"""How a ReLU goes backward: "guided", "deconvnet", or `rule(xp, x, y, g, plain) -> gradient`."""

Head: TypeAlias = Literal["softmax", "sigmoid", "linear"]

RESERVED = ("scores", "output")
"""Names that `run` knows beside the layers: the values before the softmax or sigmoid, and the output."""


@dataclass(frozen=True)
class Layer:
    """One layer's activation, as it showed in a recorded run.

    Attributes:
        name: the path under which the framework knows it; a second use of the same layer is `name@1`.
        kind: the same word in every framework: "conv", "dense", "norm", "relu", "pool", "softmax",
            "activation" (any other one), "add", "block" (a layer of layers) or "other".
        shape: of the activation without the batch, channels last.
        type: the framework's own name for it, such as "Conv2d".
        grid: (height, width, tokens skipped) where the activation is a list of tokens that lie so in the image, after
            a class token or registers; see `agnoscope.tokens`. It follows from the shapes, and so is not compared.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    type: str = ""
    grid: tuple[int, int, int] | None = field(default=None, compare=False)

    @property
    def spatial(self) -> bool:
        """Whether the activation is a map: (height, width, channels), larger than one pixel, or tokens in a grid."""
        return self.grid is not None or (len(self.shape) == 3 and self.shape[0] * self.shape[1] > 1)


@dataclass(frozen=True)
class Outline:
    """What one recorded run at one image size shows.

    Attributes:
        layers: name to layer, in the order in which their outputs were ready.
        scores: shape of the scores without the batch.
        head: what turns the scores into the output; "linear" where the output is the scores.
        notes: sentences for the user about what the backend could not see.
    """

    layers: Mapping[str, Layer]
    scores: tuple[int, ...]
    head: Head
    notes: tuple[str, ...] = ()

    @cached_property
    def largest(self) -> int:
        """How many numbers the largest activation of an image has."""
        return max((prod(layer.shape) for layer in self.layers.values()), default=0)


class Model(ABC):
    """A network that can be explained. Made by `agnoscope.wrap`; the network itself is never changed.

    Attributes:
        backend: the name of the backend, for example "torch".
        versions: distribution to version of what computes, for the record.
        xp: array API namespace of the network's own arrays; the same names in every framework.
        can: what this network can do: any of "capture", "patch", "gradient", "relu", "weights".
        dtype: of the network's parameters, as a NumPy name: "float32", or "float64" where it has it.
        spec: what the network expects of an image.
        labels: names of the classes, or None.
        rule: how ReLUs go backward; None is the plain gradient.
        inputs: which inputs the network has; unknown unless the backend says.
        bound: name to array of the inputs that `bind` fixed, each of one example: NumPy's on the host, and the
            framework's own in a compiled program, whose arguments they are.
        binding: name, shape and dtype of each, by which runs are told apart.
        batch_limits: how many images at once turned out to fit into memory, where it ran out before.
        measured: what explainers found out about its structure by a run, by names of their own, size and binding.
    """

    EVERYTHING: ClassVar[frozenset[str]] = frozenset({"capture", "patch", "gradient", "relu", "weights"})

    backend: str
    versions: Mapping[str, str]
    xp: Any
    can: frozenset[str] = EVERYTHING
    dtype: str
    spec: InputSpec
    labels: tuple[str, ...] | None
    rule: ReluRule | None = None
    inputs: Inputs = Inputs()
    bound: Mapping[str, Array] = MappingProxyType({})
    binding: tuple[tuple[str, tuple[int, ...], str], ...] = ()

    def __init__(self, spec: InputSpec, labels: Sequence[str] | None = None) -> None:
        self.spec = spec
        self.labels = tuple(labels) if labels is not None else None
        self._outlines: dict[tuple[tuple[int, int], Hashable], Outline] = {}  # by size and binding
        self._token_layers: dict[tuple[tuple[int, int], Hashable], Layer | None] = {}  # by size and binding
        self.batch_limits: dict[Hashable, int] = {}
        self.measured: dict[Hashable, Any] = {}

    @abstractmethod
    def discover(self, size: tuple[int, int]) -> Outline:
        """Record one run on an image of this size and tell what ran. Called once per size.

        Args:
            size: height and width of the image in pixels.
        """

    @abstractmethod
    def run(
        self, images: Array, capture: Sequence[str], patch: Mapping[str, Patch] = MappingProxyType({})
    ) -> dict[str, Array]:
        """Run the network and return exactly the named values. To be called inside a compiled program.

        Args:
            images: shape (images, height, width, channels), within the bounds of `spec`.
            capture: names of layers, "scores" or "output". Values are taken after the patches; the run may
                stop as soon as the last one is known.
            patch: layer name to a function of its activation; a `LinearPatch` may also ask the layer for products.

        Raises:
            LayerError: a named layer did not run.
            CapabilityError: a rule for ReLUs is set and no ReLU was met.
            CapabilityError: a layer is asked for products that cannot tell them.
        """

    def value_and_grad(self, function: Callable[..., tuple[Array, Any]]) -> Callable[..., Any]:
        """Differentiate `function(tree, *rest) -> (scalar, aux)` with respect to its first argument.

        Returns:
            A function of the same arguments that returns `((scalar, aux), gradients)`, where the gradients
            have the structure of the first argument: a dictionary, nested at will, of arrays.
            To be called inside a compiled program. A backend without gradients need not have it.
        """
        del function
        raise CapabilityError(f"The {self.backend} backend has no gradients. Use a method without them: occlusion.")

    @abstractmethod
    def compile(self, program: Callable[..., dict[str, Array]], static: Hashable) -> Callable[..., dict[str, Any]]:
        """Make `program(model, static, *trees)` callable from the host, compiled once.

        Args:
            program: a module-level function. It receives this model, the static options and the arrays.
            static: hashable options; equal ones share the compiled program.

        Returns:
            A function of trees (arrays in nested dictionaries) of NumPy arrays that returns NumPy arrays.
            One program is kept per (program, static, ReLU rule) and per set of shapes and dtypes.
        """

    def conv2d(self, images: Array, kernel: Array, stride: int = 1) -> Array:
        """Convolve as networks do: not flipped, and without padding. To be called inside a compiled program.

        For programs that bring weights of their own. Gradients go to the images and to the kernel. As
        `agnoscope.arrays.convolved`, which is correct everywhere; a backend gives its framework's own.

        Args:
            images: shape (images, height, width, channels in).
            kernel: shape (height, width, channels in, channels out), of the same dtype; no larger than the images.
            stride: step in both directions.

        Returns:
            Shape (images, rows, columns, channels out).
        """
        return convolved(self.xp, images, kernel, stride)

    def resample(self, images: Array, maps: Array, size: tuple[int, int], beyond: float) -> Array:
        """Sample images under affine maps, bilinearly. To be called inside a compiled program.

        As `agnoscope.arrays.affine_samples`, which is correct everywhere; a backend may give its framework's own.
        Gradients go to the images.
        """
        return affine_samples(self.xp, images, maps, size, beyond)

    def with_relu(self, rule: ReluRule) -> Self:
        """The same network with ReLUs that go backward by another rule; forward nothing changes.

        Args:
            rule: "guided" (Springenberg et al., ICLR Workshop 2015) passes what is positive at a ReLU whose
                input lies in its open window, "deconvnet" (Zeiler and Fergus, ECCV 2014) whatever is
                positive. A function `rule(xp, x, y, g, plain)` of the ReLU's input and output, the incoming
                and the plain gradient returns the gradient that goes on.

        Raises:
            CapabilityError: this backend cannot change the gradient of a ReLU.
        """
        self.require("relu", f"the {rule!r} rule for ReLUs")
        view = copy.copy(self)
        view.rule = rule
        return view

    def bind(self, **inputs: Any) -> Self:
        """The same network with all its inputs but the explained image fixed.

        Args:
            **inputs: name to array, as the network itself takes it, for one example and so without the axis of
                the batch: every image is run beside the same values. Names are those of the parameters of the
                network's call, or of its declared inputs. The image is the first input that is not bound.

        Returns:
            A view; arrays of the same shapes share its compiled programs.

        Raises:
            CapabilityError: the network has one input only, or does not tell of others.
            OptionError: a name is unknown, none is left for the image, or the network cannot run on arrays of
                these shapes, which shows here where the size of the image is known, else at the first run.
        """
        view = copy.copy(self)
        view.bound = MappingProxyType(self.inputs.bound(self.bound, inputs, self.dtype))
        view.binding = tuple((name, array.shape, array.dtype.name) for name, array in view.bound.items())
        if not self.inputs.missing(view.bound):
            view = view.settle()
            if view.spec.size is not None:
                view.outline()
        return view

    def settle(self) -> Self:
        """The view to go on with once the image is known: with the size that the network declares for it, or built."""
        return self

    def repeated(self, images: Array) -> dict[str, Array]:
        """The bound inputs for a run on these images: each repeated to the length of their batch."""
        arrays = {name: self.xp.asarray(array) for name, array in self.bound.items()}
        count = images.shape[0]
        return {name: self.xp.broadcast_to(a[None, ...], (count, *a.shape)) for name, a in arrays.items()}

    def read_weights(self) -> Mapping[str, NDArray[Any]]:
        """Copies of the weights under the names that `parameters` tells of, in the framework's order.

        A backend without weights need not have it.
        """
        raise CapabilityError(f"The {self.backend} backend does not show its weights.")

    def replace_weights(self, values: Mapping[str, NDArray[Any]]) -> Self:
        """The model of a copy of the network with these weights, of known names and right shapes and dtypes.

        A backend without weights need not have it.
        """
        del values
        raise CapabilityError(f"The {self.backend} backend cannot change weights.")

    def parameters(self) -> dict[str, NDArray[Any]]:
        """Every trained weight and statistic that the network computes with, as copies.

        Returns:
            `<layer name>.<own name>` to array, float32 or float64, shaped as the framework has it; a tied weight
            shows once. In the order in which their layers run, where the image size is known or a run was
            recorded, else in the framework's order.

        Raises:
            CapabilityError: "weights" is not in `can`.
        """
        self.require("weights", "reading weights")
        known = self.spec.size is not None and not self.inputs.missing(self.bound)
        layers = self.layers() if known else next((each.layers for each in self._outlines.values()), {})
        return in_order_of(layers, self.read_weights())

    def with_parameters(self, changed: Mapping[str, Any]) -> Self:
        """The model of a copy of the network in which some weights are others, for example random ones.

        Args:
            changed: name to array of the same shape, as `parameters` has them; weights not named stay as they
                are at this moment.

        Raises:
            CapabilityError: "weights" is not in `can`, or the network cannot be copied.
            OptionError: there is no such weight, or its shape is another one.
        """
        self.require("weights", "changing weights")
        return self.replace_weights(fitting(changed, self.read_weights()))

    def __repr__(self) -> str:
        """For example `<TorchModel of (224, 224), meta bound>`."""
        return f"<{type(self).__name__} of {self.spec.size or 'any size'}{''.join(f', {n} bound' for n in self.bound)}>"

    def centre(self, dtype: Any) -> Array:
        """The colour that the network receives as zeros, in the bounds of an image; inside a compiled program."""
        return self.xp.asarray(self.spec.centre, dtype=dtype)

    def require(self, ability: str, purpose: str) -> None:
        """Refuse what this network cannot do.

        Raises:
            CapabilityError: `ability` is not in `can`.
        """
        if ability not in self.can:
            raise CapabilityError(
                f"{purpose} needs '{ability}', which this {self.backend} network does not offer "
                f"(it can: {', '.join(sorted(self.can)) or 'only run'}). Use a method without it: occlusion."
            )

    def outline(self, size: tuple[int, int] | None = None) -> Outline:
        """Layers, head and score shape at an image size (height, width); by default the network's own.

        Raises:
            OptionError: no size is given here and none was given to `wrap`.
            OptionError: an input beside the image is not bound, or not in the right shape.
            ModelError: the network cannot run on an image of this size and depth.
        """
        size = self.spec.size_or(size)
        key = (size, self.binding)
        if key not in self._outlines:
            try:
                self._outlines[key] = with_grids(self.discover(size), size)
            except AgnoscopeError:
                raise
            except Exception as error:  # whatever the framework or the network raises
                pixels = f"{size[0]} × {size[1]} pixels of {self.spec.depth} channels"
                raise self.inputs.refusal(pixels, self.bound, error) from error
        return self._outlines[key]

    def layers(self, size: tuple[int, int] | None = None) -> Mapping[str, Layer]:
        """The layers that ran, in execution order, at an image size (height, width) in pixels.

        Raises:
            OptionError: no size is given here and none was given to `wrap`.
        """
        return self.outline(size).layers

    def layer(self, name: str, size: tuple[int, int] | None = None) -> Layer:
        """The layer of this name; any ending of a path that only one layer has will do.

        Raises:
            LayerError: no layer, or several, have this name; the message lists candidates.
        """
        layers = self.layers(size)
        if not isinstance(name, str):
            raise LayerError(f"A layer is asked for by its name, not by {name!r}: model.layers() lists the names.")
        if name in layers:
            return layers[name]
        found = [known for known in layers if known.endswith(("." + name, "/" + name))]
        if len(found) == 1:
            return layers[found[0]]
        if found:
            raise LayerError(
                f"The layer {name!r} is ambiguous: it ends the names {nearest(name, found)}. Write one of them in full."
            )
        raise LayerError(
            f"The network has no layer {name!r}. Near it: {nearest(name, layers)}. model.layers() lists all that ran."
        )

    def last_map(self, size: tuple[int, int] | None = None) -> Layer:
        """The end of the last convolutional stage: what Grad-CAM looks at unless told otherwise.

        It is the last layer that has the shape which the last convolution or normalisation gives, hence after its
        activation and addition, and before any pooling. In a vision transformer it is the last normalised list of
        tokens on whose patches the answer depends, which takes one pass to find out.

        Raises:
            LayerError: no layer has spatial axes.
        """
        size = self.spec.size_or(size)
        key = (size, self.binding)
        if key not in self._token_layers:
            self._token_layers[key] = last_tokens(self, size)
        if (tokens := self._token_layers[key]) is not None:
            return tokens
        maps = [layer for layer in self.layers(size).values() if layer.spatial]
        if not maps:
            raise LayerError(
                "No layer of this network has spatial axes (height, width, channels), which this method needs. "
                "Use a method of the image itself: saliency or occlusion."
            )
        last = next((layer for layer in reversed(maps) if layer.kind in ("conv", "norm")), maps[-1])
        return next((layer for layer in reversed(maps) if layer.shape == last.shape and layer.kind != "pool"), last)
