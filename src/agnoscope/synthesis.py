"""The result of a method that makes images: the images, how they came about, and how the objective went."""

import base64
import html
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.archive import read_archive, write_archive, write_whole
from agnoscope.errors import FileError, OptionError
from agnoscope.explanation import PICTURES, save_picture
from agnoscope.trees import tupled

if TYPE_CHECKING:
    from PIL import Image

FORMAT: Final = 1
"""Version of the file; a reader refuses newer ones."""

ANIMATIONS: Final = {".gif": "GIF", ".webp": "WEBP"}

SAMPLED: Final = 16384
"""The palette of a GIF is made of so many pixels."""


@final
@dataclass(frozen=True)
class Making:
    """How images were made; all of it is saved with them.

    Attributes:
        method: name of the method, such as "deep-dream".
        options: all its options, chosen or by default.
        targets: what was driven up, one description per image.
        scores: the target's value for each image as it is, seen whole.
        steps: how many were done.
        finished: whether those were all; the images of a run that was stopped are its best ones.
        backend: the backend that computed.
        versions: distribution to version, agnoscope's own among them.
        input: what the network expects of an image, as `agnoscope.images.InputSpec` has it.
        seed: of noise and views.
        answers: for each image the network's first answers and their probabilities, where it has classes.
        warnings: sentences about what deserves a doubt.
    """

    method: str
    options: Mapping[str, Any]
    targets: tuple[str, ...]
    scores: tuple[float, ...]
    steps: int
    finished: bool
    backend: str
    versions: Mapping[str, str]
    input: Mapping[str, Any]
    seed: int
    answers: tuple[tuple[tuple[str, float], ...], ...] = ()
    warnings: tuple[str, ...] = ()


