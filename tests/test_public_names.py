"""Every public name is listed, can be imported, and says what it is."""

import ast
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import agnoscope

MODULES = [module.name for module in pkgutil.walk_packages(agnoscope.__path__, "agnoscope.")]


def homes() -> Iterator[tuple[str, str]]:
    """Each public name after the module that is its home, as type checkers read them."""
    stub = ast.parse(Path(agnoscope.__file__).with_suffix(".pyi").read_text())
    for node in stub.body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                assert alias.name == alias.asname  # by which a stub hands a name on
                yield f"agnoscope.{node.module}", alias.name


def test_every_name_is_found_in_its_home() -> None:
    assert sorted(name for _, name in homes()) == sorted(agnoscope.__all__) == sorted(dir(agnoscope))
    for home, name in homes():
        assert getattr(agnoscope, name) is getattr(importlib.import_module(home), name)
        assert getattr(agnoscope, name).__module__ == home


def test_names_that_are_not_there_are_refused() -> None:
    with pytest.raises(AttributeError, match="GradCam"):
        agnoscope.GradCam  # type: ignore[attr-defined]  # noqa: B018


def test_the_version_is_that_of_the_distribution() -> None:
    assert agnoscope.__version__ == version("agnoscope")


def undocumented(module: Any) -> Iterator[str]:
    """Names of a module, and of its classes, that say nothing about themselves."""
    if not module.__doc__:
        yield module.__name__
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", "") != module.__name__:
            continue
        # A dataclass without words gets its signature for a docstring.
        if inspect.isroutine(value) or inspect.isclass(value):
            doc = inspect.getdoc(value) or ""
            if not doc or doc.startswith(f"{name}("):
                yield f"{module.__name__}.{name}"
        if inspect.isclass(value):
            for part, member in vars(value).items():
                public = not part.startswith("_") and (inspect.isroutine(member) or isinstance(member, property))
                if public and not inspect.getdoc(getattr(value, part)):
                    yield f"{module.__name__}.{name}.{part}"


@pytest.mark.parametrize("name", MODULES)
def test_everything_public_has_a_docstring(name: str) -> None:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        pytest.skip(f"needs {error.name}")
    assert list(undocumented(module)) == []


def test_what_says_nothing_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("silent", "Says.")
    monkeypatch.setitem(sys.modules, "silent", module)
    source = """
        from dataclasses import dataclass
        @dataclass
        class Plain:
            x: int
            def method(self): pass
            @property
            def side(self): pass
            def _private(self): pass
        class Base:
            'Says.'
            def method(self): 'Says.'
        class Heir(Base):
            'Says.'
            def method(self): pass
        def function(): pass
    """
    exec(inspect.cleandoc(source), vars(module))
    assert list(undocumented(module)) == ["silent.Plain", "silent.Plain.method", "silent.Plain.side", "silent.function"]
