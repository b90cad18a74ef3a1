"""The result: signed values, the photos they belong to, and where they come from.

An explanation is never normalised. Reducing it to one map per image is a separate, named step
(`Explanation.maps`); drawing it is a renderer's work. It saves to one `.npz` file without pickle.
"""

import base64
import html
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.archive import read_archive, write_archive, write_whole
from agnoscope.errors import FileError, OptionError
from agnoscope.trees import tupled

KIND: Final = "explanation"
FORMAT: Final = 1
"""Version of the file; a reader refuses newer ones."""

Reduction: TypeAlias = Literal["signed", "positive", "max-abs", "centred"]
REDUCTIONS: Final[dict[str, Callable[[NDArray[Any]], NDArray[Any]]]] = {
    "signed": lambda values: values.sum(axis=-1),
    "positive": lambda values: np.maximum(values.sum(axis=-1), 0),
    "max-abs": lambda values: np.abs(values).max(axis=-1),
    "centred": lambda values: values.sum(axis=-1) - values.sum(axis=-1).mean(axis=(1, 2), keepdims=True),
}
PICTURES: Final = (".png", ".jpg", ".jpeg", ".webp")


@final
@dataclass(frozen=True)
class Provenance:
    """How an explanation came about; all of it is saved with it.

    Attributes:
        method: name of the method, such as "grad-cam".
        options: all its options, chosen or by default.
        reduction: how the method's paper makes one map of the values.
        targets: what was explained, one description per image.
        space: "score" (before the softmax or sigmoid), "probability", "activation", "similarity", "output" or "mixed".
        scores: the target's value, one per image.
        layer: the layer looked at, or None; chosen by agnoscope where `automatic` names it.
        automatic: what agnoscope chose because the user did not: "layer", "target", "batch_size".
        answers: for each image the network's first three answers and their scores in `space` "score".
        backend: the backend that computed.
        versions: distribution to version, agnoscope's own among them.
        input: what the network expects of an image, as `agnoscope.images.InputSpec` has it.
        seed: of the random draws, or None where there are none.
        batch_size: how many images or samples went through the network at once.
        warnings: sentences about what deserves a doubt, such as an all-zero map.
    """

    method: str
    options: Mapping[str, Any]
    reduction: Reduction
    targets: tuple[str, ...]
    space: str
    scores: tuple[float, ...]
    backend: str
    versions: Mapping[str, str]
    input: Mapping[str, Any]
    batch_size: int
    layer: str | None = None
    automatic: tuple[str, ...] = ()
    answers: tuple[tuple[tuple[str, float], ...], ...] = ()
    seed: int | None = None
    warnings: tuple[str, ...] = ()


