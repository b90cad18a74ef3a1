"""Pictures of a diagnosis: the pictures whose answers need their background most."""

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from agnoscope.evaluation.diagnosis import Diagnosis, evidence_maps
from agnoscope.render.blend import fitted, overlaid
from agnoscope.render.colour import Scale, table
from agnoscope.render.panels import Panel, compose

if TYPE_CHECKING:
    from PIL import Image

SIDE: Final = 200
"""Of a panel, in pixels."""
OUTLINE: Final = (255, 0, 200)


def worst_pictures(diagnosis: Diagnosis, bounds: tuple[float, float], count: int = 6) -> "Image.Image":
    """Draw the most suspect pictures: each with its evidence, without its object, and without its background.

    Args:
        diagnosis: what `diagnose` found.
        bounds: of the network's images.
        count: how many at the most.
    """
    rows: list[list[Panel]] = []
    names = []
    for i in diagnosis.worst(count):
        cases = diagnosis.cases
        photo = fitted(_photo(cases.images[i], bounds), SIDE)
        values = evidence_maps(diagnosis.explanation[int(i)])[0]
        empty = np.where(cases.masks[i][..., None], cases.backgrounds[i], cases.images[i])
        answer = diagnosis.explanation.provenance.targets[i]
        confidence = diagnosis.confidence[i]
        share = diagnosis.evidence[i]
        evidence = "no positive evidence" if np.isnan(share) else f"{share:.0%} of the evidence on the object"
        first = not rows
        rows.append(
            [
                Panel(_outlined(photo, cases.masks[i]), "the object" if first else "", f"{answer}, {confidence:.0%}"),
                Panel(
                    overlaid(photo, values, Scale.fit([values], None), table(None, diverging=False)),
                    "the evidence" if first else "",
                    evidence,
                ),
                Panel(
                    fitted(_photo(empty, bounds), SIDE),
                    "object replaced" if first else "",
                    f"{answer}: {confidence - diagnosis.without_object[i]:.0%}",
                ),
                Panel(
                    fitted(_photo(diagnosis.replaced[i], bounds), SIDE),
                    "background replaced" if first else "",
                    f"{answer}: {confidence - diagnosis.without_background[i]:.0%} on average of several",
                ),
            ]
        )
        names.append(cases.names[i])
    overall = diagnosis.overall
    return compose(
        rows,
        title=f"The network {overall.verdict}" if overall.verdict != "undecided" else "Undecided",
        subtitle=(
            f"{overall.pictures} pictures; the answer needs the background more than the object in "
            f"{overall.needs_background}, the object more than the background in {overall.needs_object}. "
            "Below are those that need the background most."
        ),
        labels=names,
    )


def _photo(image: NDArray[Any], bounds: tuple[float, float]) -> NDArray[np.uint8]:
    low, high = bounds
    pixels = np.clip((image.astype(np.float64) - low) / (high - low) * 255, 0, 255).round().astype(np.uint8)
    return pixels[..., :3] if pixels.shape[-1] >= 3 else np.repeat(pixels[..., :1], 3, axis=-1)


def _outlined(photo: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The photo with a line around its object."""
    from PIL import Image
    from skimage.segmentation import find_boundaries

    large = np.asarray(Image.fromarray(mask).resize((photo.shape[1], photo.shape[0]), Image.Resampling.NEAREST))
    drawn = photo.copy()
    drawn[find_boundaries(large, mode="thick")] = OUTLINE
    return drawn
