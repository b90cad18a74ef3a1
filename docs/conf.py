"""How Sphinx builds this site: `python -m sphinx -W --keep-going -b html docs docs/_build`.

A page must ask for nothing from the network: equations become MathML while the site is built, and the theme brings its
styles and scripts with it. Our own extensions stand in `_extensions/`.
"""

import sys
from importlib.metadata import version as installed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "agnoscope"
author = "the authors of agnoscope"
copyright = author  # noqa: A001 - the name that Sphinx reads
release = version = installed("agnoscope")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "myst_nb",
    "sphinx_click",
    "docstrings",
    "packages",
    "public_names",
    "mathml",
    "gallery",
]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]

html_theme = "furo"
html_title = f"agnoscope {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_show_sourcelink = False
html_copy_source = False
pygments_style = "friendly"
pygments_dark_style = "monokai"

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "attrs_inline"]
myst_heading_anchors = 3
# Notebooks are stored without outputs. `-D nb_execution_mode=force` runs them while the site is built.
nb_execution_mode = "off"
nb_execution_timeout = 300
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_output_stderr = "remove"  # what a framework says of its build

add_module_names = False
python_display_short_literal_types = True
python_maximum_signature_line_length = 88
# Modules are enough of a table; every object in it would take longer than all else.
toc_object_entries = False
# A name is described in the module that is its home, and not again where a package hands it on.
autodoc_default_options = {
    "members": True,
    "member-order": "bysource",
    "show-inheritance": True,
    "ignore-module-all": True,
}
# A method that fulfils a contract is described there, once.
autodoc_inherit_docstrings = False
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
# Of a dataclass, which has its types in the signature.
napoleon_custom_sections = [("Attributes", "params_style")]
# Two modules may have a type of the same name; a signature shows the name alone.
suppress_warnings = ["ref.python"]
