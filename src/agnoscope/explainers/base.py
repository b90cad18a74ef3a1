"""What every explainer is: a frozen dataclass of options that turns images and a target into an explanation.

Two levels. `step` is array-API code and gets compiled: no NumPy, no framework. `attribute` runs on the host:
the loop over chunks, random draws, accumulation. `Explainer.__call__` is the shell around both: it opens the
door for the inputs, makes the automatic choices visible, and checks what came out.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from importlib.metadata import version
from math import ceil
from typing import Any, ClassVar, Final, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from agnoscope.answers import first_answers
from agnoscope.errors import NonFiniteError, OptionError
from agnoscope.explanation import Explanation, Provenance, Reduction
from agnoscope.images import ImageLike, load
from agnoscope.model import Array, Gradients, Model, gradients
from agnoscope.target import Bound, ClassScore, Formula, as_target

Progress: TypeAlias = Callable[[int, int], None]
"""Called with what is done and the total, in images or samples."""

COMFORT: Final = 32 * 2**20
"""Bytes of the largest activation of a batch; larger ones make CPUs wait for memory."""


@dataclass(frozen=True)
class Attribution:
    """What `attribute` gives, as NumPy arrays with the images as leading axis.

    Attributes:
        values: shape (images, height, width) or (images, height, width, channels).
        scores: shape (images,), the target's value on the clean image.
        output: the network's scores, where the run gave them.
    """

    values: NDArray[Any]
    scores: NDArray[Any]
    output: NDArray[Any] | None = None


class Explainer(ABC):
    """An attribution method. Subclasses are final, frozen dataclasses whose fields are its options.

    Attributes:
        name: under which `agnoscope.explain` and the command line know it.
        needs: abilities of `Model.can` that it cannot do without.
        reduction: how its paper makes one map of the values; see `Explanation.maps`.
    """

    name: ClassVar[str]
    needs: ClassVar[frozenset[str]] = frozenset()
    reduction: ClassVar[Reduction]

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
    ) -> Explanation:
        """Explain one image or several.

        Args:
            model: what `agnoscope.wrap` returned, or a network that it can wrap by itself.
            images: path, PIL image, uint8 or float array, tensor, or a sequence of these.
            target: class number or label, a list with one per image, a `Target`, or a function of the run;
                by default the class that the network answers first.
            batch_size: how many images or samples go through the network at once; by default as many as keep
                its largest activation below 32 MiB.
            progress: called with what is done and the total.

        Raises:
            ImageError: an image cannot be read or does not fit.
            TargetError: the network has no such class, label, neuron or channel.
            LayerError: it has no such layer.
            OptionError: an option is out of range.
            CapabilityError: the network lacks what the method needs, for example ReLUs.
            NonFiniteError: the network gives NaN or infinity; the message names the first layer that does.
            ModelError: no backend knows the network.
        """
        from agnoscope.api import wrap

        model = wrap(model)
        for ability in sorted(self.needs):
            model.require(ability, self.name)
        batch = load(images, model.spec, model.dtype)
        size = (batch.images.shape[1], batch.images.shape[2])
        settled = self.settle(model, size)
        asked = as_target(target)
        bound = asked.bind(model, len(batch.images), size)
        if batch_size is not None and batch_size < 1:
            raise OptionError(f"batch_size={batch_size} must be at least 1.")
        chunk = batch_size or comfortable_batch(model, size)
        with np.errstate(all="ignore"):  # what is not finite is found and named below
            found = settled.attribute(model, batch.images, bound, chunk, progress or _silent)
            check_finite(model, batch.images, found)
        frozen = bound.freeze(found.output, model.labels)
        automatic = {
            "target": asked == ClassScore(space=getattr(asked, "space", "score")),
            "batch_size": batch_size is None,
            **{
                field.name: getattr(self, field.name) is None and getattr(settled, field.name) is not None
                for field in fields(self)  # type: ignore[arg-type]
            },
        }
        dtype = np.float64 if model.dtype == "float64" else np.float32
        provenance = Provenance(
            method=self.name,
            options=asdict(settled),  # type: ignore[call-overload]
            reduction=self.reduction,
            targets=frozen.names,
            space=bound.space,
            scores=tuple(float(score) for score in found.scores),
            backend=model.backend,
            versions={"agnoscope": _own_version(), **model.versions},
            input=asdict(model.spec),
            batch_size=chunk,
            layer=getattr(settled, "layer", None),
            automatic=tuple(name for name, chosen in automatic.items() if chosen),
            answers=_answers(model, size, found.output),
            warnings=(
                *model.outline(size).notes,
                *settled.doubts(model, size),
                *_emptiness(found.values, batch.names, self.reduction),
            ),
        )
        return Explanation(found.values.astype(dtype, copy=False), batch.photos, batch.names, provenance, found.output)


class StepExplainer(Explainer):
    """An explainer whose whole work is one compiled step per chunk of images."""

    @abstractmethod
    def step(self, model: Model, images: Array, target: Bound) -> dict[str, Array]:
        """The method's formula, in array-API code.

        Returns:
            "values", "scores", and "output" where the run gave it; `answer` makes it of a `Gradients`.
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
        return Attribution(joined["values"], joined["scores"], joined.get("output"))


