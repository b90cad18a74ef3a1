"""The patches that excite a unit most: what channels and neurons look for, shown by the photos themselves.

A scan knows in which images and at which place a unit was largest. A patch is all that the unit sees there: its exact
receptive field, cut out of the photo (Zeiler and Fergus, ECCV 2014). Beside it stands guided backpropagation from that
very unit (Springenberg et al., ICLR Workshop 2015): what in the patch excited it. A ReLU6 at its cap lets it pass.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.batches import comfortable_batch, within_memory
from agnoscope.errors import CapabilityError, OptionError
from agnoscope.explainers.base import Progress, StepExplainer, input_gradient, silent
from agnoscope.explainers.gradients.relu_rule import unchanged_activations
from agnoscope.explainers.gradients.saliency import Saliency
from agnoscope.inspection.receptive_fields import Box
from agnoscope.model import Model
from agnoscope.patches import Array
from agnoscope.scan.scan import Scan
from agnoscope.scan.views.candidates import Candidates, channel_candidates, differing, neuron_candidates
from agnoscope.scan.views.drawn import Drawn
from agnoscope.scan.views.places import Places, cut, enlarged
from agnoscope.scan.views.rereading import Reader, Reread
from agnoscope.target import Bound, side_by_side

if TYPE_CHECKING:
    from PIL import Image

COUNT: Final = 12
"""Channels that are shown where none are asked for."""


@final
@dataclass(frozen=True, eq=False)
class Example:
    """A patch that excites a unit.

    Attributes:
        row: of the scan.
        name: of the image.
        label: its class, "" where that is unknown.
        value: of the unit.
        place: row and column in the layer's map; (0, 0) in a layer without maps.
        box: what the unit sees, in pixels of the image at the size of the scan.
        photo_box: the same in pixels of the photo, to whole pixels outward.
        picture: uint8, that part of the photo, its longer side at most 512 pixels.
        guided: guided backpropagation from the unit within the box, signed, shape (height, width, channels) of the
            box; None where it is not wanted or not to be had.
    """

    row: int
    name: str
    label: str
    value: float
    place: tuple[int, int]
    box: Box
    photo_box: Box
    picture: NDArray[np.uint8]
    guided: NDArray[Any] | None


@final
@dataclass(frozen=True, eq=False)
class Unit:
    """A channel, or one neuron of it, with the patches that excite it most.

    Attributes:
        layer: its layer's name.
        channel: its number.
        neuron: whether it is one neuron; a channel's patches may come from any place of its map.
        place: row and column of a neuron in the layer's map; None for a channel, and where there is no map.
        examples: best first; fewer than asked for where the scan has fewer images.
        dead: why it has none: "never above 0" (where it is in a map, or follows a ReLU or another activation) or "the
            same for every image"; else "".
        tied: how many of the images that the scan kept have the largest value, to all its digits.
    """

    layer: str
    channel: int
    neuron: bool
    place: tuple[int, int] | None
    examples: tuple[Example, ...]
    dead: str = ""
    tied: int = 1

    @property
    def name(self) -> str:
        """Such as "channel 12" or "neuron 12 at (3, 4)"."""
        where = "" if self.place is None else f" at {self.place}"
        return f"{'neuron' if self.neuron else 'channel'} {self.channel}{where}"


@final
@dataclass(frozen=True, eq=False)
class Patches(Drawn):
    """The patches that excite units most.

    Attributes:
        units: in the order asked for, else the most selective first.
        images: how many images the scan has.
        alive: how many channels of the layer, or neurons of the scan, are not dead.
        total: how many there are.
        chosen: how the units were chosen, in words.
        diverse: whether patches were chosen to differ from one another.
        notes: sentences for the user.
    """

    units: tuple[Unit, ...]
    images: int
    alive: int
    total: int
    chosen: str
    diverse: bool = False
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.units)

    @property
    def caption(self) -> str:
        """What the picture shows, in one line."""
        layers = ", ".join(dict.fromkeys(unit.layer for unit in self.units))
        return f"Patches that excite {layers} most, of {self.images} images"

    def draw(self, *, side: int = 112) -> "Image.Image":
        """A row for each unit: its patches, best first, and guided backpropagation below each.

        Args:
            side: longer side of a patch in pixels.
        """
        from agnoscope.scan.views.drawing import draw_patches

        return draw_patches(self, side)

    def save(self, path: str | Path) -> Path:
        """Write the whole picture, or a folder of all patches.

        Args:
            path: ends in .png, .jpg, .jpeg or .webp; or a folder, which is made if it is not there: it gets every patch
                and its guided backpropagation as pictures of their own, and `patches.json` with values, names and
                boxes (top, left, bottom, right).

        Raises:
            FileError: it cannot be written.
        """
        from agnoscope.scan.views.drawing import save_patches

        path = Path(path)
        return save_patches(self, path) if path.is_dir() or not path.suffix else super().save(path)


def top_patches(
    model: Model,
    scan: Scan,
    layer: str | None = None,
    channels: int | Sequence[int] | None = None,
    k: int = 9,
    *,
    neurons: bool = False,
    diverse: bool = False,
    guided: bool = True,
    count: int = COUNT,
    progress: Progress | None = None,
) -> Patches:
    """Cut the patches that excite units most out of a scan's photos.

    Args:
        model: the network that was scanned.
        scan: the scan.
        layer: one that the scan kept; by default its first one.
        channels: their numbers; by default the `count` most selective ones: those whose k best patches lie the most
            standard deviations above what the channel gives the images on average. Dead ones are left out.
        k: patches for each, one from an image at the most, and up to what the scan kept.
        neurons: whether to show the scan's neurons in place of channels.
        diverse: whether patches should differ from one another: of those with at least half the largest value, they
            are chosen by maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998),
            ½ value / largest value − ½ the largest cosine to one chosen before, the cosine being that of all the
            layer's channels at the patch's place. Otherwise the largest values, ties in the order of the images.
        guided: whether guided backpropagation stands beside each.
        count: how many channels where none are named.
        progress: called with the units done and their number.

    Raises:
        OptionError: the scan is of another network, it kept fewer than `k` images, no channel is alive, or the options
            contradict one another.
        LayerError: the scan did not keep this layer, or no neurons.
        TargetError: the layer has no such channel.
        FileError: the photos cannot be read any more.
    """
    reader = Reader.of(model, scan)
    found = neuron_candidates(model, scan, k) if neurons else channel_candidates(model, scan, layer, channels, k, count)
    if neurons and (layer is not None or channels is not None):
        raise OptionError("The scan's neurons have their own layers and channels: leave layer and channels out.")
    notes, units = list[str](), []
    places = {one.layer.name: Places.of(model, one.layer, scan.size, notes) for one in found.candidates}
    able = guided and {"gradient", "relu"} <= model.can
    if guided and not able:
        notes.append(f"Guided backpropagation is left out: this {model.backend} network has no gradients of ReLUs.")
    report = progress or silent
    report(0, len(found.candidates))
    for done, one in enumerate(found.candidates, start=1):
        best = one.first(0) if one.dead else differing(reader, one, k) if diverse else one.first(k)
        place = places[one.layer.name].at(int(one.places[0])) if one.neuron else None
        tied = int((one.values == one.values[0]).sum())
        examples = tuple(_examples(reader, best, places[one.layer.name], able, notes))
        units.append(Unit(one.layer.name, one.channel, one.neuron, place, examples, one.dead, tied))
        report(done, len(found.candidates))
    told = tuple(dict.fromkeys((*notes, *reader.reasons())))
    return Patches(tuple(units), len(scan), found.alive, found.total, found.chosen, diverse, told)


def _examples(reader: Reader, best: Candidates, places: Places, guided: bool, notes: list[str]) -> Iterator[Example]:
    """A unit's patches, cut out of those photos that can be read, and explained."""
    images = {image.row: image for image in reader.there(best.rows.tolist())}
    kept = best.take([i for i, row in enumerate(best.rows.tolist()) if row in images])
    slopes: Any = [None] * len(images)
    if guided and images:
        slopes = _guided(reader.model, kept, [images[row] for row in kept.rows.tolist()], places, notes)
    scan, found = reader.scan, (table.tolist() for table in (kept.rows, kept.values, kept.places))
    for row, value, flat, slope in zip(*found, slopes, strict=True):
        photo, box = images[row].photo, places.box(flat)
        wide = enlarged(box, scan.size, photo.shape[:2])
        label = scan.labels[row] if scan.labels is not None else ""
        part = None if slope is None else slope[box.top : box.bottom, box.left : box.right]
        place = places.at(flat) or (0, 0)
        yield Example(row, scan.names[row], label, value, place, box, wide, cut(photo, wide), part)


