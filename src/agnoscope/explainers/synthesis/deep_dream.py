"""DeepDream: a photo in which a network strengthens whatever it sees there.

Gradient steps on a photo drive up the activity of a layer. They begin on a small version of the photo, where the
network's features cover much of it, and go on at larger and larger ones, the octaves. The photo's own detail is put
back at every octave; what the dream has added is carried along, enlarged.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import OptionError, TargetError
from agnoscope.explainers.options import positive, whole
from agnoscope.explainers.synthesis.base import Callback, Plan, Synthesizer
from agnoscope.explainers.synthesis.layers import dream_layer
from agnoscope.explainers.synthesis.photos import check_size, photos_of, resized, settled, takes
from agnoscope.images import ImageLike
from agnoscope.model import Model
from agnoscope.optimisation.canvas import Canvas
from agnoscope.optimisation.optimisers import Ascent
from agnoscope.optimisation.parameterisations.pixels import Pixels
from agnoscope.optimisation.stage import Stage
from agnoscope.optimisation.transformations import Jitter, Scale, Transformation, Views, looked_at, shift
from agnoscope.synthesis import as_picture
from agnoscope.target import Sum, Target, as_target
from agnoscope.targets.features import Activity
from agnoscope.targets.guided import Guided
from agnoscope.trees import leaves


@final
@dataclass(frozen=True)
class DeepDream(Synthesizer):
    """DeepDream (Mordvintsev, Olah and Tyka, Google Research blog 2015).

    Called with a network, a photo, and, if you like, what to drive up: a `Target` such as `ag.Activity(layer)`, or a
    weighted sum of such targets. By default it is the activity of a ReLU two thirds of the way through the network, or
    of a layer there where ReLUs are no layers. The other defaults are those of the authors' code; the Keras example has
    `DeepDream(20, 3, rate=0.005, jitter=0)` and four layers weighted 1, 1.5, 2 and 2.5.

    Attributes:
        iterations: how many steps in each octave.
        octaves: how many sizes of the photo, from the smallest to the whole one.
        factor: by which an octave is larger than the one before, above 1.
        rate: mean change of a pixel in a step, as a share of the span between the bounds.
        jitter: the photo is shifted by up to so many pixels at each step, around its edges, so that the network's own
            grid does not show.
        size: longer side in pixels, or height and width; by default the photo's own size, at most 1024 on the longer
            side, or the network's where it takes no other.
        guide: a second image whose features are dreamt of: one, or several together.
        seed: of the shifts.
    """

    name = "deep-dream"

    iterations: int = 10
    octaves: int = 4
    factor: float = 1.4
    rate: float = 1.5 / 255
    jitter: int = 32
    size: int | tuple[int, int] | None = None
    guide: ImageLike | None = field(default=None, compare=False)
    seed: int = 0

    def plan(self, model: Model, image: ImageLike, target: Any = None) -> Plan:
        """Plan a dream.

        Args:
            model: the network.
            image: the photo, or several of one size.
            target: what to drive up.
        """
        self._check()
        photos = photos_of(model, image, self.size)
        whole_size = photos.images.shape[1:3]
        asked = Activity(dream_layer(model, _seen(model, whole_size))) if target is None else as_target(target)
        asked = asked if self.guide is None else _guided(model, asked, self.guide)
        sizes = octave_sizes(whole_size, self.octaves, self.factor)
        bases = [resized(photos.images, size) for size in sizes]
        stages = [self._octave(model, asked, bases, number) for number in range(len(sizes))]
        inputs = photos.images, *leaves(stages[-1].target.arrays)
        return Plan(stages, photos.names, photos.photos, inputs, captions=("photo",) * len(photos.photos))

    def zoom(
        self,
        model: Any,
        image: ImageLike,
        frames: int,
        target: Any = None,
        factor: float = 1.05,
        callback: Callback | None = None,
    ) -> Iterator[NDArray[np.uint8]]:
        """A flight into the dream: the picture is dreamt of, enlarged from its centre, dreamt of again, and so on.

        Frames come one by one, and no earlier one is kept; `agnoscope.synthesis.animate` makes a file of them.

        Args:
            model: what `agnoscope.wrap` returned, or a network that it can wrap by itself.
            image: the photo.
            frames: how many.
            target: what to drive up.
            factor: by which a frame is larger than the one before, above 1.
            callback: called after every step of every frame. Where it raises StopIteration, the flight ends within its
                frame, which does not come; a keyboard interrupt ends it so, too, and goes on to the caller.

        Yields:
            uint8 pictures, shape (height, width, 3).

        Raises:
            OptionError: there is no frame, the factor is not above 1, or several photos are given.
        """
        from agnoscope.api import wrap

        wrapped = wrap(model)
        whole("frames", frames)
        _above_one(factor)
        images = photos_of(wrapped, image, self.size).images
        if len(images) > 1:
            raise OptionError(f"A flight begins from one photo; {len(images)} were given.")
        for number in range(frames):
            run = replace(self, size=images.shape[1:3], seed=self.seed + number).begin(wrapped, images, target)
            try:
                for state in run:
                    if callback is not None:
                        callback(state)
            except StopIteration:
                return
            made = run.result()
            yield as_picture(made.images[0], made.bounds)
            images = enlarged(made.images, factor)

    def _check(self) -> None:
        whole("octaves", self.octaves)
        whole("jitter", self.jitter, least=0)
        positive("rate", self.rate)
        _above_one(self.factor)

    def _octave(self, model: Model, asked: Target, bases: list[NDArray[Any]], number: int) -> Stage:
        base = bases[number]
        canvas = Canvas.of(model, base.shape[1:3])
        seen = _seen(model, canvas.size)
        transformations: list[Transformation] = []
        if seen != canvas.size:
            transformations.append(Repeated(seen))
        if self.jitter:
            transformations.append(Jitter(2 * self.jitter))
        return Stage(
            canvas,
            Pixels(),
            settled(model, asked.bind(model, len(base), seen), bases[-1]),
            self.iterations,
            Ascent(self.rate * canvas.span, "l1"),
            Views(tuple(transformations), border="wrap", sampling="nearest") if transformations else None,
            seen,
            begin=partial(with_detail, base, bases[number - 1] if number else None),
        )


@final
@dataclass(frozen=True)
class Repeated(Transformation):
    """The image pixel by pixel, and again beside itself where the network sees more; for views with border "wrap".

    Attributes:
        seen: height and width of what the network gets.
    """

    seen: tuple[int, int]

    def draw(self, random: np.random.Generator, size: tuple[int, int]) -> NDArray[np.float64]:  # noqa: ARG002
        # Centres of an odd and an even length lie half a pixel apart.
        (height, width), (rows, columns) = size, self.seen
        return shift((rows - height) % 2 / 2, (columns - width) % 2 / 2) @ np.diag([rows / height, columns / width, 1])


def octave_sizes(size: tuple[int, int], octaves: int, factor: float) -> list[tuple[int, int]]:
    """Heights and widths of the octaves, the smallest first."""
    shrunk = [factor**-k for k in reversed(range(octaves))]
    return [(max(1, round(size[0] * share)), max(1, round(size[1] * share))) for share in shrunk]


def with_detail(base: NDArray[Any], smaller: NDArray[Any] | None, before: NDArray[Any] | None) -> NDArray[Any]:
    """Where an octave begins: the photo at its size, and what the dream has added so far, enlarged.

    Args:
        base: the photo at the octave's size, shape (images, height, width, channels).
        smaller: the photo at the size of the octave before.
        before: the dream with which that one ended; None at first.
    """
    if smaller is None or before is None:
        return base
    return base + resized(before - smaller, base.shape[1:3])


def enlarged(images: NDArray[Any], factor: float) -> NDArray[Any]:
    """The middle of images, enlarged to their whole size, bilinearly."""
    size = images.shape[1:3]
    canvas = Canvas(size, images.shape[3], dtype=str(images.dtype))
    views = Views((Scale(factor, factor),), border="edge")
    return looked_at(np, canvas, size, images, views.places(np.random.default_rng(0), canvas, size))


def _seen(model: Model, size: tuple[int, int]) -> tuple[int, int]:
    """What the network gets of an octave: the octave itself if it can take it, else the network's own size."""
    own = model.spec.size
    if own is None or not all(octave <= seen for octave, seen in zip(size, own, strict=True)):
        check_size(model, size)
        return size
    return size if takes(model, size) else own


def _guided(model: Model, asked: Target, guide: ImageLike) -> Target:
    """The same layers, driven towards a guide's features."""
    terms = asked.terms()
    if not all(isinstance(term, Activity) for term, _ in terms):
        raise TargetError(
            "A guide has features of layers: with guide=, ask for ag.Activity(layer), for a sum of these, or for "
            "nothing at all."
        )
    guided = tuple(
        (Guided.to(model, guide, term.layer), weight) for term, weight in terms if isinstance(term, Activity)
    )
    return guided[0][0] if len(guided) == 1 and guided[0][1] == 1 else Sum(guided)


def _above_one(factor: Any) -> None:
    if positive("factor", factor) <= 1:
        raise OptionError(f"factor={factor!r} must be a number above 1.")
