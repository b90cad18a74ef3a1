"""What every explainer is: a frozen dataclass of options that turns images and a target into an explanation.

Two levels. `step` is array-API code and gets compiled: no NumPy, no framework. `attribute` runs on the host:
the loop over chunks, random draws, accumulation. Most methods are one of two kinds: a `StepExplainer` is done in one
compiled step, an `ImageByImage` sends one image through the network many times. A wrapper, such as SmoothGrad, calls
another explainer's `attribute`. The shell that users call is in `call.py`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from agnoscope.batches import chunks
from agnoscope.errors import OptionError
from agnoscope.explanation import Reduction
from agnoscope.gradients import Gradients, gradients
from agnoscope.images import ImageLike
from agnoscope.model import Model
from agnoscope.patches import Array
from agnoscope.target import Bound, Formula, Target

if TYPE_CHECKING:
    from agnoscope.explanation import Explanation

Progress: TypeAlias = Callable[[int, int], None]
"""Called with what is done and the total, in images or samples."""


def silent(done: int, total: int) -> None:
    """A `Progress` that nobody follows."""


@dataclass(frozen=True)
class Attribution:
    """What `attribute` gives, as NumPy arrays with the images as leading axis.

    Attributes:
        values: shape (images, height, width) or (images, height, width, channels); a layer without maps has its own
            shape.
        scores: shape (images,), the target's value on the clean image.
        output: the network's scores, where the run gave them.
        extras: name to further numbers for each image, such as the completeness error of integrated gradients.
        notes: sentences for the user about this run.
    """

    values: NDArray[Any]
    scores: NDArray[Any]
    output: NDArray[Any] | None = None
    extras: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Explainer(ABC):
    """An attribution method. Subclasses are final, frozen dataclasses whose fields are its options.

    Random methods have a field `seed`; every image draws from a generator of its own, so that it gets the same
    explanation alone and among others.

    Attributes:
        name: under which `agnoscope.explain` and the command line know it.
    """

    name: ClassVar[str]

    @property
    def needs(self) -> frozenset[str]:
        """Abilities of `Model.can` that it cannot do without."""
        return frozenset()

    @property
    @abstractmethod
    def reduction(self) -> Reduction:
        """How its paper makes one map of the values; see `Explanation.maps`."""

    @abstractmethod
    def attribute(
        self, model: Model, images: NDArray[Any], target: Bound, batch_size: int, progress: Progress
    ) -> Attribution:
        """Explain images that are ready; runs on the host.

        Args:
            model: the network.
            images: shape (images, height, width, channels), in the network's bounds and dtype.
            target: bound to these images.
            batch_size: how many images or samples may go through the network at once.
            progress: to be called as work gets done.
        """

    def settle(self, model: Model, size: tuple[int, int]) -> Self:  # noqa: ARG002
        """These options with every automatic choice made, for a network and an image size.

        Raises:
            LayerError: the layer asked for is not there, or unfit.
            OptionError: an option does not suit the images.
        """
        return self

    def asked(self, target: Target) -> Target:
        """What is asked in the user's stead: the target itself, unless this is, or wraps, a recipe of its own."""
        return target

    def doubts(self, model: Model, size: tuple[int, int]) -> tuple[str, ...]:  # noqa: ARG002
        """Sentences for the result about what this method cannot see in this network."""
        return ()

    def __call__(
        self,
        model: Any,
        images: ImageLike,
        target: Any = None,
        *,
        batch_size: int | None = None,
        progress: Progress | None = None,
    ) -> "Explanation":
        """Explain one image or several.

        Args:
            model: what `agnoscope.wrap` returned, or a network that it can wrap by itself.
            images: path, PIL image, uint8 or float array, tensor, or a sequence of these.
            target: class number or label, a list with one per image, a `Target`, or a function of the run;
                by default the class that the network answers first.
            batch_size: how many images or samples go through the network at once; by default as many as keep
                its largest activation below 32 MiB. Halved where memory runs out, which the result tells.
            progress: called with what is done and the total.

        Raises:
            ImageError: an image cannot be read or does not fit.
            TargetError: the network has no such class, label, neuron or channel.
            LayerError: it has no such layer.
            OptionError: an option is out of range.
            CapabilityError: the network lacks what the method needs, for example ReLUs.
            NonFiniteError: the network gives NaN or infinity; the message names the first layer that does.
            OutOfMemoryError: not even one image at a time fits.
            ModelError: no backend knows the network.
        """
        from agnoscope.explainers.call import call

        return call(self, model, images, target, batch_size, progress)


