"""A trained network: photos of any size become pictures in one pass, in any framework or in NumPy alone.

network = StyleNetwork.load("brick.npz")
network("photo.jpg").save("picture.png")
network("photo.jpg", {"brick": 0.7, "grass": 0.3}, engine="torch")
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Final, Self, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from agnoscope import __version__
from agnoscope.archive import read_archive, write_archive
from agnoscope.batches import ran_out_of_memory
from agnoscope.errors import FileError, ImageError, NonFiniteError, OptionError, OutOfMemoryError, nearest
from agnoscope.explainers.options import positive
from agnoscope.fast_style.network import SMALLEST, Form, stylised
from agnoscope.images import ImageLike, InputSpec, load
from agnoscope.model import Model
from agnoscope.patches import Array
from agnoscope.synthesis import Making, Synthesis

FORMAT: Final = 1
"""Version of the file; a reader refuses newer ones."""

METHOD: Final = "fast-style"

Style: TypeAlias = int | str | Mapping[int | str, float] | Sequence[float]
"""Number or name of a style, or a mixture: a weight for some of them, or one for each in their order."""


@final
@dataclass(frozen=True)
class Training:
    """How a network was trained; all of it is saved with it.

    Attributes:
        options: all options, chosen or by default.
        content: layers that saw the content.
        style: layers that saw the style.
        network: digest of the network that judged the pictures.
        photos: how many there were.
        steps: how many were done.
        finished: whether those were all.
        backend: the backend that computed.
        versions: distribution to version, agnoscope's own among them.
        warnings: sentences about what deserves a doubt.
    """

    options: Mapping[str, Any]
    content: tuple[str, ...]
    style: tuple[str, ...]
    network: str
    photos: int
    steps: int
    finished: bool
    backend: str
    versions: Mapping[str, str]
    warnings: tuple[str, ...] = ()


@final
@dataclass(frozen=True, eq=False)
class StyleNetwork:
    """A network that paints photos in the styles that it was trained for.

    Attributes:
        form: which network.
        parameters: name to array.
        styles: a name for each style.
        training: how it came about.
        history: the parts of the loss before every step, weighted and averaged over the batch: content, style and
            penalties, shape (steps, 3).
        channels: of a photo, as `agnoscope.images.InputSpec` has them.
        engine: the model that computes where a call names none; it is not saved.
    """

    form: Form
    parameters: Mapping[str, NDArray[Any]] = field(repr=False)
    styles: tuple[str, ...]
    training: Training = field(repr=False)
    history: NDArray[Any] = field(repr=False)
    channels: str | int = "RGB"
    engine: Model | None = field(default=None, repr=False)

    def __call__(self, photo: ImageLike, style: Style = 0, *, engine: Any = None) -> Synthesis:
        """Turn photos into pictures in one pass.

        Args:
            photo: one or several of the same size, 8 × 8 pixels at the least; each keeps its size.
            style: which one, or how much of each: weights from 0 on, which are divided by their sum.
            engine: what computes: "torch", "jax", "tensorflow", "reference" (NumPy), or any network that
                `agnoscope.wrap` knows, of which only the framework is used. By default the network it was trained
                with, or NumPy after it was loaded.

        Returns:
            The pictures, in the photos' bounds; their making has no scores, as no network judged them.

        Raises:
            ImageError: a photo cannot be read, is too small, or has other channels.
            OptionError: there is no such style or engine, or the weights are no mixture.
            MissingFrameworkError: the engine's framework is not installed.
            NonFiniteError: the network's parameters give NaN or infinity.
            OutOfMemoryError: the photo is too large.
        """
        mix = self.mixture(style)
        model = self._engine(engine)
        spec = InputSpec(bounds=self.form.bounds, channels=self.channels)
        batch = load(photo, spec, model.dtype)
        if min(batch.images.shape[1:3]) < SMALLEST:
            height, width = batch.images.shape[1:3]
            raise ImageError(
                f"The photo has {height} × {width} pixels; style transfer needs {SMALLEST} in each direction."
            )
        compiled = model.compile(paint_program, self.form)
        images = np.concatenate([self._painted(compiled, mix, image[None]) for image in batch.images])
        count, told = len(images), self._told(mix)
        making = Making(
            method=METHOD,
            options={"style": dict(zip(self.styles, map(float, mix), strict=True)), "training": asdict(self.training)},
            targets=(told,) * count,
            scores=(float("nan"),) * count,
            steps=1,
            finished=True,
            backend=model.backend,
            versions={"agnoscope": __version__, **model.versions},
            input=asdict(spec),
            seed=int(self.training.options["seed"]),
            warnings=self.training.warnings,
        )
        return Synthesis(
            images, self.form.bounds, batch.names, making, np.zeros((0, count), images.dtype), photos=batch.photos
        )

    def mixture(self, style: Style) -> NDArray[np.float64]:
        """How much of each style, shape (styles,), adding up to 1.

        Raises:
            OptionError: there is no such style, or the weights are no mixture.
        """
        if isinstance(style, int | np.integer | str):
            style = {style: 1.0}
        mix = np.zeros(len(self.styles))
        if isinstance(style, Mapping):
            for name, weight in style.items():
                mix[self._number(name)] += positive(f"style {name!r}", weight, or_zero=True)
        else:
            try:
                given = np.asarray(style, dtype=np.float64)
            except (TypeError, ValueError):  # no numbers
                given = np.zeros(0)
            if given.shape != mix.shape:
                raise OptionError(
                    f"style={style!r} must be a number, a name or {len(mix)} weights: the network has the styles "
                    f"{', '.join(self.styles)}."
                )
            mix = given
        if not (np.isfinite(mix).all() and (mix >= 0).all() and mix.sum() > 0):
            raise OptionError(f"style={style!r} is no mixture: weights are finite numbers from 0 on, not all 0.")
        return mix / mix.sum()

    def save(self, path: str | Path) -> Path:
        """Write it to a `.npz` file, whole or not at all.

        Raises:
            FileError: the ending is another one, or the file cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() != ".npz":
            raise FileError(f"{path.name!r} must end in .npz.")
        header = {"kind": "style network", "format": FORMAT, "form": asdict(self.form), "styles": self.styles}
        header |= {"training": asdict(self.training), "channels": self.channels}
        return write_archive(path, header, {**self.parameters, "history": self.history})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote. Nothing in the file is executed.

        Raises:
            FileError: the file is missing, damaged, no style network, or of a newer version.
        """
        header, arrays = read_archive(path, "style network", FORMAT)
        try:
            low, high = header["form"].pop("bounds")
            form = Form(**header["form"], bounds=(low, high))
            stored: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in header["training"].items()}
            history, styles = arrays.pop("history"), tuple(header["styles"])
            if {name: array.shape for name, array in arrays.items()} != form.shapes or len(styles) != form.styles:
                raise KeyError("parameters of other shapes")
            return cls(form, arrays, styles, Training(**stored), history, header["channels"])
        except (KeyError, TypeError, ValueError) as error:
            raise FileError(f"{str(path)!r} is no style network that agnoscope saved, or is damaged.") from error

    def with_engine(self, engine: Any) -> Self:
        """The same network with another engine for every call; see `__call__`.

        Raises:
            OptionError: there is no such engine.
        """
        return replace(self, engine=self._engine(engine))

    def _engine(self, engine: Any) -> Model:
        if engine is None:
            return self.engine or _bundled("reference")
        if isinstance(engine, str):
            return _bundled(engine)
        from agnoscope.api import wrap

        return wrap(engine)

    def _number(self, style: Any) -> int:
        if isinstance(style, str) and style in self.styles:
            return self.styles.index(style)
        if isinstance(style, int | np.integer) and 0 <= style < len(self.styles):
            return int(style)
        raise OptionError(
            f"There is no style {style!r}: the network has {len(self.styles)}, {nearest(str(style), self.styles)}."
        )

    def _told(self, mix: NDArray[Any]) -> str:
        """The mixture in words."""
        share = {name: weight for name, weight in zip(self.styles, mix, strict=True) if weight}
        return " + ".join(name if weight == 1 else f"{weight:.2g} × {name}" for name, weight in share.items())

    def _painted(self, compiled: Any, mix: NDArray[Any], image: NDArray[Any]) -> NDArray[Any]:
        try:
            found: NDArray[Any] = compiled(dict(self.parameters), mix[None], image)["images"]
        except Exception as error:
            if not ran_out_of_memory(error):
                raise
            raise OutOfMemoryError(
                f"Memory does not suffice for a photo of {image.shape[1]} × {image.shape[2]} pixels: make it smaller. "
                f"The framework says: {error}"
            ) from error
        if not np.isfinite(found).all():
            raise NonFiniteError("The network gives NaN or infinity: look for NaN in its parameters.")
        return found


def paint_program(
    model: Model, form: Form, parameters: Mapping[str, Array], mix: Array, photos: Array
) -> dict[str, Array]:
    """One pass, and nothing else."""
    return {"images": stylised(model, form, parameters, photos, mix)}


@cache
def _bundled(backend: str) -> Model:
    """A bundled network, for the framework that it is built in; it does not run itself."""
    from agnoscope.demo.models import BUILDERS
    from agnoscope.demo.models import load as bundled

    if backend not in BUILDERS:
        raise OptionError(f"engine={backend!r} is unknown: use {', '.join(BUILDERS)}, or a network of yours.")
    return bundled("honest", backend)
