"""`package`: the reference of every module of a package, each in a section of its own."""

import pkgutil
from importlib import import_module
from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata


class Package(SphinxDirective):
    """Describes packages and modules in the order in which they are named.

    Of a package every module that lies in it directly is described, those of `:but:` left out.
    """

    required_arguments = 1
    final_argument_whitespace = True
    option_spec: ClassVar = {"but": directives.unchanged}

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()
        but = self.options.get("but", "").split()
        lines = []
        for name in self.arguments[0].split():
            path = getattr(import_module(name), "__path__", None)
            if path is None:
                lines += section(name)
                continue
            lines += [f".. automodule:: {name}", ""]
            for module in pkgutil.iter_modules(path, f"{name}."):
                if not module.ispkg and module.name not in but:
                    lines += section(module.name)
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


def section(module: str) -> list[str]:
    """A module under its name."""
    title = f"``{module}``"
    return [title, "-" * len(title), "", f".. automodule:: {module}", ""]


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the directive."""
    app.add_directive("package", Package)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
