"""The machinery of every page that agnoscope writes: one file, no request, nothing that runs but its own script.

    page("report/report.html", css=("report/base.css",), js=("report/report.js",), data=..., title=...)

Templates, styles and scripts are files of the package, named by their path in it. Jinja escapes whatever is put into a
template, and a content security policy with the hashes of the page's one style and one script forbids all others: a
label that would get through could still not run. So there are no inline styles or handlers in a template; scripts set
styles through `element.style`, which the policy allows, and read their data as JSON from the element `#data`.
"""

import base64
import hashlib
import io
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import OptionError

if TYPE_CHECKING:
    from jinja2 import Environment
    from PIL import Image

Form: TypeAlias = Literal["webp", "png", "jpeg"]
FORMS: Final = ("webp", "png", "jpeg")


def page(
    template: str, *, css: Sequence[str] = (), js: Sequence[str] = (), style: str = "", data: Any = None, **context: Any
) -> str:
    """A whole page as one string of HTML.

    Args:
        template: path in the package of a template that extends "report/base.html" and fills its block `body`, such as
            "report/report.html". It links nothing and has no attribute `style` and no handlers.
        css: paths in the package of style sheets, joined in this order; "report/base.css" has what all pages share.
        js: paths in the package of scripts, joined in this order to one module; run when the body is there.
        style: further CSS made for this page, such as a picture that many elements show; by code, not by users.
        data: what the scripts read, ready for JSON, put into `<script type="application/json" id="data">` in such a
            way that no text in it can end that element; None leaves the element out.
        **context: variables of the template; `title` is the page's. All text is escaped.

    Returns:
        HTML with `<style>`, `<script>` and the content security policy that allows these two alone.

    Raises:
        ValueError: the data hold NaN or infinity, which JSON does not know.
    """
    from markupsafe import Markup

    sheet, script = "\n".join([*map(_file, css), style]), "\n".join(map(_file, js))
    policy = (
        f"default-src 'none'; img-src data:; style-src {_digest(sheet)}; script-src {_digest(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        environment()
        .get_template(template)
        .render(context, policy=Markup(policy), style=Markup(sheet), script=Markup(script), data=data)  # noqa: S704
    )


@cache
def environment() -> "Environment":
    """Jinja, told to escape always and to refuse a variable that nobody gave."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from agnoscope.render.panels import readable

    made = Environment(
        loader=PackageLoader("agnoscope", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["readable"] = readable
    made.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return made


def data_uri(picture: "NDArray[np.uint8] | Image.Image", form: Form = "webp", **options: Any) -> str:
    """A picture as a `data:` URI, for the attribute `src` of an image.

    Args:
        picture: uint8, shape (height, width), (height, width, 3) or, with transparency, (height, width, 4); or a
            picture of Pillow.
        form: "webp" and "png" keep transparency, "png" keeps every pixel, "jpeg" does neither.
        **options: of Pillow's writer, such as `quality=75` or `lossless=True`.

    Raises:
        OptionError: there is no such form.
    """
    from PIL import Image

    if form not in FORMS:
        raise OptionError(f"form={form!r} is unknown: use {', '.join(map(repr, FORMS))}.")
    opened = Image.fromarray(np.ascontiguousarray(picture)) if isinstance(picture, np.ndarray) else picture
    buffer = io.BytesIO()
    opened.save(buffer, form.upper(), **({"method": 4} if form == "webp" else {"optimize": True}) | options)
    return f"data:image/{form};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _file(path: str) -> str:
    """The text of a file of the package, with the line ends that a browser hashes."""
    loader, made = environment().loader, environment()
    assert loader is not None  # noqa: S101
    return loader.get_source(made, path)[0].replace("\r\n", "\n").strip()


def _digest(text: str) -> str:
    """A source of a content security policy: just this style or script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
