"""What every method that makes images is: a frozen dataclass of options that plans the stages of one loop."""

import hashlib
import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from agnoscope import __version__
from agnoscope.answers import first_answers
from agnoscope.batches import comfortable_batch
from agnoscope.errors import OptionError
from agnoscope.explainers.options import whole
from agnoscope.model import Model
from agnoscope.optimisation.regularisers import Correction, Penalty
from agnoscope.optimisation.run import Run, State
from agnoscope.optimisation.stage import Stage
from agnoscope.runs import fingerprint
from agnoscope.synthesis import Making, Synthesis
from agnoscope.targets.features import features_of
from agnoscope.trees import leaves

Callback: TypeAlias = Callable[[State], Any]
"""Called after every step; what it returns is ignored, and `raise StopIteration` in it stops the run."""


@final
@dataclass(frozen=True, eq=False)
class Plan:
    """What a method makes of a question.

    Attributes:
        stages: one after the other.
        names: one for each image.
        photos: uint8 pictures that were given.
        inputs: all arrays that the question holds, by which a run is told from others when it is resumed.
        notes: sentences for the user.
        captions: of the photos, which are then drawn before the images.
    """

    stages: Sequence[Stage]
    names: tuple[str, ...]
    photos: tuple[NDArray[np.uint8], ...] = ()
    inputs: tuple[NDArray[Any], ...] = ()
    notes: tuple[str, ...] = ()
    captions: tuple[str, ...] = ()


class Synthesizer(ABC):
    """A method that makes images by gradient steps. Subclasses are final, frozen dataclasses with a field `seed`.

    Attributes:
        name: in results and on the command line.
        seed: of noise and random views.
    """

    name: ClassVar[str]
    seed: int

    @abstractmethod
    def plan(self, model: Model, *asked: Any) -> Plan:
        """Check the question, and make stages of it.

        Args:
            model: the network.
            *asked: what the method is called with, after the network.
        """

    def finish(self, model: Model, plan: Plan, made: Synthesis) -> Synthesis:  # noqa: ARG002
        """The result, with whatever the method has to add."""
        return made

    def __call__(
        self,
        model: Any,
        *asked: Any,
        callback: Callback | None = None,
        batch_size: int | None = None,
        resume: str | Path | None = None,
    ) -> Synthesis:
        """Make the images.

        A keyboard interrupt, or a callback that raises StopIteration, stops the run and returns the best images so far;
        `making.finished` tells.

        Args:
            model: what `agnoscope.wrap` returned, or a network that it can wrap by itself.
            *asked: what `plan` takes after the network.
            callback: called after every step with an `agnoscope.optimisation.run.State`; what it returns is ignored.
                Where it raises StopIteration, the run stops.
            batch_size: how many views of images go through the network at once, though never fewer than an image's own;
                by default as many as keep its largest activation below 32 MiB. Halved where memory runs out, unless a
                penalty such as `Diversity` needs all images at once.
            resume: a file that `State.run.save` wrote: the run goes on from there.

        Raises:
            TargetError: the network has no such class, channel or layer, or what is asked does not depend on the image.
            LayerError: it has no such layer.
            ImageError: an image cannot be read or does not fit.
            OptionError: an option is out of range, or the file to resume belongs to another run.
            CapabilityError: the network has no gradients.
            ModelError: it cannot run at this size.
            NonFiniteError: its values are NaN or infinite from the first step on.
            OutOfMemoryError: not even one image at a time fits, or not all that are needed at once.
        """
        run = self.begin(model, *asked, batch_size=batch_size, resume=resume)
        try:
            for state in run:
                if callback is not None:
                    callback(state)
        except (KeyboardInterrupt, StopIteration):
            if not run.steps_done:
                raise
        return run.result()

    def steps(
        self, model: Any, *asked: Any, batch_size: int | None = None, resume: str | Path | None = None
    ) -> Iterator[State]:
        """The same step by step: `for state in method.steps(model, ...)`, left at will.

        `state.run.result()` gives the images, `state.run.save(path)` a file to resume from.
        """
        return iter(self.begin(model, *asked, batch_size=batch_size, resume=resume))

    def begin(
        self, model: Any, *asked: Any, batch_size: int | None = None, resume: str | Path | None = None
    ) -> Run[Synthesis]:
        """The run that calling this goes through, before its first step, or where the file to resume has it."""
        from agnoscope.api import wrap

        wrapped = wrap(model)
        wrapped.require("gradient", self.name)
        whole("seed", self.seed, least=0)
        self._check_call(asked)
        self._check_parts()
        plan = self.plan(wrapped, *asked)
        for stage in plan.stages:
            whole("iterations", stage.steps)
        comfortable = min(comfortable_batch(wrapped, stage.look) for stage in plan.stages)
        run = Run(
            wrapped,
            plan.stages,
            len(plan.names),
            self.seed,
            comfortable if batch_size is None else whole("batch_size", batch_size),
            partial(self._made, wrapped, plan),
            partial(self._identity, wrapped, plan),
        )
        if resume is not None:
            run.restore(resume)
        return run

    def _check_call(self, asked: tuple[Any, ...]) -> None:
        signature = inspect.signature(self.plan)
        try:
            signature.bind(None, *asked)
        except TypeError:
            wanted = ", ".join(list(signature.parameters)[1:])
            raise OptionError(
                f"{type(self).__name__}(...) is called with a network and {wanted or 'nothing else'}; it got "
                f"{len(asked)} after the network."
            ) from None

    def _check_parts(self) -> None:
        for option, kind, such in (("penalties", Penalty, "L2()"), ("corrections", Correction, "Blur()")):
            given = getattr(self, option, ())
            if not isinstance(given, tuple | list) or not all(isinstance(each, kind) for each in given):
                raise OptionError(f"{option}={given!r} must be a tuple of such as ag.{such}, or () for none.")

    def _identity(self, model: Model, plan: Plan) -> str:
        """A digest of all that the run depends on."""
        digest = hashlib.sha256(json.dumps([self.name, options_of(self)], default=repr).encode())
        digest.update(fingerprint(model).encode())
        for stage in plan.stages:
            asked = stage.target.names, _plain(stage.target.formula)
            digest.update(repr((stage.canvas, stage.steps, asked)).encode())
        of_stages = [(s.target.arrays, s.parameterisation.constants(s.canvas)) for s in plan.stages]
        for array in (*plan.inputs, *(leaf for trees in of_stages for tree in trees for leaf in leaves(tree))):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def _made(self, model: Model, plan: Plan, run: Run[Synthesis]) -> Synthesis:
        images, scores = run.images()
        stage = plan.stages[min(run.stage, len(plan.stages) - 1)]
        stopped = f"Stopped after {run.steps_done} of {run.total} steps: these are the best images so far."
        making = Making(
            method=self.name,
            options=options_of(self),
            targets=stage.target.names,
            scores=tuple(map(float, scores)),
            steps=run.steps_done,
            finished=run.finished,
            backend=model.backend,
            versions={"agnoscope": __version__, **model.versions},
            input=asdict(model.spec),
            seed=self.seed,
            answers=_answers(model, images),
            warnings=(*plan.notes, *run.notes, *(() if run.finished else (stopped,))),
        )
        history = np.array(run.history).reshape(-1, len(images))
        transparency = None if run.slopes is None else _shares(run.slopes)
        made = Synthesis(
            images, stage.canvas.bounds, plan.names, making, history, transparency, plan.photos, plan.captions
        )
        return self.finish(model, plan, made)


