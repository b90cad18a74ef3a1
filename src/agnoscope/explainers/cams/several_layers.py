"""Several layers: one method at more than one layer, the maps fused into one."""

from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, Literal, Self, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.arrays import resize
from agnoscope.errors import LayerError, OptionError
from agnoscope.explainers.base import Attribution, Explainer, Progress, Wrapper
from agnoscope.explainers.cams.grad_cam import GradCAM
from agnoscope.explanation import REDUCTIONS
from agnoscope.model import Model
from agnoscope.target import Bound
from agnoscope.tokens import as_map

STAGES: Final = 3
"""How many stages are looked at unless told otherwise."""


@final
@dataclass(frozen=True)
class SeveralLayers(Wrapper):
    """A method at several layers: fine places from early ones, what they mean from late ones.

    Of each layer's map what is positive is divided by its largest value; a map in which nothing is positive stays
    zero. Their mean, or largest value, has the shape (images, height, width), between 0 and 1. The fusion of
    pytorch-grad-cam (Gildenblat, 2021). With Layer-CAM and "max" it is that of Jiang et al., IEEE TIP 2021, but for the
    tanh by which they lift the maps of early layers.

    Attributes:
        explainer: a method that has the option `layer`, itself unset, or the name of one.
        layers: their names; by default the ends of the network's last three stages, which are the sizes that its
            maps have.
        fuse: "mean" or "max".

    Raises:
        OptionError: the method has no option `layer`, or it is set; or `fuse` is unknown.
    """

    name = "several-layers"
    reduction = "positive"

    explainer: Explainer = field(default_factory=GradCAM)
    layers: tuple[str, ...] | None = None
    fuse: Literal["mean", "max"] = "mean"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layers is not None:
            if not isinstance(self.layers, str | list | tuple):
                raise OptionError(f"layers={self.layers!r} must be names of layers: layers=('layer3', 'layer4').")
            layers = (self.layers,) if isinstance(self.layers, str) else tuple(self.layers)
            object.__setattr__(self, "layers", layers)
        if "layer" not in {option.name for option in fields(self.explainer)}:  # type: ignore[arg-type]
            raise OptionError(f"{self.explainer.name} looks at no layer. Give a method that does: ag.GradCAM().")
        if getattr(self.explainer, "layer", None) is not None:
            raise OptionError("Name the layers in layers=, not in the method that is wrapped.")
        if self.fuse not in ("mean", "max"):
            raise OptionError(f"fuse={self.fuse!r} must be 'mean' or 'max'.")

    def settle(self, model: Model, size: tuple[int, int]) -> Self:
        asked = self.layers if self.layers is not None else stage_ends(model, size)
        if not asked:
            raise OptionError("layers=() names no layer: name at least one, or None for the ends of the last stages.")
        layers = tuple(model.layer(name, size).name for name in asked)
        settled = replace(self, layers=layers)
        settled.each(model, size)  # so that an unfit layer shows before any work
        return settled

    def doubts(self, model: Model, size: tuple[int, int]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(doubt for each in self.each(model, size) for doubt in each.doubts(model, size)))

    def each(self, model: Model, size: tuple[int, int]) -> list[Explainer]:
        """The method at each of the layers."""
        return [replace(self.explainer, layer=name).settle(model, size) for name in self.layers or ()]  # type: ignore[type-var]

    def attribute(
        self, model: Model, images: NDArray[Any], target: Bound, batch_size: int, progress: Progress
    ) -> Attribution:
        size = (images.shape[1], images.shape[2])
        explainers = self.each(model, size)
        maps: list[NDArray[Any]] = []
        notes: list[str] = []
        reached = -1

        def reach(percent: int) -> None:
            nonlocal reached
            if percent > reached:
                reached = percent
                progress(percent, 100 * len(explainers))

        for i, explainer in enumerate(explainers):

            def told(done: int, total: int, before: int = i) -> None:
                reach(100 * before + 100 * done // total)  # methods differ in how they count

            found = explainer.attribute(model, images, target, batch_size, told)
            maps.append(self.share(model, explainer, found.values, size))
            notes += found.notes
        fused = np.mean(maps, axis=0) if self.fuse == "mean" else np.max(maps, axis=0)
        return replace(found, values=fused, extras={}, notes=tuple(dict.fromkeys(notes)))

    def share(self, model: Model, explainer: Any, values: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
        """The positive part of each map, as a share of its largest value, at the size of the image."""
        layer = model.layers(size)[explainer.layer]
        if values.shape[1:] == layer.shape:  # a gradient at the layer, not yet a map
            values = as_map(np, values, layer)
        if values.ndim not in (3, 4) or (values.ndim == 3 and values.shape[1:] == layer.shape):
            raise LayerError(f"The layer {layer.name!r} has no maps: its values have the shape {values.shape[1:]}.")
        maps = REDUCTIONS[explainer.reduction](values if values.ndim == 4 else values[..., None])
        maps = np.maximum(maps if maps.shape[1:] == size else resize(np, maps, size), 0)
        peaks = maps.max(axis=(1, 2), keepdims=True)
        return maps / np.where(peaks > 0, peaks, 1)


def stage_ends(model: Model, size: tuple[int, int]) -> tuple[str, ...]:
    """The last layers of the last three sizes of map that the network has, in the order in which they run.

    Raises:
        LayerError: no layer has spatial axes.
    """
    last = model.last_map(size)
    ends = {last.grid[:2] if last.grid else last.shape[:2]: last.name}  # the last one first
    layers = list(model.layers(size).values())
    layers = [layer for layer in layers[: layers.index(last)] if layer.spatial and layer.grid is None]
    for layer in reversed(layers):
        if layer.kind in ("conv", "norm") and layer.shape[:2] not in ends:
            same = (other for other in reversed(layers) if other.shape == layer.shape and other.kind != "pool")
            ends[layer.shape[:2]] = next(same).name
    return tuple(ends.values())[:STAGES][::-1]
