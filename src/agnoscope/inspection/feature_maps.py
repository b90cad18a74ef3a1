"""Feature maps: what every channel of every layer makes of one image, layer after layer, from edges to parts.

Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks" (ECCV 2014), show activations like these
beside what causes them; Yosinski et al., "Understanding Neural Networks Through Deep Visualization" (ICML 2015
Workshop), show those of whole layers as grids, live.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import FileError, ImageError, NonFiniteError, OptionError
from agnoscope.explainers.options import whole
from agnoscope.explanation import PICTURES, save_picture
from agnoscope.images import ImageLike, load
from agnoscope.inspection.receptive_fields import layers_with_maps
from agnoscope.inspection.sheets import COLUMNS, Sheet, Tile, as_html, as_png, draw_sheets, one_of, strongest
from agnoscope.model import Layer, Model
from agnoscope.patches import Array
from agnoscope.render.blend import fitted
from agnoscope.render.colour import Scale, paint, table
from agnoscope.render.look import SCALES, ScaleMode, check_number
from agnoscope.render.panels import Bar, Panel, compose, readable
from agnoscope.render.text import Face
from agnoscope.tokens import as_map

if TYPE_CHECKING:
    from PIL import Image

Order: TypeAlias = Literal["strongest", "number"]
ORDERS: Final = ("strongest", "number")

MOST: Final = 64
"""Channels that the picture of one layer shows, and that of several layers one row of them."""

OVERVIEW: Final = 24
"""Layers that a picture of all layers shows."""

LISTED: Final = 16
"""Dead channels whose numbers are written out."""

ENDS: Final = ("relu", "activation", "add", "pool", "block")
"""Kinds of layers at which a step of the network is done, and which a picture of all layers shows."""


@final
@dataclass(frozen=True, eq=False)
class FeatureMaps:
    """What the channels of some layers make of one image.

    Attributes:
        maps: name of a layer to its activation, shape (height, width, channels), in the order in which they run.
        layers: name to layer.
        photo: uint8, shape (height, width, 3).
        name: of the image.
        chosen: whether the user chose the layers.
    """

    maps: Mapping[str, NDArray[Any]]
    layers: Mapping[str, Layer] = field(repr=False)
    photo: NDArray[np.uint8] = field(repr=False)
    name: str
    chosen: bool = False

    def __repr__(self) -> str:
        return f"FeatureMaps(of {self.name}; {len(self.maps)} layers from {next(iter(self.maps))!r} on)"

    @property
    def dead(self) -> Mapping[str, NDArray[np.intp]]:
        """Layer to the numbers of its channels that are the same everywhere in this image, mostly zero."""
        return MappingProxyType({name: _dead(maps) for name, maps in self.maps.items()})

    def draw(
        self,
        layer: str | None = None,
        *,
        most: int | None = None,
        order: Order = "strongest",
        scale: ScaleMode = "shared",
        colours: str | None = None,
        percentile: float | None = None,
        side: int = 96,
        density: float = 1,
    ) -> "Image.Image":
        """Draw the maps of one layer as a grid, or those of several layers below one another.

        Maps that are nowhere negative run from 0 on; others run equally far to both sides of 0, which is white.
        A channel that is the same everywhere is dead here: a gray tile with a line across.

        Args:
            layer: name, or an ending of it. By default all layers that were chosen; if none were, the ends of
                the network's steps, and 24 of them, from first to last, if there are more.
            most: channels of a layer that are shown; by default 64, and 8 where several layers are drawn.
            order: which are shown if not all are: the "strongest", which vary the most over the image (by standard
                deviation), or the first by "number".
            scale: "shared" is one scale for all channels of a layer, so that they can be compared; "own" one for each
                channel, whose end is then written beside its number.
            colours: a colour map of the package `cmap`; by default one for maps that are nowhere negative and one for
                others.
            percentile: of a layer's absolute values, above 0 and up to 100, at which the scale ends, which is then
                written at the colour bar; None ends it at the largest value.
            side: longer side of a map in units, 16 to 512.
            density: pixels per unit, 0.5 to 4.

        Raises:
            LayerError: no such layer was kept.
            OptionError: an option is out of range.
        """
        one_of("scale", scale, SCALES)
        one_of("order", order, ORDERS)
        check_number("side", side, 16, 512)
        check_number("density", density, 0.5, 4)
        names = self._drawn() if layer is None else (_named(layer, self.maps),)
        shown = (MOST if len(names) == 1 else COLUMNS) if most is None else whole("most", most)
        look = _Look(shown, order, scale, colours, percentile, side)
        face = Face(density)
        head = None if layer else self._head(names, face, side)
        return draw_sheets([self._sheet(name, look) for name in names], face, head)

    def save(self, path: str | Path, **options: Any) -> Path:
        """Write one picture, or into a folder one for each layer, numbered in their order; each whole or not at all.

        Args:
            path: ends in .png, .jpg or .webp, or is a folder, which is made where it does not exist.
            **options: of `draw`.

        Raises:
            FileError: it can be neither.
        """
        path = Path(path)
        if path.suffix.lower() in PICTURES:
            return save_picture(self.draw(**options), path)
        if path.suffix and not path.is_dir():
            raise FileError(f"{path.name!r} must end in {', '.join(PICTURES)}, or be a folder.")
        try:
            path.mkdir(exist_ok=True)
        except OSError as error:
            raise FileError(f"The folder {str(path)!r} cannot be made: {error.strerror}.") from error
        for number, name in enumerate(self.maps):
            file = "".join(c if c.isalnum() or c in ".-_@" else "-" for c in name)
            save_picture(self.draw(name, **options), path / f"{number:03d}_{file}.png")
        return path

    def _repr_png_(self) -> bytes:
        return as_png(self.draw())

    def _repr_html_(self) -> str:
        return as_html(self._repr_png_(), f"Feature maps of {self.name}: {', '.join(self._drawn())}")

    def _drawn(self) -> tuple[str, ...]:
        """The layers that the picture of several shows."""
        if self.chosen:
            return tuple(self.maps)
        names = [name for name in self.maps if self.layers[name].kind in ENDS] or list(self.maps)
        few = np.linspace(0, len(names) - 1, min(len(names), OVERVIEW)).round().astype(int)
        return tuple(names[i] for i in few)

    def _head(self, names: Sequence[str], face: Face, side: int) -> "Image.Image":
        """The image, and what follows."""
        left_out = len(self.maps) - len(names)
        told = f"{len(names)} layers, from the first to the last" if len(names) > 1 else f"the layer {names[0]}"
        if left_out:
            told += f"; {left_out} more with maps were left out"
        dead = sum(len(_dead(self.maps[name])) for name in names)
        told += f". {_count(dead, 'channel')} of {sum(self.maps[name].shape[-1] for name in names)} dead here."
        photo = fitted(self.photo, face.px(2 * side))
        room = np.full((photo.shape[0], max(face.px(COLUMNS * side), photo.shape[1]), 3), 255, np.uint8)
        room[:, : photo.shape[1]] = photo
        title = f"Feature maps of {self.name}"
        return compose([[Panel(room)]], title=title, subtitle=f"{told[0].upper()}{told[1:]}", face=face)

    def _sheet(self, name: str, look: "_Look") -> Sheet:
        maps, dead = self.maps[name], _dead(self.maps[name]).tolist()
        count = maps.shape[-1]
        if look.order == "strongest":
            numbers = strongest(maps.std(axis=(0, 1), dtype=np.float64), look.most)
        else:
            numbers = np.arange(min(look.most, count))
        scale = Scale.fit([maps], look.percentile)
        tiles, bar = [], None
        for number in numbers.tolist():
            one = maps[..., number]
            mine = scale if look.scale == "shared" else Scale.fit([one], look.percentile)
            label = f"{number}" if look.scale == "shared" or number in dead else f"{number}: {readable(mine.high)}"
            painted = paint(one, mine, table(look.colours, diverging=mine.diverging))
            tiles.append(Tile(painted, f"{number} dead" if number in dead else label, number in dead))
        if look.scale == "shared":
            clipped = f", clipped at percentile {scale.percentile:g}" if scale.percentile is not None else ""
            bar = Bar(table(look.colours, diverging=scale.diverging), scale, f"one scale for the layer{clipped}")
        return Sheet(tiles, name, self._told(name, len(numbers), dead, look), bar, side=look.side)

    def _told(self, name: str, shown: int, dead: Sequence[int], look: "_Look") -> str:
        """What a layer is, which of its channels are shown, and which are dead."""
        layer, (height, width, count) = self.layers[name], self.maps[name].shape
        which = "strongest" if look.order == "strongest" else "first"
        parts = [
            layer.type or layer.kind,
            f"{height} × {width}",
            f"all {count} channels" if shown == count else f"the {shown} {which} of {count} channels",
            f"{_count(len(dead), 'channel')} dead here" + (f" ({_listed(dead)})" if dead else ""),
            *(["each channel on its own scale, which ends at the number above it"] if look.scale == "own" else []),
        ]
        return " · ".join(parts)


@final
@dataclass(frozen=True)
class _Look:
    """The options of `FeatureMaps.draw`."""

    most: int
    order: Order
    scale: ScaleMode
    colours: str | None
    percentile: float | None
    side: int


def feature_maps(network: Any, image: ImageLike, layers: Sequence[str] | str | None = None) -> FeatureMaps:
    """Keep what the layers with maps make of one image, all in one pass.

    Args:
        network: what `agnoscope.wrap` returned, or a network that it can wrap by itself.
        image: path, PIL image, uint8 or float array, or tensor.
        layers: names, or endings of them; by default all layers with maps, which for a large network are some
            hundred megabytes.

    Raises:
        LayerError: there is no such layer, or it has no maps.
        ImageError: the image cannot be read, does not fit, or there are several.
        CapabilityError: the network cannot be looked into.
        NonFiniteError: NaN or infinity in an activation; the message names the first layer that has it.
    """
    from agnoscope.api import wrap

    model: Model = wrap(network)
    model.require("capture", "showing feature maps")
    batch = load(image, model.spec, model.dtype)
    if len(batch.images) != 1:
        raise ImageError(f"Feature maps are those of one image, and {len(batch.images)} were given: call it for each.")
    size = (batch.images.shape[1], batch.images.shape[2])
    wanted = layers_with_maps(model, size, [layers] if isinstance(layers, str) else layers)
    if not wanted:
        raise OptionError("This network has no layer with maps (height, width, channels).")
    found = model.compile(_maps_program, tuple(wanted))(batch.images)
    maps = {layer.name: np.asarray(found[layer.name][0]) for layer in wanted}
    for name, values in maps.items():
        if not np.isfinite(values).all():
            raise NonFiniteError(f"The network gives NaN or infinity in its layer {name!r} for {batch.names[0]}.")
    kept = {layer.name: layer for layer in wanted}
    return FeatureMaps(
        MappingProxyType(maps), MappingProxyType(kept), batch.photos[0], batch.names[0], layers is not None
    )


def _maps_program(model: Model, layers: tuple[Layer, ...], images: Array) -> dict[str, Array]:
    """The maps of these layers."""
    found = model.run(images, [layer.name for layer in layers])
    return {layer.name: as_map(model.xp, found[layer.name], layer) for layer in layers}


def _named(name: str, kept: Mapping[str, Any]) -> str:
    """The whole name of a layer that was kept."""
    from agnoscope.errors import LayerError, nearest

    found = [name] if name in kept else [known for known in kept if known.endswith(("." + name, "/" + name))]
    if len(found) != 1:
        raise LayerError(
            f"{len(found) or 'No'} layers that were kept are called {name!r}. Near it: {nearest(name, found or kept)}."
        )
    return found[0]


def _dead(maps: NDArray[Any]) -> NDArray[np.intp]:
    """The numbers of the channels that are the same everywhere."""
    return np.flatnonzero((maps == maps[:1, :1]).all(axis=(0, 1)))


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"


def _listed(numbers: Sequence[int]) -> str:
    few = ", ".join(map(str, numbers[:LISTED]))
    return few + (f" and {len(numbers) - LISTED} more" if len(numbers) > LISTED else "")
