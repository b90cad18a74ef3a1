"""A picture of every method, each leading to the method's page."""

from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata


class MethodPictures(SphinxDirective):
    """The pictures in `_static/methods` whose method has a page, in the order of their names."""

    def run(self) -> list[nodes.Node]:
        source = Path(self.env.srcdir)
        self.env.note_reread()
        shown = nodes.container(classes=["method-pictures"])
        for picture in sorted((source / "_static" / "methods").glob("*.*")):
            if not (source / "methods" / f"{picture.stem}.md").exists():
                continue
            # In the markup of the page, which is Markdown.
            text = [
                f":::{{figure}} /_static/methods/{picture.name}",
                f":alt: What {picture.stem} makes",
                f"{{doc}}`/methods/{picture.stem}`",
                ":::",
            ]
            shown += self.parse_text_to_nodes("\n".join(text))
        return [shown]


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the directive."""
    app.add_directive("method-pictures", MethodPictures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