def _guided(model: Model, kept: Candidates, images: Sequence[Reread], places: Places, notes: list[str]) -> NDArray[Any]:
    """Guided backpropagation from each unit to its image, shape (images, height, width, channels)."""
    neurons = [places.neuron(kept.channel, flat) for flat in kept.places.tolist()]
    target = side_by_side(neurons, model, places.size)
    arrays = np.stack([image.array for image in images])

    def slopes(explainer: StepExplainer) -> NDArray[Any]:
        found, _ = within_memory(
            model,
            (explainer.name, places.size),
            comfortable_batch(model, places.size),
            lambda batch: explainer.attribute(model, arrays, target, batch, silent).values,
        )
        return found

    try:
        found = slopes(PastCaps())
    except CapabilityError:  # there is no ReLU on the way back
        notes.append(f"No ReLU lies before {kept.layer.name}: the plain gradient is shown.")
        return slopes(Saliency())
    notes += unchanged_activations(model, places.size)
    return found


@final
@dataclass(frozen=True)
class PastCaps(StepExplainer):
    """Guided backpropagation that goes on where a ReLU6 is at its cap: the best patches of a unit often lie there."""

    name = "guided-backprop past caps"
    needs = frozenset({"gradient", "relu"})
    reduction = "max-abs"

    def step(self, model: Model, images: Array, target: Bound) -> dict[str, Array]:
        return input_gradient(model.with_relu(_past_caps), images, target)


def _past_caps(xp: Any, x: Array, y: Array, g: Array, plain: Array) -> Array:
    """A ReLU's gradient: what is positive, where its input is."""
    del y, plain
    return xp.where(xp.logical_and(x > 0, g > 0), g, xp.zeros_like(g))