@final
@dataclass(frozen=True, eq=False)
class Explanation:
    """Why the network answered so, for one image or several.

    Attributes:
        values: signed and not normalised, shape (images, height, width) or (images, height, width, channels);
            float32, or float64 where the network computes in float64.
        photos: the uint8 pictures (height, width, 3) to draw on, one per image, at their own proportions.
        names: the images' names.
        provenance: how it came about.
        output: the network's scores before the softmax, shape (images, ...), where the run gave them.
        extras: name to further numbers of the method, one row per image, such as the completeness error "delta".
    """

    values: NDArray[Any]
    photos: tuple[NDArray[np.uint8], ...]
    names: tuple[str, ...]
    provenance: Provenance
    output: NDArray[Any] | None = field(default=None, repr=False)
    extras: Mapping[str, NDArray[Any]] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Self]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key: int | slice) -> Self:
        rows = range(len(self))[key] if isinstance(key, slice) else [range(len(self))[key]]
        p = self.provenance
        others = {name for i, name in enumerate(self.names) if i not in rows} - {self.names[i] for i in rows}
        return replace(
            self,
            values=self.values[list(rows)],
            photos=tuple(self.photos[i] for i in rows),
            names=tuple(self.names[i] for i in rows),
            output=None if self.output is None else self.output[list(rows)],
            extras={name: extra[list(rows)] for name, extra in self.extras.items()},
            provenance=replace(
                p,
                targets=tuple(p.targets[i] for i in rows),
                scores=tuple(p.scores[i] for i in rows),
                answers=tuple(p.answers[i] for i in rows) if p.answers else (),
                warnings=tuple(w for w in p.warnings if not any(w.startswith(f"{name}: ") for name in others)),
            ),
        )

    def __repr__(self) -> str:
        p = self.provenance
        span = f" from {self.values.min():.3g} to {self.values.max():.3g}" if self.values.size else ""
        return (
            f"Explanation({p.method} of {', '.join(p.targets[:3])}{' …' if len(self) > 3 else ''}; "
            f"values {self.values.shape} {self.values.dtype}{span}; {p.backend})"
        )

    def maps(self, reduction: Reduction | None = None) -> NDArray[Any]:
        """One map per image, shape (images, height, width).

        Args:
            reduction: "signed" sums the channels, "positive" keeps what is above zero of that sum, "max-abs"
                takes the largest absolute value over the channels, "centred" takes the map's mean off the sum; by
                default what suits the method's values.

        Raises:
            OptionError: there is no such reduction, or the values belong to a layer without maps.
        """
        name = reduction or self.provenance.reduction
        if name not in REDUCTIONS:
            raise OptionError(f"The reduction {name!r} is unknown; there are {', '.join(REDUCTIONS)}.")
        if self.values.ndim not in (3, 4):
            raise OptionError(
                f"The layer {self.provenance.layer!r} has no maps: its values have the shape {self.values.shape}. "
                "Use explanation.values, or name a layer with height and width."
            )
        values = self.values if self.values.ndim == 4 else self.values[..., None]
        return REDUCTIONS[name](values)

    def draw(self, renderer: str = "overlay", **options: Any) -> Any:
        """Draw it.

        Args:
            renderer: name of a renderer: "overlay", "heatmap" or one that a plugin adds.
            **options: of that renderer.

        Returns:
            A `PIL.Image.Image`.

        Raises:
            OptionError: there is no such renderer or option.
        """
        from agnoscope.plugins import plugins

        return plugins().renderer(renderer)(self, **options)

    def save(self, path: str | Path, **options: Any) -> Path:
        """Write it to one file, whole or not at all.

        Args:
            path: `.npz` for the values with all that belongs to them; `.png`, `.jpg` or `.webp` for a picture.
            **options: for a picture, those of `draw`.

        Raises:
            FileError: the ending is another one, or the file cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() == ".npz":
            if options:
                raise OptionError(f"A .npz file takes no options, and got {', '.join(options)}.")
            return self._write(path)
        if path.suffix.lower() not in PICTURES:
            raise FileError(f"{path.name!r} must end in .npz (the values) or {', '.join(PICTURES)} (a picture).")
        return save_picture(self.draw(**options), path)

    def _write(self, path: Path) -> Path:
        header = {"kind": KIND, "format": FORMAT, "names": self.names, "provenance": asdict(self.provenance)}
        arrays = {"values": self.values} | ({} if self.output is None else {"output": self.output})
        arrays |= {f"photo{i}": photo for i, photo in enumerate(self.photos)}
        arrays |= {f"extra {name}": extra for name, extra in self.extras.items()}
        return write_archive(path, header, arrays)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote to a `.npz` file. Nothing in the file is executed.

        Raises:
            FileError: the file is missing, damaged, no explanation, or of a newer version.
        """
        header, arrays = read_archive(path, KIND, FORMAT)
        try:
            return cls(
                values=arrays["values"],
                photos=tuple(arrays[f"photo{i}"] for i in range(len(header["names"]))),
                names=tuple(header["names"]),
                provenance=Provenance(**tupled(header["provenance"])),
                output=arrays.get("output"),
                extras={n.removeprefix("extra "): a for n, a in arrays.items() if n.startswith("extra ")},
            )
        except (KeyError, TypeError) as error:
            raise FileError(f"{str(path)!r} is no explanation that agnoscope saved, or is damaged.") from error

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.draw().save(buffer, "PNG")
        return buffer.getvalue()

    def _repr_html_(self) -> str:
        p = self.provenance
        facts = {"method": p.method, **p.options, "targets": ", ".join(p.targets), "score space": p.space}
        facts |= {"layer": p.layer, "backend": p.backend, **p.versions}
        facts |= {"chosen automatically": ", ".join(p.automatic), "warnings": " ".join(p.warnings)}
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(str(k))}</th><td>{html.escape(str(v))}</td></tr>"
            for k, v in facts.items()
            if v not in (None, "")
        )
        picture = base64.b64encode(self._repr_png_()).decode()
        caption = html.escape(f"{p.method} of {', '.join(p.targets)}")
        return (
            f"<figure style='margin:0'><img alt='{caption}' style='max-width:100%' "
            f"src='data:image/png;base64,{picture}'><details><summary>{caption}</summary>"
            f"<table>{rows}</table></details></figure>"
        )


def save_picture(picture: Any, path: str | Path) -> Path:
    """Write a PIL image, whole or not at all; the ending says the format.

    Raises:
        FileError: the ending is not .png, .jpg, .jpeg or .webp, or the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in PICTURES:
        raise FileError(f"{path.name!r} must end in {', '.join(PICTURES)}.")
    form = {".png": "PNG", ".webp": "WEBP"}.get(path.suffix.lower(), "JPEG")
    buffer = io.BytesIO()
    (picture.convert("RGB") if form == "JPEG" else picture).save(buffer, form)  # JPEG knows no transparency
    return write_whole(path, buffer.getvalue())
