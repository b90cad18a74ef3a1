"""The loop: looks at the images, takes the gradient, makes a step; stops at any time with the best images so far."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, Generic, TypeVar, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.archive import read_archive, write_archive
from agnoscope.batches import chunks, within_memory
from agnoscope.errors import CapabilityError, NonFiniteError, OptionError, TargetError
from agnoscope.model import Model
from agnoscope.optimisation.optimisers import Slope
from agnoscope.optimisation.parameterisations.base import Tree
from agnoscope.optimisation.parameterisations.pixels import Pixels
from agnoscope.optimisation.program import Recipe, look_program, step_program
from agnoscope.optimisation.redirection import redirected
from agnoscope.optimisation.stage import Stage
from agnoscope.optimisation.transformations import Views
from agnoscope.trees import flat, joined, leaves, mapped, nested

REDIRECTED: Final = 16
"""In so many first steps of a stage dead units are helped by redirected gradients, as in Lucid."""

SMOOTHING: Final = 0.9
"""How much of the mean objective so far stays, where random views make single objectives uncertain."""

FORMAT: Final = 1
"""Version of the file of a stopped run; a reader refuses newer ones."""

Result = TypeVar("Result")

TREES: Final = ("parameters", "memory")
ARRAYS: Final = ("best", "slopes", "_mean", "_highest", "_moved", "_done", "_ended")
"""What a stopped run consists of."""

WHOLE: Final = Views(transformations=())
"""The whole image, for a last look at what was seen through random views."""


@final
@dataclass(frozen=True, eq=False)
class State:
    """A step of a run.

    Attributes:
        step: how many steps are done, from 1.
        total: how many there are at most.
        stage: number of the stage, from 0.
        images: those that were looked at before this step changed them, shape (images, height, width, channels).
        score: the target's value for each, shape (images,).
        objective: that less the penalties; what the steps drive up.
        run: to stop at, save or take the best images of.
    """

    step: int
    total: int
    stage: int
    images: NDArray[Any]
    score: NDArray[Any]
    objective: NDArray[Any]
    run: "Run[Any]" = field(repr=False)


@final
class Run(Generic[Result]):
    """The stages of a method, one after the other; an iterator over its steps.

    Attributes:
        model: the network.
        stages: what is to be done.
        count: how many images.
        seed: of noise and views.
        batch_size: how many views of images go through the network at once, though never fewer than an image's own.
        made: the result that a run stands for, as it is.
        identity: tells this run from others: same network, question and options.
        stage, step: where the run is: the number of the stage, and of the steps done in it.
        parameters, memory: of the stage that is under way.
        history: the objective of each step so far, shape (images,) each.
        best: the images with the highest objective of the stage so far, those of a stage of random views by a mean
            over some ten steps.
        slopes: sum of the absolute gradients at the images so far, where the stage wants it.
        notes: sentences for the user.
    """

    def __init__(
        self,
        model: Model,
        stages: Sequence[Stage],
        count: int,
        seed: int,
        batch_size: int,
        made: Callable[["Run[Result]"], Result],
        identity: Callable[[], str],
    ) -> None:
        self.model, self.stages, self.count, self.seed, self.batch_size = model, tuple(stages), count, seed, batch_size
        self.made, self.identity = made, identity
        self.stage = self.step = 0
        self.parameters: Tree = {}
        self.memory: Tree = {}
        self.history: list[NDArray[Any]] = []
        self.notes: list[str] = []
        self.finished = False
        self._forget()
        self._ended: NDArray[Any] | None = None
        self._random = np.random.default_rng([seed, 0])
        self._places: dict[str, Any] = {}

    @property
    def total(self) -> int:
        """How many steps there are at most."""
        return sum(stage.steps for stage in self.stages)

    @property
    def steps_done(self) -> int:
        """In all stages."""
        return len(self.history)

    def __iter__(self) -> Iterator[State]:
        while self.stage < len(self.stages):
            stage = self.stages[self.stage]
            if not self.parameters:
                self._begin(stage)
            while self.step < stage.steps and not self._done.all():
                state = self._forward(stage)
                if state is None:
                    return
                if self.step == min(REDIRECTED, stage.steps):
                    self._check_alive(stage)
                yield state
            self._end(stage)
        self.finished = True

    def result(self) -> Result:
        """The images as they are at the end; those of a run that is not at its end are its best so far."""
        return self.made(self)

    def images(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Images and their scores seen whole, of the stage that is under way or has ended last.

        Before the end of the run the best ones, at the end those of the last step; but where an aim was set, and all
        steps looked at the images alike, the better ones of these.

        Returns:
            Shapes (images, height, width, channels) and (images,).
        """
        stage = self.stages[min(self.stage, len(self.stages) - 1)]
        if not self.parameters:
            self._begin(stage)
        seen = partial(self._evaluated, views=None if stage.views is None else WHOLE, gradient=False)
        if self.best is None or (self.finished and (stage.until is None or not stage.still)):
            found = seen(stage, self.parameters)
        else:
            pixels = replace(stage, parameterisation=Pixels())
            found = seen(pixels, pixels.parameterisation.of(stage.canvas, self.best))
            if self.finished:
                last = seen(stage, self.parameters)
                found = joined(partial(_chosen, last["objective"] <= found["objective"]), last, found)
        return found["images"], found["score"]

    def save(self, path: str | Path) -> Path:
        """Write down where the run is, so that `resume` goes on from there and ends as if it had not been stopped.

        Raises:
            FileError: the file cannot be written.
        """
        arrays = flat({part: getattr(self, part) for part in TREES})
        arrays |= {name: value for name in ARRAYS if (value := getattr(self, name)) is not None}
        header = {"kind": "stopped run", "format": FORMAT, "identity": self.identity(), "notes": self.notes}
        header |= {"stage": self.stage, "step": self.step, "random": self._random.bit_generator.state}
        return write_archive(Path(path), header, arrays | {"history": np.array(self.history)}, packed=False)

    def restore(self, path: str | Path) -> None:
        """Go to where a saved run was.

        Raises:
            FileError: the file is missing, damaged, or of a newer version.
            OptionError: it belongs to a run of another network, question or other options.
        """
        header, arrays = read_archive(path, "stopped run", FORMAT)
        if header["identity"] != self.identity():
            raise OptionError(
                f"{str(path)!r} belongs to another run: resume with the same network, images, target and options, or "
                "start anew."
            )
        self._forget()
        trees = nested(arrays)
        for part in TREES:
            setattr(self, part, trees.get(part, {}))
        for name in ARRAYS:
            setattr(self, name, arrays.get(name))
        self.stage, self.step, self.notes = header["stage"], header["step"], header["notes"]
        self._random.bit_generator.state = header["random"]
        self.history = list(arrays["history"])

    # -- a stage -----------------------------------------------------------------------------------------------------

    def _begin(self, stage: Stage) -> None:
        images = stage.begin(self._ended)
        if images is None:
            generators = [np.random.default_rng([self.seed, 1 + i]) for i in range(self.count)]
            self.parameters = stage.parameterisation.start(stage.canvas, generators)
        else:
            self.parameters = stage.parameterisation.of(stage.canvas, images)
        self.memory = stage.optimiser.begin(self.parameters)
        self._forget()

    def _forget(self) -> None:
        """What is followed within a stage."""
        self._ahead: tuple[Tree, dict[str, Any]] | None = None
        self.best: NDArray[Any] | None = None
        self.slopes: NDArray[Any] | None = None
        self._mean, self._highest = np.zeros(self.count), np.full(self.count, -np.inf)
        self._moved, self._done = np.zeros(self.count, dtype=bool), np.zeros(self.count, dtype=bool)

    def _forward(self, stage: Stage) -> State | None:
        """One step; None where the run cannot go on."""
        random = deepcopy(self._random)
        if stage.views is not None:
            self._places = stage.views.places(random, stage.canvas, stage.look)
        found = self._foreseen(stage) or self._evaluated(stage, self.parameters, stage.views)
        if not np.isfinite(found["objective"]).all() or not _finite(found["gradient"]):
            self._stop_at_nonfinite()
            return None
        if self.step < REDIRECTED:
            self._moved |= _moving(found["gradient"])
            found = found if stage.restful else self._enlivened(stage, found)
        if stage.until is not None:
            self._done |= stage.until(found["score"])

        def look(parameters: Tree) -> tuple[NDArray[Any], Tree]:
            other = self._evaluated(stage, parameters, stage.views)
            self._ahead = parameters, other
            return -other["objective"], other["gradient"]

        loss, gradient = -found["objective"], found["gradient"]
        slope = Slope(look, partial(stage.parameterisation.kept, stage.canvas))
        moved, memory = stage.optimiser.step(self.parameters, loss, gradient, self.memory, slope)
        moved = self._corrected(stage, moved, gradient)
        kept = stage.parameterisation.kept(stage.canvas, moved)
        if self._done.any():
            kept = joined(partial(_chosen, self._done), kept, self.parameters)
        # All at once: a step that was stopped half-way is made anew, as if it had not begun.
        self._follow(stage, found)
        self.parameters, self.memory, self._random = kept, memory, random
        self.step += 1
        score, objective = found["score"], found["objective"]
        return State(self.steps_done, self.total, self.stage, found["images"], score, objective, self)

    def _end(self, stage: Stage) -> None:
        """Hand the images to the next stage; those of the last one stay."""
        if self.stage + 1 < len(self.stages):
            found = self._evaluated(stage, self.parameters, None if stage.views is None else WHOLE, gradient=False)
            self._ended = found["images"]
            self.parameters, self.memory = {}, {}
            self.step = 0
        self.stage += 1

    # -- a step ------------------------------------------------------------------------------------------------------

    def _evaluated(
        self, stage: Stage, parameters: Tree, views: Views | None, gradient: bool = True, model: Model | None = None
    ) -> dict[str, Any]:
        """Images, scores, objectives and gradients, by as many images at once as memory is comfortable with."""
        number = 0 if views is None else views.count
        places = self._places if views is stage.views else WHOLE.places(self._random, stage.canvas, stage.look)
        recipe = Recipe(
            stage.canvas,
            stage.parameterisation,
            stage.target.formula,
            stage.look,
            number,
            tuple(stage.penalties),
            stage.slopes and gradient,
        )
        compiled = (model or self.model).compile(step_program if gradient else look_program, recipe)
        constants = stage.parameterisation.constants(stage.canvas)
        coupled = any(penalty.couples for penalty in stage.penalties)

        def found(batch: int) -> dict[str, Any]:
            parts = []
            for rows, kept in chunks(self.count, self.count if coupled else batch):
                target = stage.target.take(np.repeat(rows, max(1, number))).arrays
                given = {"target": target, "constants": constants, **({"places": places} if number else {})}
                some = compiled(mapped(parameters, itemgetter(rows)), given)
                parts.append(mapped(some, itemgetter(slice(kept))))
            return parts[0] if len(parts) == 1 else joined(lambda *each: np.concatenate(each), *parts)

        most = 1 if coupled else max(1, min(self.count, self.batch_size // max(1, number)))
        return within_memory(self.model, recipe, most, found)[0]

    def _enlivened(self, stage: Stage, found: dict[str, Any]) -> dict[str, Any]:
        """The same, with redirected gradients for the images whose own are all zero."""
        moving = _moving(found["gradient"])
        if moving.all() or "relu" not in self.model.can:
            return found
        try:
            other = self._evaluated(stage, self.parameters, stage.views, model=self.model.with_relu(redirected))
        except CapabilityError:  # there is no ReLU on the way
            return found
        return {**found, "gradient": joined(partial(_chosen, ~moving), found["gradient"], other["gradient"])}

    def _foreseen(self, stage: Stage) -> dict[str, Any] | None:
        """What a line search has found already, where it looked last at what the parameters are now."""
        if self._ahead is None or not stage.still:
            return None
        parameters, found = self._ahead
        return found if all(map(np.array_equal, leaves(parameters), leaves(self.parameters))) else None

    def _follow(self, stage: Stage, found: Mapping[str, Any]) -> None:
        """Keep the history, the best images and the slopes."""
        objective = found["objective"]
        # A copy: what a framework gave lies between the images of the step, whose place then cannot be used again.
        self.history.append(np.array(objective))
        keep = 0.0 if stage.still else SMOOTHING
        self._mean = keep * self._mean + (1 - keep) * objective
        mean = self._mean / (1 - keep ** (self.step + 1))
        better = mean > self._highest
        self._highest = np.maximum(mean, self._highest)
        self.best = found["images"].copy() if self.best is None else self.best
        self.best[better] = found["images"][better]
        if stage.slopes:
            self.slopes = np.abs(found["slope"]) + (0 if self.slopes is None else self.slopes)

    def _corrected(self, stage: Stage, moved: Tree, gradient: Tree) -> Tree:
        if not stage.corrections:
            return moved
        images = moved["pixels"]
        for correction in stage.corrections:
            images = correction(self.step + 1, stage.canvas, images, -gradient["pixels"])
        return {"pixels": images}

    # -- what may go wrong -------------------------------------------------------------------------------------------

    def _check_alive(self, stage: Stage) -> None:
        still = ~(self._moved | self._done)
        if (stage.restful and stage.until is None) or not still.any():
            return
        names = dict.fromkeys(name for name, alone in zip(stage.target.names, still, strict=True) if alone)
        tried = "" if stage.restful else ", although ReLU gradients were redirected"
        told = (
            f"The gradient of {', '.join(filter(None, names)) or 'the target'} stayed zero in the first {self.step} "
            f"steps{tried}: the unit is dead, or does not depend on the image. Ask for another one, or start from a "
            "photo."
        )
        if still.all():
            raise TargetError(told)
        self.notes.append(told)

    def _stop_at_nonfinite(self) -> None:
        told = f"Step {self.steps_done + 1} gave NaN or infinity"
        if not self.history:
            raise NonFiniteError(
                f"{told} at once, before any picture was made: look for NaN in the network's weights, or for numbers "
                "beyond its dtype."
            )
        self.notes.append(f"{told}: the run stopped there, and kept the best images so far. Make smaller steps.")


def _moving(gradient: Tree) -> NDArray[np.bool_]:
    """Which images have a gradient that is not all zero."""
    parts = [leaf.reshape(len(leaf), -1).any(axis=1) for leaf in leaves(gradient)]
    return np.logical_or.reduce(parts)


def _chosen(which: NDArray[np.bool_], others: NDArray[Any], chosen: NDArray[Any]) -> NDArray[Any]:
    """The second of two leaves for these images, the first one for the rest."""
    return np.where(which.reshape(-1, *[1] * (others.ndim - 1)), chosen, others)


def _finite(tree: Tree) -> bool:
    return all(np.isfinite(leaf.sum(dtype=np.float64)) for leaf in leaves(tree))