def options_of(method: Any) -> dict[str, Any]:
    """A method's options for the result, ready for JSON: those of its parts nested, under the name of their class."""
    return {option.name: _plain(getattr(method, option.name)) for option in fields(method)}


def _plain(value: Any) -> Any:
    if isinstance(value, Model):  # a generator, of which the weights matter
        return f"{value!r} {fingerprint(value)[:12]}"
    if is_dataclass(value) and not isinstance(value, type):
        return {"is": type(value).__name__, **options_of(value)}
    if isinstance(value, tuple | list):
        return tuple(_plain(item) for item in value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.generic):
        return value.item()
    if callable(value):  # whose own words tell where it lies in memory
        return getattr(value, "__qualname__", type(value).__qualname__)
    return value if isinstance(value, int | float | str | bool | None) else repr(value)


def _answers(model: Model, images: NDArray[Any]) -> tuple[tuple[tuple[str, float], ...], ...]:
    """What the network answers for the images, where it takes their size and has classes."""
    size = images.shape[1:3]
    if size != model.spec.size:
        return ()
    outline = model.outline(size)
    if len(outline.scores) != 1 or (outline.scores[0] > 1 and outline.head == "linear" and not model.labels):
        return ()
    scores = np.concatenate([features_of(model, images[i : i + 1], ("scores",))["scores"] for i in range(len(images))])
    rows = first_answers(scores, outline.head, model.labels)
    return tuple(tuple((answer.label, answer.probability) for answer in row) for row in rows)


def _shares(slopes: NDArray[Any]) -> NDArray[Any]:
    """Gradients added up as shares of what is usual among the largest ones, from 0 to 1."""
    maps = slopes.mean(axis=-1)
    high = np.percentile(maps, 99, axis=(1, 2), keepdims=True)
    return np.clip(maps / np.where(high > 0, high, 1), 0, 1)
