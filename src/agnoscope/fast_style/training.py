"""Training of a network that transfers styles in one pass (Johnson, Alahi and Fei-Fei, ECCV 2016).

    network = FastStyle().train(model, "photos/", "brick.jpg")

A wrapped network judges the pictures that the new one makes of photos; gradients go through both to the parameters of
the new one. Like every run here it is stopped at any time, saved, and resumed to the same end.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import ImageError, OptionError
from agnoscope.explainers.options import positive, whole
from agnoscope.explainers.synthesis.photos import check_size
from agnoscope.explainers.synthesis.sizes import size_of
from agnoscope.explainers.synthesis.style import Statistics, cut, seen_side
from agnoscope.fast_style.loss import Content, Loss, styles_of
from agnoscope.fast_style.network import SMALLEST
from agnoscope.fast_style.photos import Photos
from agnoscope.fast_style.run import Run, State, Styles
from agnoscope.fast_style.style_network import METHOD, StyleNetwork
from agnoscope.images import ImageLike, load
from agnoscope.model import Model
from agnoscope.optimisation.canvas import Canvas
from agnoscope.optimisation.regularisers import TotalVariation
from agnoscope.weights import unused

Callback: TypeAlias = Callable[[State], Any]
"""Called after every step."""


@final
@dataclass(frozen=True)
class FastStyle:
    """Fast style transfer (Johnson et al., ECCV 2016; Ulyanov et al., 2016; Dumoulin et al., ICLR 2017).

    The defaults train a small network within minutes on two cores for images of some 100 pixels. The paper's is
    `FastStyle(40_000, width=32, blocks=5, size=256, rate=0.001, statistics="gram")`.

    What is lowered is the mean over the photos of what `StyleTransfer` lowers for one, and the options that both have
    mean the same.

    Attributes:
        iterations: how many steps.
        content_layers: whose features stay; by default as `StyleTransfer` chooses it.
        content_weight: of the content's distance.
        style_layers: whose channels are compared; by default as `StyleTransfer` chooses them.
        style_weight: of the style's distance.
        layer_weights: of the style layers, equal ones by default.
        statistics: mean and "covariance" of the channels, or "gram" for the papers' Gram matrices.
        total_variation: weight of the total variation.
        width: channels of the new network's first convolution, which double twice.
        blocks: how many residual blocks it has.
        size: height and width in pixels of the photos and style images in training; by default the network's own,
            or 224.
        batch_size: photos per step.
        rate: of Adam's first step; it falls evenly to zero over the steps.
        seed: of the first parameters and of the order of the photos.
    """

    iterations: int = 1000
    content_layers: tuple[str, ...] = ()
    content_weight: float = 1.0
    style_layers: tuple[str, ...] = ()
    style_weight: float = 3.0
    layer_weights: tuple[float, ...] = ()
    statistics: Statistics = "covariance"
    total_variation: float = 0.1
    width: int = 16
    blocks: int = 3
    size: int | tuple[int, int] | None = None
    batch_size: int = 4
    rate: float = 0.005
    seed: int = 0

    def train(
        self,
        model: Any,
        images: str | Path | Iterable[ImageLike],
        styles: ImageLike,
        *,
        callback: Callback | None = None,
        resume: str | Path | None = None,
    ) -> StyleNetwork:
        """Train a network.

        A keyboard interrupt, or a callback that raises StopIteration, stops the training and returns the network so
        far; `training.finished` tells.

        Args:
            model: what `agnoscope.wrap` returned, or a network that it can wrap by itself; it judges the pictures.
            images: photos to train on: a folder, or paths and arrays one by one, or one array of several images. Photos
                that cannot be read are passed over, and named in the warnings.
            styles: one style image or several, as any image is given. Each is a style of its own.
            callback: called after every step with a `State`; what it returns is ignored. Where it raises
                StopIteration, the training stops.
            resume: a file that `State.run.save` wrote: the training goes on from there.

        Returns:
            The network; it computes with `model` unless told otherwise.

        Raises:
            FileError: there is no such folder, or no photo in it.
            ImageError: a style image, or every photo, cannot be read or does not fit.
            LayerError: the network has no such layer.
            TargetError: nothing is active in a layer for a style image.
            OptionError: an option is out of range, or the file to resume belongs to another training.
            CapabilityError: the network has no gradients, or shows no layers.
            ModelError: it cannot run at this size.
            NonFiniteError: a layer, or the loss, is NaN or infinite from the first step on.
            OutOfMemoryError: memory does not suffice for a step.
        """
        run = self.begin(model, images, styles, resume=resume)
        try:
            for state in run:
                if callback is not None:
                    callback(state)
        except (KeyboardInterrupt, StopIteration):
            if not run.step:
                raise
        return run.result()

    def begin(
        self,
        model: Any,
        images: str | Path | Iterable[ImageLike],
        styles: ImageLike,
        *,
        resume: str | Path | None = None,
    ) -> Run:
        """The training before its first step, or where the file to resume has it: `for state in method.begin(...)`."""
        from agnoscope.api import wrap

        wrapped = wrap(model)
        wrapped.require("gradient", METHOD)
        wrapped.require("capture", METHOD)
        self._check()
        size = size_of(wrapped, self.size)
        if min(size) < SMALLEST:
            raise OptionError(f"size={self.size!r} must be {SMALLEST} pixels at the least.")
        check_size(wrapped, size)
        photos = Photos(images, wrapped.spec, size, wrapped.dtype, self.seed)
        names, pictures, side = self._pictures(styles, wrapped, size)
        distance, layers = styles_of(wrapped, pictures, side, self.style_layers, self.layer_weights, self.statistics)
        loss = Loss(
            Canvas.of(wrapped, size),
            Content.of(wrapped, size, self.content_layers),
            distance.formula,
            (float(self.content_weight), float(self.style_weight)),
            (TotalVariation(self.total_variation),) if self.total_variation else (),
        )
        run = Run(self, wrapped, loss, photos, Styles(names, pictures, distance, layers))
        if resume is not None:
            run.restore(resume)
        return run

    def _check(self) -> None:
        for name in ("iterations", "width", "blocks", "batch_size"):
            whole(name, getattr(self, name))
        whole("seed", self.seed, least=0)
        positive("rate", self.rate)
        positive("content_weight", self.content_weight, or_zero=True)
        positive("style_weight", self.style_weight)
        positive("total_variation", self.total_variation, or_zero=True)

    def _pictures(
        self, styles: ImageLike, model: Model, size: tuple[int, int]
    ) -> tuple[tuple[str, ...], NDArray[Any], int]:
        """A name for each style, the middle of its image, and the shorter side of what the smallest image shows."""
        spec, uses = replace(model.spec, size=None), Counter[str]()
        given = [load(each, spec, model.dtype) for each in (styles if isinstance(styles, list | tuple) else [styles])]
        if not given:
            raise ImageError("There is no style image: give at least one.")
        pictures = np.concatenate([cut(batch.images, size) for batch in given])
        stems = [Path(name).stem for batch in given for name in batch.names]
        named = [f"style {k}" if stem.startswith("image ") else stem for k, stem in enumerate(stems, start=1)]
        side = min(seen_side(batch.images.shape[1:3], size, enlarged=False) for batch in given)
        return tuple(unused(name, uses) for name in named), pictures, side
