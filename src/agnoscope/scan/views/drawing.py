"""Pictures of what a scan shows: patches below their channels, maps over the images of a class."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from agnoscope.archive import write_whole
from agnoscope.errors import FileError
from agnoscope.explanation import save_picture
from agnoscope.render.blend import fitted, overlaid
from agnoscope.render.colour import Scale, table
from agnoscope.render.panels import Panel, compose, readable
from agnoscope.synthesis import as_picture

if TYPE_CHECKING:
    from PIL import Image

    from agnoscope.scan.views.classes import ClassChannel, ClassView
    from agnoscope.scan.views.patches import Example, Patches, Unit

PERCENTILE: Final = 99.5
"""Of the sizes of a guided patch's numbers, where its scale ends."""

PAPER: Final = 255
GAP: Final = 2
ALPHA: Final = 0.6
"""How much the largest value of a map covers of the photo: channels of ReLU6 are at it all over their object."""
OUTLINE: Final = (80, 235, 255)
DEAD: Final = 226
"""Gray of what is left out."""

NAME: Final = 17
"""Letters of an image's name below its patch."""


def draw_patches(patches: "Patches", side: int) -> "Image.Image":
    """A row for each unit; see `Patches.draw`."""
    dead = patches.total - patches.alive
    about = f"{patches.chosen}; {dead} of {patches.total} are dead" if dead else patches.chosen
    guided = any(example.guided is not None for unit in patches.units for example in unit.examples)
    lines = [about[:1].upper() + about[1:] + ("; patches chosen to differ." if patches.diverse else ".")]
    if guided:
        lines.append("Below each patch: guided backpropagation from the unit; gray is 0, each on its own scale.")
    return compose(
        [_row(unit, side) for unit in patches.units],
        title=patches.caption,
        subtitle=" ".join(lines),
        labels=[unit.name for unit in patches.units],
        notes=[*patches.notes, *_ties(patches.units)],
    )


def _row(unit: "Unit", side: int) -> list[Panel]:
    if not unit.examples:
        blank = np.full((side, side, 3), DEAD, np.uint8)
        return [Panel(blank, "dead" if unit.dead else "none", unit.dead)]
    return [
        Panel(
            _pair(example, side), readable(example.value), "\n".join(filter(None, (example.label, short(example.name))))
        )
        for example in unit.examples
    ]


def _ties(units: "Sequence[Unit]") -> list[str]:
    tied = [unit for unit in units if unit.tied > 1]
    if not tied:
        return []
    values = ", ".join(dict.fromkeys(readable(unit.examples[0].value) for unit in tied if unit.examples))
    named = f"{', '.join(unit.name for unit in tied[:4])}{' and others' if len(tied) > 4 else ''}"
    return [f"Several images share the largest value ({values}) of {named}; they stand in the order of the scan."]


def _pair(example: "Example", side: int) -> NDArray[np.uint8]:
    """A patch on top of its guided backpropagation."""
    patch = fitted(example.picture, side)
    if example.guided is None:
        return _placed(patch, side, (side - patch.shape[0]) // 2)
    guided = _stretched(as_guided(example.guided), patch.shape[:2])
    above, below = _placed(patch, side, side - patch.shape[0]), _placed(guided, side, 0)
    return np.concatenate([above, np.full((GAP, side, 3), PAPER, np.uint8), below])


def save_patches(patches: "Patches", folder: Path) -> Path:
    """All patches as pictures of their own; see `Patches.save`."""
    from PIL import Image

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"The folder {str(folder)!r} cannot be made: {error.strerror or error}.") from error
    units = []
    for number, unit in enumerate(patches.units):
        told = asdict(replace(unit, examples=()))
        for rank, example in enumerate(unit.examples, start=1):
            stem = f"{number:03d}_{unit.name.replace(' ', '_')}_{rank}"
            files = {"picture": example.picture}
            if example.guided is not None:
                files["guided"] = as_guided(example.guided)
            for what, pixels in files.items():
                save_picture(Image.fromarray(pixels), folder / f"{stem}_{what}.png")
            about = {name: value for name, value in vars(example).items() if name not in ("picture", "guided")}
            told["examples"] += (about | {what: f"{stem}_{what}.png" for what in files},)
        units.append(told)
    about = {"images": patches.images, "chosen": patches.chosen, "notes": patches.notes, "units": units}
    write_whole(folder / "patches.json", json.dumps(about, indent=1).encode())
    return folder


