"""What a network goes by for a class: the channels that fire for it, where they do, and which are not about the object.

    contribution = mean slope of the class's score to the channel · (mean in the class − mean elsewhere)

Where global pooling and a dense layer follow, the slope is the weight between channel and class, and the contribution
is how much of the score the channel gives to this class's images and not to others. The class's images that excite the
channel most, with its map over them, show what it goes by (Singla and Feizi, ICLR 2022). With masks of the objects the
share of the map that lies off the object tells which channels are spurious: about grass rather than about dogs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import LayerError, OptionError
from agnoscope.explainers.base import Progress, silent
from agnoscope.explainers.options import whole
from agnoscope.model import Model
from agnoscope.scan.scan import Scan
from agnoscope.scan.views.again import Again
from agnoscope.scan.views.candidates import checked_channels
from agnoscope.scan.views.class_features import ClassFeatures, class_features, labels_of, separation
from agnoscope.scan.views.drawn import Drawn
from agnoscope.scan.views.evidence import Evidence
from agnoscope.scan.views.masks import Masks, ObjectMasks
from agnoscope.scan.views.rereading import Reader

if TYPE_CHECKING:
    from PIL import Image

MOST: Final = 128
"""Images of a class that go through the network again, evenly chosen."""

TELLING: Final = 0.01
"""Channels with a smaller share of the largest contribution tell nothing."""


@final
@dataclass(frozen=True, eq=False)
class Sighting:
    """An image of a class that excites a channel.

    Attributes:
        name: of the image.
        value: the channel's mean over its map.
        photo: uint8, shape (height, width, 3), longer side at most 256 pixels.
        map: the channel's map, shape (rows, columns).
        object: mask of the object, shape (height, width) at the size of the scan; None where there is none.
    """

    name: str
    value: float
    photo: NDArray[np.uint8]
    map: NDArray[Any]
    object: NDArray[np.bool_] | None


@final
@dataclass(frozen=True, eq=False)
class ClassChannel:
    """A channel that fires for a class.

    Attributes:
        channel: its number.
        contribution: to the class's score, as at the head of this file, in units of the score; NaN where the network
            has no such class, or no gradients.
        effect: Cohen's d of the class against all others.
        separation: probability that an image of the class has a larger mean than another one (AUROC).
        mean_map: mean map over the class's images, shape (rows, columns).
        sightings: the class's images with the largest means, these first.
        evidence: how far its maps lie off the object, over the class's images with masks; None where there are none.
    """

    channel: int
    contribution: float
    effect: float
    separation: float
    mean_map: NDArray[np.float64]
    sightings: tuple[Sighting, ...]
    evidence: Evidence | None

    @property
    def spurious(self) -> bool:
        """Whether its maps avoid the object, as `Evidence.spurious` has it."""
        return self.evidence is not None and self.evidence.spurious


@final
@dataclass(frozen=True, eq=False)
class ClassView(Drawn):
    """What a network goes by for a class.

    Attributes:
        label: the class.
        layer: whose channels were looked at.
        images: of the class in the scan.
        others: of other classes.
        looked: images of the class that went through the network again.
        masked: of these, images with the mask of their object.
        channels: those that fire for it, the most telling first.
        ranked: by what: "contribution", "effect", or "asked" for channels that were asked for.
        mean_photo: uint8, the mean of the class's images, shape (height, width, 3).
        notes: sentences for the user.
    """

    label: str
    layer: str
    images: int
    others: int
    looked: int
    masked: int
    channels: tuple[ClassChannel, ...]
    ranked: str
    mean_photo: NDArray[np.uint8]
    notes: tuple[str, ...] = ()

    @property
    def spurious(self) -> tuple[ClassChannel, ...]:
        """The channels that are not about the object."""
        return tuple(channel for channel in self.channels if channel.spurious)

    @property
    def caption(self) -> str:
        """What the picture shows, in one line."""
        return f"What {self.layer} fires at in {self.images} images of {self.label}"

    def draw(self, *, side: int = 144) -> "Image.Image":
        """A row for each channel: its mean map over the mean image, and its map over the images that excite it most.

        Args:
            side: longer side of a picture in pixels.
        """
        from agnoscope.scan.views.drawing import draw_class

        return draw_class(self, side)


def class_view(
    model: Model,
    scan: Scan,
    label: str,
    layer: str | None = None,
    *,
    masks: Masks = None,
    channels: int | Sequence[int] | None = None,
    count: int = 4,
    k: int = 6,
    features: ClassFeatures | None = None,
    progress: Progress | None = None,
) -> ClassView:
    """Find the channels by which a network knows a class, and where they fire.

    Args:
        model: the network that was scanned.
        scan: with labels for at least two classes.
        label: one of them. Where it is one of the network's own, too, by its label or else by its number, channels are
            ranked by their contribution to its score; otherwise by Cohen's d.
        layer: one with maps that the scan kept; by default its first one.
        masks: of the objects, for the share of each map that lies off them: by names of images, or a folder; see
            `agnoscope.scan.views.masks`.
        channels: their numbers; by default the `count` most telling ones among those that fire more for the class than
            elsewhere.
        count: how many channels at the most.
        k: images for each.
        features: what `class_features` gave for this scan and layer, where many classes are looked at.
        progress: called with the images that went through the network and their number.

    Raises:
        OptionError: the scan is of another network or has no labels, there is no image of the class, no channel fires
            for it, or no mask has the name of an image.
        LayerError: the scan did not keep this layer, or it has no maps.
        TargetError: the layer has no such channel.
        FileError: the images, or the folder of masks, cannot be read any more.
    """
    reader = Reader.of(model, scan)
    found = model.layer(scan.layer(layer), scan.size)
    if not found.spatial:
        raise LayerError(f"The layer {found.name!r} of shape {found.shape} has no maps that could show where it fires.")
    objects = ObjectMasks.of(scan, masks)
    known = features or class_features(scan, found.name)
    place, labels = known.place(label), np.array(labels_of(scan))
    rows = np.flatnonzero(labels == label)
    looked = rows[np.unique(np.linspace(0, len(rows) - 1, MOST).round().astype(int))].tolist()
    again = Again(model, reader, found, progress or silent)
    contributions = again.slope(looked, label) * (known.means[place] - known.elsewhere[place])
    effects = known.effects[place]
    if channels is None:
        chosen, ranked = _telling(contributions, effects)
        chosen = chosen[: whole("count", count)]
        if not chosen:
            raise OptionError(f"No channel of {found.name!r} fires more for {label!r} than for the other classes.")
    else:
        chosen, ranked = checked_channels(channels, found, len(effects)), "asked"
    columns = np.concatenate([part[:, chosen] for _, part in scan.chunks(found.name)])
    best = [rows[np.argsort(-column[rows], kind="stable")[: whole("k", k)]].tolist() for column in columns.T]
    sights = again.sights(sorted({*looked, *(row for some in best for row in some)}), chosen)
    there = [row for row in looked if row in sights.maps]
    covers = objects.read(sorted(sights.maps))
    masked = [row for row in there if row in covers]
    separations = separation(columns[labels != ""], (labels == label)[labels != ""])
    made = []
    for i, channel in enumerate(chosen):
        maps = {row: whole_map[..., i].astype(np.float64) for row, whole_map in sights.maps.items()}
        made.append(
            ClassChannel(
                channel,
                float(contributions[channel]),
                float(effects[channel]),
                float(separations[i]),
                np.mean([maps[row] for row in there], axis=0),
                tuple(
                    Sighting(scan.names[row], float(columns[row, i]), sights.photos[row], maps[row], covers.get(row))
                    for row in best[i]
                    if row in maps
                ),
                Evidence.of(np.array([maps[row] for row in masked]), [covers[row] for row in masked], len(chosen)),
            )
        )
    counts = len(rows), int((labels != "").sum()) - len(rows), len(there), len(masked)
    notes = (*again.notes, *again.reader.reasons(), *list(objects.unfit.values())[:3])
    return ClassView(label, found.name, *counts, tuple(made), ranked, sights.mean_photo, notes)


def _telling(contributions: NDArray[np.float64], effects: NDArray[np.float64]) -> tuple[list[int], str]:
    """The channels that fire more for the class than elsewhere, the most telling first, and what tells."""
    ranked = "effect" if np.isnan(contributions).any() else "contribution"
    worth = effects if ranked == "effect" else contributions
    fires = (effects > 0) & (worth > TELLING * max(np.nanmax(worth, initial=0), 0))
    return [int(channel) for channel in np.argsort(-worth, kind="stable") if fires[channel]], ranked