class Wrapper(Explainer):
    """An explainer made of another one, its field `explainer`, for which the name of a method will do.

    What it needs, looks at, asks and doubts is what the other one does.
    """

    explainer: Explainer

    def __post_init__(self) -> None:
        object.__setattr__(self, "explainer", as_explainer(self.explainer))

    @property
    def needs(self) -> frozenset[str]:
        return self.explainer.needs

    @property
    def reduction(self) -> Reduction:
        return self.explainer.reduction

    @property
    def layer(self) -> str | None:
        """The other one's layer, if it looks at one."""
        return getattr(self.explainer, "layer", None)

    @property
    def seed(self) -> int | None:
        """The other one's seed, if it draws at random."""
        return getattr(self.explainer, "seed", None)

    def settle(self, model: Model, size: tuple[int, int]) -> Self:
        return replace(self, explainer=self.explainer.settle(model, size))  # type: ignore[type-var]

    def asked(self, target: Target) -> Target:
        return self.explainer.asked(target)

    def doubts(self, model: Model, size: tuple[int, int]) -> tuple[str, ...]:
        return self.explainer.doubts(model, size)


class StepExplainer(Explainer):
    """An explainer whose whole work is one compiled step per chunk of images."""

    @abstractmethod
    def step(self, model: Model, images: Array, target: Bound) -> dict[str, Array]:
        """The method's formula, in array-API code.

        Returns:
            "values", "scores", and "output" where the run gave it; `answer` makes it of a `Gradients`. Whatever else
            it returns goes into the extras.
        """

    def attribute(
        self, model: Model, images: NDArray[Any], target: Bound, batch_size: int, progress: Progress
    ) -> Attribution:
        compiled = model.compile(_step_program, (self, target.formula))
        parts = []
        progress(0, len(images))
        for rows, kept in chunks(len(images), batch_size):
            whole = len(rows) == len(images)  # then there is nothing to take out, nor to copy
            found = compiled(images if whole else images[rows], (target if whole else target.take(rows)).arrays)
            parts.append({name: value[:kept] for name, value in found.items()})
            progress(min(int(rows[kept - 1]) + 1, len(images)), len(images))
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        values, scores, output = joined.pop("values"), joined.pop("scores"), joined.pop("output", None)
        return Attribution(values, scores, output, joined)


def _step_program(
    model: Model, static: tuple[StepExplainer, Formula], images: Array, arrays: Mapping[str, Any]
) -> dict[str, Array]:
    explainer, formula = static
    return explainer.step(model, images, Bound(formula, arrays, "", ()))


@dataclass(frozen=True)
class OneImage:
    """What `ImageByImage.attribute_one` works with.

    Attributes:
        model: the network.
        image: shape (height, width, channels), in the network's bounds and dtype.
        target: bound to this image, the automatic choices settled on the clean one: a changed image must not change
            which class is asked for.
        score: the target's value on the clean image.
        batch_size: how many samples may go through the network at once.
        tick: to be called with how many of the `looks` are done.
    """

    model: Model
    image: NDArray[Any]
    target: Bound
    score: float
    batch_size: int
    tick: Callable[[int], None]

    def arrays(self, count: int) -> Mapping[str, Any]:
        """The target's arrays for so many samples of this image."""
        return self.target.take(np.zeros(count, dtype=np.intp)).arrays

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.image.shape[0], self.image.shape[1]


