"""agnoscope: explain what a convolutional network sees, the same in PyTorch, JAX and TensorFlow.

    model = ag.wrap(network, input_size=(224, 224), mean=..., std=..., labels=...)
    explanation = ag.GradCAM()(model, "elephant.jpg")
    explanation.save("elephant.png")

Importing agnoscope loads no framework: a name is loaded from its home when it is first used. `__init__.pyi` lists both,
for type checkers and editors as well as for this file.
"""

import re
from importlib import import_module
from pkgutil import get_data
from typing import Any

_LISTED = re.findall(r"^from (\S+) import (\w+)", (get_data(__name__, "__init__.pyi") or b"").decode(), re.MULTILINE)
_HOME = {name: home for home, name in _LISTED}
HOMES = {home: tuple(name for name in _HOME if _HOME[name] == home) for home in _HOME.values()}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("agnoscope")
    if name not in _HOME:
        raise AttributeError(f"module 'agnoscope' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
