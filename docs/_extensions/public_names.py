"""The public names: `ag.GradCAM` leads to where GradCAM is described, and `public-names` lists them all.

A name is described once, in the module that is its home. What a package hands on, such as
`agnoscope.metrics.auroc`, leads home likewise.
"""

from importlib import import_module
from inspect import getdoc, isclass, ismodule, isroutine
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

import agnoscope

HOME = {name: getattr(agnoscope, name).__module__ for name in agnoscope.__all__}


class PublicNames(SphinxDirective):
    """The public names whose home is in a package: each as a link, with the first sentence of its docstring."""

    required_arguments = 1
    final_argument_whitespace = True
    option_spec: ClassVar = {"but": directives.unchanged}

    def run(self) -> list[nodes.Node]:
        homes, but = self.arguments[0].split(), self.options.get("but", "").split()
        lines = []
        for name in sorted(agnoscope.__all__, key=str.lower):
            if any(_within(HOME[name], home) for home in homes) and not any(_within(HOME[name], one) for one in but):
                first = (getdoc(getattr(import_module(HOME[name]), name)) or "").partition("\n\n")[0]
                lines += [f":py:obj:`ag.{name} <{HOME[name]}.{name}>`", f"   {' '.join(first.split())}", ""]
        return self.parse_text_to_nodes("\n".join(lines))


def _within(module: str, package: str) -> bool:
    return f"{module}.".startswith(f"{package}.")


def lead_home(app: Sphinx, env: BuildEnvironment, node: pending_xref, shown: nodes.Element) -> Any:
    """Resolve a name by which something of ours is known to where it is described."""
    asked = node.get("reftarget", "")
    home = home_of(asked if asked.startswith(("ag.", "agnoscope.")) else f"ag.{asked}")
    if node.get("refdomain") != "py" or home is None:
        return None
    return env.domains["py"].resolve_xref(env, node["refdoc"], app.builder, "obj", home, node, shown)


def home_of(asked: str) -> str | None:
    """The whole name of what is known as `ag.NAME`, `agnoscope.NAME` or `agnoscope.PACKAGE.NAME`, members included."""
    path = asked.split(".")
    place, path = (import_module("agnoscope"), path[1:]) if path[0] in ("ag", "agnoscope") else (None, path)
    while place is not None and path:
        found = getattr(place, path[0], None)
        if isclass(found) or isroutine(found):
            return ".".join([found.__module__, *path])
        place, path = (found, path[1:]) if ismodule(found) else (None, path)
    return None


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register the directive and the resolver."""
    app.add_directive("public-names", PublicNames)
    app.connect("missing-reference", lead_home)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
