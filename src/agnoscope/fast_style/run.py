"""The loop of a training: pictures of a few photos, their loss and its gradient, a step of the parameters; again."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
from numpy.typing import NDArray

from agnoscope import __version__
from agnoscope.archive import read_archive, write_archive
from agnoscope.batches import ran_out_of_memory
from agnoscope.errors import NonFiniteError, OptionError, OutOfMemoryError
from agnoscope.explainers.synthesis.base import options_of
from agnoscope.fast_style.loss import PARTS, Loss
from agnoscope.fast_style.network import Form, stylised
from agnoscope.fast_style.photos import Photos
from agnoscope.fast_style.style_network import StyleNetwork, Training
from agnoscope.model import Model
from agnoscope.optimisation.optimisers import Adam
from agnoscope.patches import Array
from agnoscope.runs import fingerprint
from agnoscope.target import Bound
from agnoscope.trees import flat, mapped, nested

if TYPE_CHECKING:
    from agnoscope.fast_style.training import FastStyle

FORMAT: Final = 1
"""Version of the file of a stopped training; a reader refuses newer ones."""

KIND: Final = "stopped training"

BLANK: Final = {"covariance": 2.0, "gram": 1.0}
"""The distance from a style of a picture in which nothing is active: 1 for each of what is compared."""

LAST: Final = 10
"""Steps at the end by which a training is judged."""

ELSEWHERE: Final[Any] = None
"""Adam does not look at other parameters."""


@final
@dataclass(frozen=True, eq=False)
class State:
    """A step of a training.

    Attributes:
        step: how many steps are done, from 1.
        total: how many there are.
        photos: those of this step, shape (photos, height, width, channels).
        images: what the network made of them before this step changed it, of the same shape.
        loss: of these, averaged.
        parts: "content", "style" and "penalties", weighted; they add up to the loss.
        run: to save, or to take the network so far of.
    """

    step: int
    total: int
    photos: NDArray[Any]
    images: NDArray[Any]
    loss: float
    parts: Mapping[str, float]
    run: "Run" = field(repr=False)


@final
@dataclass(frozen=True, eq=False)
class Styles:
    """What is to be learnt.

    Attributes:
        names: one for each style.
        images: shape (styles, height, width, channels).
        distance: from each of them, in their order.
        layers: that see them.
    """

    names: tuple[str, ...]
    images: NDArray[Any]
    distance: Bound
    layers: tuple[str, ...]


@final
class Run:
    """A training, step by step; an iterator over them.

    Attributes:
        model: judges the pictures.
        step: how many steps are done.
        parameters: of the network so far; after NaN or infinity those that last gave a finite loss.
        memory: what the optimiser remembers.
        history: the loss' parts before each step so far, shape (3,) each.
        notes: sentences for the user.
    """

    def __init__(
        self,
        method: "FastStyle",
        model: Model,
        loss: Loss,
        photos: Photos,
        styles: Styles,
    ) -> None:
        """Make ready.

        Args:
            method: its options.
            model: judges the pictures.
            loss: how.
            photos: to train on.
            styles: to be learnt.
        """
        self.model, self.step = model, 0
        self._method, self._loss, self._photos, self._styles = method, loss, photos, styles
        canvas = loss.canvas
        self._form = Form(method.width, method.blocks, len(styles.names), canvas.depth, canvas.bounds)
        self.parameters: Mapping[str, Any] = mapped(self._form.start(method.seed), lambda a: a.astype(model.dtype))
        self._judged = self.parameters
        self._adam = Adam(method.rate, fall=method.iterations)
        self.memory: Mapping[str, Any] = self._adam.begin(self.parameters)
        self.history: list[NDArray[Any]] = []
        self.notes: list[str] = []

    @property
    def total(self) -> int:
        """How many steps there are."""
        return self._method.iterations

    def __iter__(self) -> Iterator[State]:
        program = self.model.compile(training_program, (self._form, self._loss))
        while self.step < self.total:
            photos, given = self._given()
            found = self._found(program, {"photos": photos, **given})
            if not all(np.isfinite(array).all() for array in (found["parts"], *found["gradient"].values())):
                self._stop_at_nonfinite()
                return
            parts, self._judged = found["parts"].astype(np.float64), self.parameters
            self.parameters, self.memory = self._adam.step(
                self.parameters, parts.sum(keepdims=True), found["gradient"], self.memory, ELSEWHERE
            )
            self.history.append(parts)
            self.step += 1
            told = dict(zip(PARTS, map(float, parts), strict=True))
            yield State(self.step, self.total, photos, found["images"], float(parts.sum()), told, self)

    def result(self) -> StyleNetwork:
        """The network so far."""
        finished = self.step == self.total
        unread = [f"{name} was passed over: {reason}" for name, reason in self._photos.unread.items()]
        stopped = () if finished else (f"Stopped after {self.step} of {self.total} steps.",)
        missed = [self._missed()] if finished and self._away() > BLANK[self._method.statistics] else []
        training = Training(
            options=options_of(self._method),
            content=self._loss.content.needs,
            style=self._styles.layers,
            network=fingerprint(self.model),
            photos=len(self._photos),
            steps=self.step,
            finished=finished,
            backend=self.model.backend,
            versions={"agnoscope": __version__, **self.model.versions},
            warnings=(*unread, *self.notes, *missed, *stopped),
        )
        history, channels = np.array(self.history).reshape(-1, len(PARTS)), self.model.spec.channels
        channels = "RGB" if channels == "BGR" else channels  # as the user has them
        return StyleNetwork(self._form, self.parameters, self._styles.names, training, history, channels, self.model)

    def save(self, path: str | Path) -> Path:
        """Write down where the training is, so that `resume` goes on from there and ends as if it had not been stopped.

        Raises:
            FileError: the file cannot be written.
        """
        arrays = flat({"parameters": self.parameters, "memory": self.memory})
        header = {"kind": KIND, "format": FORMAT, "identity": self._identity(), "step": self.step, "notes": self.notes}
        return write_archive(Path(path), header, {**arrays, "history": np.array(self.history)})

    def restore(self, path: str | Path) -> None:
        """Go to where a saved training was.

        Raises:
            FileError: the file is missing, damaged, or of a newer version.
            OptionError: it belongs to a training of another network, of other images or with other options.
        """
        header, arrays = read_archive(path, KIND, FORMAT)
        if header["identity"] != self._identity():
            raise OptionError(
                f"{str(path)!r} holds another training: its network, its images or an option differs. Resume with "
                "those that it was started with."
            )
        self.step, self.notes, self.history = header["step"], header["notes"], list(arrays["history"])
        trees = nested(arrays)
        self.parameters, self.memory = trees["parameters"], trees["memory"]
        self._judged = self.parameters

    def _away(self) -> float:
        """How far the last pictures are from the style."""
        return float(np.mean(self.history[-LAST:], axis=0)[PARTS.index("style")]) / self._method.style_weight

    def _missed(self) -> str:
        return (
            f"The pictures are farther from the style than a blank one would be, by a distance of {self._away():.3g}: "
            "train for more steps. Where that does not help, a layer that a style image hardly excites outweighs the "
            f"others: name earlier ones than {', '.join(self._styles.layers)} in style_layers."
        )

    def _given(self) -> tuple[NDArray[Any], dict[str, Any]]:
        """The photos of the next step, and the style that each is to be given: they take turns."""
        turns = np.arange(self._method.batch_size) + self.step * self._method.batch_size
        styles = turns % self._form.styles
        style = self._styles.distance.take(styles).arrays
        return self._photos.take(map(int, turns)), {"mix": np.eye(self._form.styles)[styles], "style": style}

    def _identity(self) -> str:
        """A digest of all that the training depends on."""
        digest = hashlib.sha256(json.dumps(options_of(self._method), default=repr).encode())
        digest.update(f"{fingerprint(self.model)} {self._photos.digest()} {self._loss!r}".encode())
        digest.update(repr(self._styles.names).encode() + np.ascontiguousarray(self._styles.images).tobytes())
        return digest.hexdigest()

    def _found(self, program: Any, given: Mapping[str, Any]) -> dict[str, Any]:
        try:
            found: dict[str, Any] = program(self.parameters, given)
        except Exception as error:
            if not ran_out_of_memory(error):
                raise
            height, width = self._loss.canvas.size
            raise OutOfMemoryError(
                f"Memory does not suffice for a step of {self._method.batch_size} photos of {height} × {width} pixels: "
                f"give a smaller batch_size, size or width. The framework says: {error}"
            ) from error
        return found

    def _stop_at_nonfinite(self) -> None:
        told = f"Step {self.step + 1} gave NaN or infinity"
        if not self.step:
            raise NonFiniteError(f"{told} at once: look for NaN in the network's weights.")
        self.parameters = self._judged
        self.notes.append(
            f"{told}: the training stopped there, and kept the network before it. Make smaller steps: rate=0.0005."
        )


def training_program(
    model: Model, static: tuple[Form, Loss], parameters: Mapping[str, Array], given: Mapping[str, Any]
) -> dict[str, Any]:
    """What the network makes of photos, the parts of its loss, and the gradient at the parameters.

    Returns:
        "images", shape (photos, height, width, channels); "parts", averaged over the photos, shape (3,); "gradient".
    """
    xp, (form, judge) = model.xp, static
    photos = given["photos"]
    before = model.run(photos, judge.content.needs)

    def loss(parameters: Mapping[str, Array]) -> tuple[Array, dict[str, Array]]:
        images = stylised(model, form, parameters, photos, given["mix"])
        parts = judge(xp, images, model.run(images, judge.needs), before, given["style"])
        told = xp.concat([xp.reshape(xp.mean(parts[name]), (1,)) for name in PARTS], axis=0)
        return xp.sum(told), {"images": images, "parts": told}

    (_, found), gradient = model.value_and_grad(loss)(parameters)
    return {**found, "gradient": gradient}