class ImageByImage(Explainer):
    """An explainer that looks at one image many times."""

    @abstractmethod
    def looks(self, model: Model, size: tuple[int, int]) -> int:
        """How many samples of one image go through the network, at the most; for the progress."""

    @abstractmethod
    def attribute_one(self, one: OneImage) -> Attribution:
        """Explain one image.

        Returns:
            Values, extras and notes without the leading axis; scores and output are filled in from the clean run.
        """

    def attribute(
        self, model: Model, images: NDArray[Any], target: Bound, batch_size: int, progress: Progress
    ) -> Attribution:
        clean = model.compile(score_program, target.formula)
        looks = self.looks(model, (images.shape[1], images.shape[2]))
        total = len(images) * looks
        found: list[Attribution] = []
        scores: list[NDArray[Any]] = []
        outputs: list[Any] = []
        done = 0

        def reach(now: int) -> None:
            nonlocal done
            if now > done:
                done = now
                progress(now, total)

        progress(0, total)
        for i, image in enumerate(images):
            mine = target.take(np.array([i]))
            run = clean(image[None], mine.arrays)
            scores.append(run["scores"])
            outputs.append(run.get("output"))
            frozen = mine.freeze(outputs[-1], None)

            def tick(looked: int, before: int = i * looks) -> None:
                reach(before + min(looked, looks))

            found.append(self.attribute_one(OneImage(model, image, frozen, float(run["scores"][0]), batch_size, tick)))
            reach((i + 1) * looks)
        return Attribution(
            np.stack([one.values for one in found]),
            np.concatenate(scores),
            None if outputs[0] is None else np.concatenate(outputs),
            {name: np.stack([one.extras[name] for one in found]) for name in found[0].extras},
            tuple(dict.fromkeys(note for one in found for note in one.notes)),
        )


def score_program(model: Model, formula: Formula, images: Array, arrays: Mapping[str, Any]) -> dict[str, Array]:
    """Program: the target's value on images, and the network's scores where the target reads them."""
    values = model.run(images, formula.needs)
    output = {"output": values["scores"]} if "scores" in values else {}
    return {"scores": formula(model.xp, values, arrays), **output}


def answer(values: Array, found: Gradients) -> dict[str, Array]:
    """What `step` returns: the values, beside what the same pass told of the scores."""
    output = {"output": found.values["scores"]} if "scores" in found.values else {}
    return {"values": values, "scores": found.scores, **output}


def slope(
    model: Model, images: Array, target: Bound, layer: str | None = None, capture: tuple[str, ...] = ()
) -> tuple[Array, Gradients]:
    """The gradient of each image's score with respect to the image, or to a layer's activation.

    Returns:
        The gradient, shape (images, height, width, channels) or the layer's, and all that the pass gave.
    """
    at = () if layer is None else (layer,)
    found = gradients(model, images, target, needs=target.needs, at=at, capture=capture, wrt_images=layer is None)
    return (found.images if layer is None else found.layers[layer]), found


def input_gradient(model: Model, images: Array, target: Bound, layer: str | None = None) -> dict[str, Array]:
    """That gradient as what `step` returns: what saliency and its kin are made of."""
    gradient, found = slope(model, images, target, layer)
    return answer(gradient, found)


def full_name(model: Model, layer: str | None, size: tuple[int, int]) -> str | None:
    """The layer's whole name, or None for the image itself.

    Raises:
        LayerError: there is no such layer.
    """
    return None if layer is None else model.layer(layer, size).name


def as_explainer(given: Any) -> Explainer:
    """An explainer from what a user writes: itself, or the name of a method with its default options.

    Raises:
        OptionError: it is neither.
    """
    if isinstance(given, str):
        from agnoscope.api import make_explainer

        made: Explainer = make_explainer(given, {})
        return made
    if isinstance(given, type) and issubclass(given, Explainer):
        raise OptionError(f"{given.__name__} is a class: call it, ag.{given.__name__}().")
    if not isinstance(given, Explainer):
        raise OptionError(f"A {type(given).__name__} is no explainer: give one, such as ag.Saliency(), or its name.")
    return given


def record(explainer: Explainer) -> dict[str, Any]:
    """An explainer's options for the result, those of a wrapped explainer among them; ready for JSON."""
    return {option.name: _plain(getattr(explainer, option.name)) for option in fields(explainer)}  # type: ignore[arg-type]


def _plain(value: Any) -> Any:
    if isinstance(value, Explainer):
        return {"method": value.name, **record(value)}
    if isinstance(value, tuple | list):
        return tuple(_plain(item) for item in value)
    if isinstance(value, np.generic):
        return value.item()
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
