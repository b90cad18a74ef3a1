"""Importing agnoscope, or an explainer, or looking for plugins, loads no framework and no drawing library."""

import importlib
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import agnoscope.explainers

HEAVY = ("torch", "jax", "flax", "tensorflow", "keras", "matplotlib", "skimage", "scipy", "PIL", "cmap", "rich")
EXPLAINERS = [module.name for module in pkgutil.walk_packages(agnoscope.explainers.__path__, "agnoscope.explainers.")]
LIGHT = {
    "the package": "import agnoscope",
    "its names": "import agnoscope; [getattr(agnoscope, name) for name in agnoscope.__all__]",
    "the plugins": "from agnoscope.plugins import plugins; plugins().names('backend')",
    "every method": """
from agnoscope.plugins import plugins
for name in plugins().names("explainer"):
    plugins().explainer(name)
""",
    "the metrics": "import agnoscope.metrics",
    "an array explained": """
import agnoscope, numpy
from agnoscope.testing import deep_network
agnoscope.explain(deep_network(), numpy.zeros((5, 7, 3)), "occlusion", fill=0.5)
""",
    **{name: f"import {name}" for name in EXPLAINERS},
}


def loaded(code: str, folder: Path | None = None) -> set[str]:
    """Which of the heavy libraries a new interpreter loads when it runs this."""
    path = [str(folder), *sys.path] if folder else sys.path
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules, sep='\\n')"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in done.stdout.split()} & set(HEAVY)


@pytest.mark.parametrize("code", LIGHT.values(), ids=LIGHT)
def test_it_is_light(code: str) -> None:
    assert loaded(code) == set()


@pytest.mark.parametrize("name", HEAVY)
def test_what_is_heavy_is_caught(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.py").write_text("")
    (tmp_path / "heavy.py").write_text(f"def __getattr__(_):\n    import {name}")
    importlib.invalidate_caches()
    assert loaded("import heavy", tmp_path) == set()
    assert loaded("import heavy; heavy.anything", tmp_path) == {name}
