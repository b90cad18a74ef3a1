"""Photos from files, decoded in one place: known formats, a cap on pixels, the rotation that the camera recorded."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import ImageError

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
MAX_PIXELS = 50_000_000

_HEADERS = Lock()


def decode(path: str | Path) -> "Image.Image":
    """Open a photo: known formats only, at most 50 megapixels, upright, as RGB.

    Raises:
        ImageError: the file is missing, corrupt, of another format, or too large.
    """
    name = repr(str(path))
    with reading(name), _opened(path) as opened:
        return upright_rgb(opened, name)


def decode_mask(path: str | Path) -> NDArray[np.bool_]:
    """Read a mask, shape (height, width), upright: true where a pixel is neither black nor transparent.

    Gray, coloured, with a palette or of any number of bits; JPEG's black is not quite black, and counts up to 127.

    Raises:
        ImageError: as `decode`.
    """
    from PIL import ImageOps

    name = repr(str(path))
    with reading(name), _opened(path) as opened:
        if opened.width * opened.height > MAX_PIXELS:
            raise ImageError(_too_large(name, f"{opened.width * opened.height:,}"))
        black = 127 if opened.format == "JPEG" else 0
        picture = ImageOps.exif_transpose(opened)
        if picture.has_transparency_data:
            picture = picture.convert("RGBA")
        elif picture.mode not in ("1", "L", "I", "F") and not picture.mode.startswith("I;16"):
            picture = picture.convert("RGB")
        pixels = np.atleast_3d(np.asarray(picture))
    seen = (pixels[..., :3] > black).any(axis=-1)
    return np.asarray(seen & (pixels[..., 3] > 0) if pixels.shape[-1] == 4 else seen)


def _opened(path: str | Path) -> "Image.Image":
    """A photo of which the header is read; one at a time, since all threads share the filters of warnings."""
    from PIL import Image

    with _HEADERS, warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return Image.open(path, formats=FORMATS)


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn whatever Pillow makes of a bad picture into an ImageError; it reads files late."""
    from PIL import Image, UnidentifiedImageError

    try:
        yield
    except ImageError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise ImageError(_too_large(name, "more than 89 million")) from None
    except FileNotFoundError:
        raise ImageError(f"There is no image file {name}.") from None
    except IsADirectoryError:
        raise ImageError(f"{name} is a folder: give one of its photos.") from None
    except UnidentifiedImageError:
        raise ImageError(f"{name} is not an image that can be read ({', '.join(FORMATS)}).") from None
    except Exception as error:  # a damaged file may fail in any way
        raise ImageError(f"{name} cannot be read as an image; it may be damaged: {error}.") from error


def _too_large(name: str, pixels: int | str) -> str:
    return f"{name} has {pixels} pixels; at most {MAX_PIXELS:,} are read. Make it smaller first."


def upright_rgb(picture: "Image.Image", name: str) -> "Image.Image":
    """A picture as the camera was held, as RGB; raises as `decode`."""
    from PIL import Image, ImageOps

    if picture.width * picture.height > MAX_PIXELS:
        raise ImageError(_too_large(name, f"{picture.width * picture.height:,}"))
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I;16"):  # Pillow would cut 16-bit grays off at 255 instead of scaling them
        picture = Image.fromarray((np.asarray(picture) / 257).round().astype(np.uint8))
    elif picture.mode in ("I", "F"):
        raise ImageError(f"{name} holds {picture.mode} numbers of unknown range: save it with 8 or 16 bits.")
    if picture.has_transparency_data:
        backdrop = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(backdrop, picture.convert("RGBA"))
    return picture.convert("RGB")
