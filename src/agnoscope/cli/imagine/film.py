"""The pictures of a run on its way: an animation of it, and single ones."""

from math import ceil, sqrt
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from agnoscope.errors import FileError
from agnoscope.optimisation.run import Run
from agnoscope.synthesis import animate, as_picture

FRAMES: Final = 60
"""An animation shows about so many moments of a run."""

SECONDS: Final = 0.1
"""For which a frame stands."""

SIDES: Final = (320, 640)
"""Up to the first one small animations are enlarged a whole number of times, to the second large ones are shrunk."""


@final
class Film:
    """Frames of a run, and the animation that they make.

    Attributes:
        path: of the animation.
        frames: uint8 pictures of one size.
    """

    def __init__(self, path: Path, run: Run[Any], resumed: bool) -> None:
        self.path, self.frames = path, list[NDArray[np.uint8]]()
        self._every = ceil(run.total / FRAMES)
        canvas = run.stages[-1].canvas
        height, width = sheet(np.zeros((run.count, *canvas.size, 1)), canvas.bounds).shape[:2]
        factor = max(1, SIDES[0] // max(height, width)) * min(1.0, SIDES[1] / max(height, width))
        self._size = max(1, round(width * factor)), max(1, round(height * factor))
        if resumed and path.exists():
            # Those of the steps done only: the last one shows the best image, and a killed run may have gone further.
            of_steps = _pictures(path)[: ceil(run.steps_done / self._every)]
            self.frames = [self._frame(np.asarray(picture)) for picture in of_steps]

    def take(self, step: int, images: NDArray[Any], bounds: tuple[float, float]) -> None:
        """See the images of a step; those of every few steps become a frame."""
        if (step - 1) % self._every == 0:
            self.frames.append(self._frame(sheet(images, bounds)))

    def write(self, images: NDArray[Any], bounds: tuple[float, float]) -> Path:
        """Write the animation, with these images at its end.

        Raises:
            FileError: it cannot be written.
        """
        return animate([*self.frames, self._frame(sheet(images, bounds))], self.path, seconds=SECONDS)

    def _frame(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.asarray(Image.fromarray(picture).resize(self._size, Image.Resampling.LANCZOS))


def sheet(images: NDArray[Any], bounds: tuple[float, float]) -> NDArray[np.uint8]:
    """Images side by side as one picture, about as wide as high.

    Args:
        images: shape (images, height, width, channels).
        bounds: lowest and highest value of a pixel.
    """
    count, height, width = images.shape[:3]
    columns = ceil(sqrt(count))
    whole = np.full((ceil(count / columns) * height, columns * width, 3), 255, dtype=np.uint8)
    for i, image in enumerate(images):
        top, left = i // columns * height, i % columns * width
        whole[top : top + height, left : left + width] = as_picture(image, bounds)
    return whole


def _pictures(path: Path) -> list[Image.Image]:
    """The pictures of an animation; equal ones that follow each other are written as one, which stands for longer."""
    pictures: list[Image.Image] = []
    try:
        with Image.open(path) as stored:
            for frame in ImageSequence.Iterator(stored):
                picture = frame.convert("RGB")  # only now the frame knows how long it stands
                pictures += [picture] * max(1, round(frame.info.get("duration", 0) / (1000 * SECONDS)))
        return pictures
    except (OSError, ValueError, SyntaxError) as error:
        raise FileError(f"The animation {str(path)!r} cannot be read, and so not be gone on with: {error}.") from error
