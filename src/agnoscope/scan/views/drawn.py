"""What the views of a scan have in common: they are drawn, saved as a picture, and show themselves in a notebook."""

import base64
import html
import io
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

from agnoscope.explanation import save_picture

if TYPE_CHECKING:
    from PIL import Image


class Drawn(ABC):
    """Something that a picture shows."""

    @property
    @abstractmethod
    def caption(self) -> str:
        """What the picture shows, in one line."""

    @abstractmethod
    def draw(self) -> "Image.Image":
        """The whole picture."""

    def save(self, path: str | Path) -> Path:
        """Write the picture, whole or not at all.

        Args:
            path: ends in .png, .jpg, .jpeg or .webp.

        Raises:
            FileError: the ending is another one, or the file cannot be written.
        """
        return save_picture(self.draw(), path)

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.draw().save(buffer, "PNG")
        return buffer.getvalue()

    def _repr_html_(self) -> str:
        caption = html.escape(self.caption)
        picture = base64.b64encode(self._repr_png_()).decode()
        return (
            f"<figure style='margin:0'><img alt='{caption}' style='max-width:100%' "
            f"src='data:image/png;base64,{picture}'><figcaption>{caption}</figcaption></figure>"
        )