def as_guided(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Signed values as a picture in which gray is 0, on their own scale, shape (height, width, 3).

    Args:
        values: shape (height, width, channels).
    """
    end = float(np.percentile(np.abs(values), PERCENTILE, method="higher")) if values.size else 0.0
    end = end or float(np.abs(values).max(initial=0)) or 1.0
    return as_picture(values, (-end, end))


def short(name: str) -> str:
    """The end of a path, cut to fit below a patch."""
    last = PurePosixPath(name).name
    return last if len(last) <= NAME else f"{last[: NAME - 1]}…"


def _stretched(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    from PIL import Image

    shown = Image.fromarray(picture).resize((size[1], size[0]), Image.Resampling.BICUBIC)
    return np.asarray(shown)


def _placed(picture: NDArray[np.uint8], side: int, top: int) -> NDArray[np.uint8]:
    """A picture on a white square, in the middle from left to right."""
    canvas = np.full((side, side, 3), PAPER, np.uint8)
    left = (side - picture.shape[1]) // 2
    canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return canvas


def draw_class(view: "ClassView", side: int) -> "Image.Image":
    """A row for each channel; see `ClassView.draw`."""
    how = {
        "contribution": "The most telling channels first: those that give the class's score most above other images.",
        "effect": "The channels that fire for it the most standard deviations above other images first.",
        "asked": "The channels asked for.",
    }[view.ranked]
    lines = [f"{how} Compared with {view.others} images of other classes."]
    lines.append(
        "At the left the mean map over the mean image, on its own scale; beside it the map over the images that excite "
        "the channel most, on one scale."
    )
    if view.masked:
        spurious = ", ".join(f"channel {one.channel}" for one in view.spurious) or "none"
        seen = f"{view.masked} image{'s' * (view.masked > 1)} with masks, which are shown as outlines"
        lines.append(
            f"Off object: the share of the maps that lies off it, in {seen}. A channel is suspect where surely most of "
            f"its maps avoid the object more than maps without aim. Suspects: {spurious}."
        )
    return compose(
        [_channel_row(view, one, side) for one in view.channels],
        title=view.caption,
        subtitle=" ".join(lines),
        notes=view.notes,
    )


def _channel_row(view: "ClassView", one: "ClassChannel", side: int) -> list[Panel]:
    maps = [sighting.map for sighting in one.sightings]
    scale = Scale.fit(maps)
    colours = table(diverging=scale.diverging)
    mean = Scale.fit([one.mean_map])
    told = [] if np.isnan(one.contribution) else [f"{one.contribution:+.2f} to the score"]
    told.append(f"d {one.effect:.2f}, AUROC {one.separation:.2f}")
    if one.evidence is not None:
        told.append(f"off object {one.evidence.off:.0%} (area {one.evidence.area:.0%})")
    first = overlaid(fitted(view.mean_photo, side), one.mean_map, mean, table(diverging=mean.diverging), alpha=ALPHA)
    name = f"channel {one.channel}{' · spurious?' if one.spurious else ''}"
    row = [Panel(first, name, "\n".join(told))]
    for sighting in one.sightings:
        photo = fitted(sighting.photo, side)
        picture = overlaid(photo, sighting.map, scale, colours, alpha=ALPHA)
        if sighting.object is not None:
            picture = outlined(picture, sighting.object)
        row.append(Panel(picture, "", f"{readable(sighting.value)} · {short(sighting.name)}"))
    return row


def outlined(picture: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """A picture with a line around the object of a mask of any size, stretched over it."""
    from PIL import Image
    from skimage.segmentation import find_boundaries

    height, width = picture.shape[:2]
    large = np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))
    drawn = picture.copy()
    drawn[find_boundaries(large, mode="inner")] = OUTLINE
    return drawn