def _step_program(
    model: Model, static: tuple[StepExplainer, Formula], images: Array, arrays: Mapping[str, Any]
) -> dict[str, Array]:
    explainer, formula = static
    return explainer.step(model, images, Bound(formula, arrays, "", ()))


def answer(values: Array, found: Gradients) -> dict[str, Array]:
    """What `step` returns: the values, beside what the same pass told of the scores."""
    output = {"output": found.values["scores"]} if "scores" in found.values else {}
    return {"values": values, "scores": found.scores, **output}


def input_gradient(model: Model, images: Array, target: Bound) -> dict[str, Array]:
    """The gradient of each image's score with respect to the image: what saliency and its kin are made of."""
    found = gradients(model, images, target, needs=target.needs, wrt_images=True)
    return answer(found.images, found)


def chunks(count: int, size: int) -> Iterator[tuple[NDArray[np.intp], int]]:
    """Cut `count` items into chunks of one length, at most `size`, so that one compiled program serves all.

    Yields:
        The items' numbers, the last one repeated to fill the last chunk, and how many of them count.
    """
    size = ceil(count / ceil(count / size))  # as even as can be: what fills the last chunk is work for nothing
    for start in range(0, count, size):
        rows = np.arange(start, start + size)
        yield np.minimum(rows, count - 1), min(size, count - start)


def comfortable_batch(model: Model, size: tuple[int, int]) -> int:
    """How many images keep the network's largest activation below 32 MiB; between 1 and 64."""
    numbers = max(model.outline(size).largest, 3 * size[0] * size[1])
    return int(np.clip(COMFORT // (numbers * np.dtype(model.dtype).itemsize), 1, 64))


def _answers(
    model: Model, size: tuple[int, int], output: NDArray[Any] | None
) -> tuple[tuple[tuple[str, float], ...], ...]:
    if output is None:
        return ()
    rows = first_answers(output, model.outline(size).head, model.labels)
    return tuple(tuple((answer.label, answer.score) for answer in row) for row in rows)


def check_finite(model: Model, images: NDArray[Any], found: Attribution) -> None:
    """Refuse NaN and infinity, and name the first layer that has them.

    Raises:
        NonFiniteError: values, scores or the network's output are not finite.
    """
    arrays = [found.values, found.scores, *([] if found.output is None else [found.output])]
    bad = next((i for i in range(len(images)) if not all(np.isfinite(array[i]).all() for array in arrays)), None)
    if bad is None:
        return
    image = images[bad : bad + 1]
    where = "its layers cannot be looked into"
    if "capture" in model.can:
        layers = model.layers((image.shape[1], image.shape[2]))
        values = model.compile(_capture_program, tuple(layers))(image)
        guilty = next((name for name in layers if not np.isfinite(values[name]).all()), None)
        where = f"layer {guilty!r} is the first to have it" if guilty else "it arises after them or on the way back"
    raise NonFiniteError(
        f"The network gives NaN or infinity for image {bad + 1}, although the image is finite: {where}. "
        "Look for NaN in its weights, or for numbers beyond its dtype."
    )


def _capture_program(model: Model, names: tuple[str, ...], images: Array) -> dict[str, Array]:
    return model.run(images, names)


def _emptiness(values: NDArray[Any], names: tuple[str, ...], reduction: Reduction) -> Iterator[str]:
    for value, name in zip(values, names, strict=True):
        if not value.any():
            yield f"{name}: every value is zero; the target does not depend on what this method looks at."
        elif reduction == "positive" and value.max() <= 0:
            yield f"{name}: nothing speaks for the target here; every value is negative."


@cache
def _own_version() -> str:
    return version("agnoscope")


def _silent(done: int, total: int) -> None:
    pass