@final
@dataclass(frozen=True, eq=False)
class Synthesis:
    """Images that a network's gradients made.

    Attributes:
        images: shape (images, height, width, channels), within the bounds.
        bounds: lowest and highest value of a pixel.
        names: one for each image.
        making: how they came about.
        history: the objective of each image before every step, shape (steps, images).
        transparency: how much each pixel mattered, from 0 to 1, shape (images, height, width), where the method tells.
        photos: the uint8 pictures that the run began from, or was given; may be none.
        captions: of the photos, which are drawn before the images; none leaves them out.
        extras: name to further numbers of the method, one row per image, such as the size of a change.
    """

    images: NDArray[Any]
    bounds: tuple[float, float]
    names: tuple[str, ...]
    making: Making
    history: NDArray[Any] = field(repr=False)
    transparency: NDArray[Any] | None = field(default=None, repr=False)
    photos: tuple[NDArray[np.uint8], ...] = field(default=(), repr=False)
    captions: tuple[str, ...] = field(default=(), repr=False)
    extras: Mapping[str, NDArray[Any]] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[Self]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key: int | slice) -> Self:
        rows = list(range(len(self))[key] if isinstance(key, slice) else [range(len(self))[key]])
        m = self.making

        def of_rows(each: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(each[i] for i in rows) if len(each) == len(self) else each

        return replace(
            self,
            images=self.images[rows],
            names=tuple(self.names[i] for i in rows),
            history=self.history[:, rows],
            transparency=None if self.transparency is None else self.transparency[rows],
            photos=of_rows(self.photos),
            captions=of_rows(self.captions),
            extras={name: extra[rows] for name, extra in self.extras.items()},
            making=replace(
                m,
                targets=tuple(m.targets[i] for i in rows),
                scores=tuple(m.scores[i] for i in rows),
                answers=tuple(m.answers[i] for i in rows) if m.answers else (),
            ),
        )

    def __repr__(self) -> str:
        m = self.making
        what = f"{', '.join(m.targets[:3])}{' …' if len(self) > 3 else ''}"
        return f"Synthesis({m.method} of {what}; images {self.images.shape}; {m.steps} steps; {m.backend})"

    def pictures(self) -> tuple[NDArray[np.uint8], ...]:
        """The images as uint8 pictures, shape (height, width, 3) each."""
        return tuple(as_picture(image, self.bounds) for image in self.images)

    def draw(self, *, columns: int | None = None, titles: bool | Sequence[str] = True) -> "Image.Image":
        """All images in a grid, each with what it was made for.

        Args:
            columns: by default such that the grid is about as wide as high.
            titles: whether to write the targets above the images and their scores below them, or what to write instead.

        Returns:
            A `PIL.Image.Image`.

        Raises:
            OptionError: the number of columns or titles does not fit.
        """
        from agnoscope.render.gallery import gallery

        return gallery(self, columns=columns, titles=titles)

    def save(self, path: str | Path, **options: Any) -> Path:
        """Write it to one file, whole or not at all.

        Args:
            path: `.npz` for the numbers with all that belongs to them; `.png`, `.jpg` or `.webp` for a picture: a
                single image pixel by pixel, several as `draw` puts them together.
            **options: of `draw`.

        Raises:
            FileError: the ending is another one, or the file cannot be written.
            OptionError: `.npz` takes no options.
        """
        from PIL import Image

        path = Path(path)
        if path.suffix.lower() == ".npz":
            if options:
                raise OptionError(f"A .npz file takes no options, and got {', '.join(options)}.")
            return self._write(path)
        if path.suffix.lower() not in PICTURES:
            raise FileError(f"{path.name!r} must end in .npz (the numbers) or {', '.join(PICTURES)} (a picture).")
        alone = len(self) == 1 and not options and self.transparency is None
        return save_picture(Image.fromarray(self.pictures()[0]) if alone else self.draw(**options), path)

    def _write(self, path: Path) -> Path:
        header = {
            "kind": "synthesis",
            "format": FORMAT,
            "names": self.names,
            "bounds": self.bounds,
            "captions": self.captions,
        }
        arrays = {"images": self.images, "history": self.history}
        arrays |= {} if self.transparency is None else {"transparency": self.transparency}
        arrays |= {f"photo{i}": photo for i, photo in enumerate(self.photos)}
        arrays |= {f"extra {name}": extra for name, extra in self.extras.items()}
        return write_archive(path, header | {"making": asdict(self.making), "photos": len(self.photos)}, arrays)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote to a `.npz` file. Nothing in the file is executed.

        Raises:
            FileError: the file is missing, damaged, no synthesis, or of a newer version.
        """
        header, arrays = read_archive(path, "synthesis", FORMAT)
        try:
            return cls(
                arrays["images"],
                tuple(header["bounds"]),
                tuple(header["names"]),
                Making(**tupled(header["making"])),
                arrays["history"],
                arrays.get("transparency"),
                tuple(arrays[f"photo{i}"] for i in range(header["photos"])),
                tuple(header["captions"]),
                {n.removeprefix("extra "): a for n, a in arrays.items() if n.startswith("extra ")},
            )
        except (KeyError, TypeError) as error:
            raise FileError(f"{str(path)!r} is no synthesis that agnoscope saved, or is damaged.") from error

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.draw().save(buffer, "PNG")
        return buffer.getvalue()

    def _repr_html_(self) -> str:
        caption = html.escape(f"{self.making.method} of {', '.join(dict.fromkeys(self.making.targets))}")
        picture = base64.b64encode(self._repr_png_()).decode()
        return (
            f"<figure style='margin:0'><img alt='{caption}' style='max-width:100%' "
            f"src='data:image/png;base64,{picture}'><figcaption>{caption}</figcaption></figure>"
        )


def as_picture(image: NDArray[Any], bounds: tuple[float, float]) -> NDArray[np.uint8]:
    """An image as a uint8 picture (height, width, 3): the first three channels, or the first one as gray."""
    shown = image[..., :3] if image.shape[-1] >= 3 else np.repeat(image[..., :1], 3, axis=-1)
    share = (shown.astype(np.float64) - bounds[0]) / (bounds[1] - bounds[0])
    return np.clip((share * 255).round(), 0, 255).astype(np.uint8)


def animate(frames: Sequence[NDArray[np.uint8]], path: str | Path, *, seconds: float = 0.1, hold: float = 1.0) -> Path:
    """Write pictures as an endless animation, whole or not at all.

    Args:
        frames: uint8, shape (height, width, 3) each.
        path: ends in .gif or .webp.
        seconds: for which a picture stands.
        hold: for which the last one stands.

    Raises:
        OptionError: there is no frame, or they differ in size.
        FileError: the ending is another one, or the file cannot be written.
    """
    from PIL import Image

    path = Path(path)
    if path.suffix.lower() not in ANIMATIONS:
        raise FileError(f"{path.name!r} must end in {' or '.join(ANIMATIONS)}.")
    if not frames or len({frame.shape for frame in frames}) > 1:
        raise OptionError(f"{len(frames)} pictures of {len({f.shape for f in frames})} sizes make no animation.")
    gif = path.suffix.lower() == ".gif"
    first, *others = _indexed(frames) if gif else map(Image.fromarray, frames)
    times = [round(seconds * 1000)] * len(others) + [round(hold * 1000)]
    buffer = io.BytesIO()
    first.save(buffer, ANIMATIONS[path.suffix.lower()], save_all=True, append_images=others, duration=times, loop=0)
    return write_whole(path, buffer.getvalue())


def _indexed(frames: Sequence[NDArray[np.uint8]]) -> list["Image.Image"]:
    """Pictures of 256 colours, the same for all: a palette for each would take seconds to make, and flicker."""
    from PIL import Image

    random, share = np.random.default_rng(0), ceil(SAMPLED / len(frames))
    pixels = [frame.reshape(-1, 3) for frame in frames]
    sample = np.concatenate([each[random.integers(len(each), size=share)] for each in pixels])
    palette = Image.fromarray(sample[None]).quantize(256)
    return [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
