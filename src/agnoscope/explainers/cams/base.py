"""What class activation maps share: the choice of the layer, its maps and their gradient, the way back to the image.

Two levels, of which methods are made:

    LayerMaps           looks at the maps of one layer; knows which, and how to lay tokens out
    └── GradientMaps    weighs them by the gradient of the score, in one compiled step
"""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Self, cast

from numpy.typing import NDArray

from agnoscope.arrays import resize
from agnoscope.batches import even, filled
from agnoscope.errors import LayerError, OptionError, nearest
from agnoscope.explainers.base import Explainer, OneImage, StepExplainer, answer
from agnoscope.gradients import Gradients, gradients
from agnoscope.model import Layer, Model
from agnoscope.patches import Array
from agnoscope.target import Bound
from agnoscope.tokens import as_map


@dataclass(frozen=True)
class LayerMaps(Explainer):
    """What makes one map of all the maps of a layer.

    The values are signed, so that what speaks against the target is kept; the ReLU of the papers is the reduction
    "positive", by which the map is drawn. It thus comes after the enlarging; where it must come before, take
    `upsample=False`.

    Attributes:
        layer: the layer whose maps are looked at, or any ending of its path that only one layer has; by default
            the end of the last convolutional stage, or the last tokens of a vision transformer that matter.
        upsample: whether the map is brought to the size of the image, bilinearly with half-pixel centres;
            otherwise it keeps the layer's.
        grid: (height, width, tokens skipped), how the tokens of the layer lie in the image where that is not
            recognised by itself; see `Layer.grid`.
    """

    needs = frozenset({"capture"})
    reduction = "positive"

    layer: str | None = None
    upsample: bool = True
    grid: tuple[int, int, int] | None = None

    def settle(self, model: Model, size: tuple[int, int]) -> Self:
        return replace(self, layer=layer_with_maps(self.name, model, self.layer, size, self.grid))

    def chosen(self, model: Model, size: tuple[int, int]) -> Layer:
        """The layer, with the grid of these options; to be asked once `settle` has chosen."""
        layer = model.layers(size)[cast("str", self.layer)]
        return layer if self.grid is None else replace(layer, grid=self.grid)

    def brought_up(self, xp: Any, values: Array, size: tuple[int, int]) -> Array:
        """Maps of the layer's size, shape (images, height, width), at the size that the options want."""
        return resize(xp, values, size) if self.upsample else values

    def look(self, model: Model, images: Array, target: Bound) -> tuple[Array, Gradients]:
        """The layer's maps, shape (images, height, width, channels), and the scores, in one pass forward."""
        layer = self.chosen(model, (images.shape[1], images.shape[2]))
        values = model.run(images, tuple(dict.fromkeys((*target.needs, layer.name))))
        scores = target(model.xp, values)
        return as_map(model.xp, values[layer.name], layer), Gradients(scores, values, None, {})

    def look_back(self, model: Model, images: Array, target: Bound) -> tuple[Array, Array, Gradients]:
        """The layer's maps and the gradient of the score at them, and all that the pass gave."""
        layer = self.chosen(model, (images.shape[1], images.shape[2]))
        found = gradients(model, images, target, needs=target.needs, at=(layer.name,), capture=(layer.name,))
        maps, slopes = (as_map(model.xp, given[layer.name], layer) for given in (found.values, found.layers))
        return maps, slopes, found

    def maps_of(self, one: OneImage) -> NDArray[Any]:
        """The layer's maps of one image, shape (height, width, channels); from the host."""
        return one.model.compile(_maps_program, self)(one.image[None])["maps"][0]


@dataclass(frozen=True)
class GradientMaps(LayerMaps, StepExplainer):
    """Maps weighed by the gradient of the score with respect to them. Subclasses give the formula."""

    needs = frozenset({"capture", "patch", "gradient"})

    @abstractmethod
    def combine(self, xp: Any, maps: Array, slopes: Array) -> Array:
        """The paper's formula.

        Args:
            xp: array namespace.
            maps: the layer's activation A, shape (images, height, width, channels).
            slopes: gradient of the score with respect to it, of the same shape.

        Returns:
            One signed map per image, shape (images, height, width).
        """

    def step(self, model: Model, images: Array, target: Bound) -> dict[str, Array]:
        maps, slopes, found = self.look_back(model, images, target)
        values = self.combine(model.xp, maps, slopes)
        return answer(self.brought_up(model.xp, values, (images.shape[1], images.shape[2])), found)


def layer_with_maps(
    method: str, model: Model, asked: str | None, size: tuple[int, int], grid: tuple[int, int, int] | None = None
) -> str:
    """The whole name of the layer asked for, or of the one that is chosen by itself.

    Args:
        method: who asks, for the message.
        model: the network.
        asked: the layer's name, or None.
        size: height and width of the image in pixels.
        grid: how its tokens lie, where the user says so.

    Raises:
        LayerError: it is not there, or has no spatial axes.
        OptionError: the grid does not fit the layer.
    """
    layer = model.last_map(size) if asked is None else model.layer(asked, size)
    if grid is not None:
        _check_grid(layer, grid)
    elif not layer.spatial:
        maps = [known.name for known in model.layers(size).values() if known.spatial]
        raise LayerError(
            f"{method} needs a layer with spatial axes; {layer.name!r} has the shape {layer.shape}. "
            f"Layers that have them: {nearest(layer.name, maps[::-1])}."
        )
    return layer.name


def _check_grid(layer: Layer, grid: Any) -> None:
    if len(layer.shape) != 2:
        raise OptionError(f"grid={grid!r} is for layers of tokens; {layer.name!r} has the shape {layer.shape}.")
    whole = isinstance(grid, tuple) and len(grid) == 3 and all(isinstance(n, int) for n in grid)
    if not whole or min(grid[:2]) < 1 or grid[2] < 0 or grid[0] * grid[1] + grid[2] != layer.shape[0]:
        raise OptionError(
            f"grid={grid!r} must be (height, width, tokens skipped) with height × width + skipped = {layer.shape[0]}, "
            f"the tokens of {layer.name!r}."
        )


def equal_chunks(items: NDArray[Any], size: int, most: int) -> Iterator[NDArray[Any]]:
    """Cut items into chunks whose length depends on the most that there can be, the last item repeated to fill up.

    So one compiled program serves all images, however many items each has.
    """
    return (items[rows] for rows, _ in filled(len(items), even(most, size)))


def _maps_program(model: Model, explainer: LayerMaps, images: Array) -> dict[str, Array]:
    layer = explainer.chosen(model, (images.shape[1], images.shape[2]))
    return {"maps": as_map(model.xp, model.run(images, (layer.name,))[layer.name], layer)}
