"""A third party's package of two files, installed as pip installs it, adds a backend and a method to agnoscope.

What is installed is seen by a new interpreter only; it runs `report` below and prints what it found.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import agnoscope as ag
from agnoscope.backends.reference import KINDS, Network, forward
from agnoscope.plugins import plugins
from agnoscope.testing import SIZE, Backend, deep_network, images
from tests.kit import outcomes

ROOT = Path(__file__).parents[1]
# What a backend without gradients cannot show.
WITHOUT_GRADIENT = {
    "check_gradient",
    "check_finite_differences",
    "check_gradient_at_layer",
    "check_relu_rules",
    "check_relu_rule_without_relu",
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What an interpreter reports that has the example installed."""
    folder = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", folder, ROOT / "tests" / "example_plugin"], check=True, timeout=120)
    path = os.pathsep.join([str(folder), *sys.path])
    code = "from tests.test_example_plugin import report; report()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def report() -> None:
    """Use what the plugin adds, as a user and as its author would, and print the outcome."""
    from agnoscope_example import Chain, GradientNorm

    def build(network: Network, **options: Any) -> ag.Model:
        steps = {n: (KINDS[type(op)], partial(forward, op, rule=None)) for n, op in network.layers.items()}
        return ag.wrap(Chain(steps, ag.wrap(network).outline(SIZE).head), **options)

    norm = ag.explain(ag.wrap(deep_network()), images(), "gradient-norm", 1)
    gradient = ag.Saliency()(ag.wrap(deep_network()), images(), 1)
    model = build(deep_network())
    answer = {
        "providers": {
            f"{kind} {p.spec.name}": p.provider for kind in ("backend", "explainer") for p in plugins().specs(kind)
        },
        "problems": plugins().problems,
        "backend": model.backend,
        "conforms": outcomes(Backend("example", build, entry="agnoscope_example")),
        "explainer conforms": outcomes(GradientNorm()),
        "norm is that of the gradient": np.allclose(norm.values, np.linalg.norm(gradient.values, axis=-1)),
        "occlusion": ag.explain(model, images(), "occlusion").provenance.backend,
        "refused": refusal(lambda: ag.explain(model, images(), "gradient-norm")),
    }
    print(json.dumps(answer))


def refusal(action: Callable[[], Any]) -> str:
    """The message of the error that an action raises."""
    try:
        return str(action())
    except ag.AgnoscopeError as error:
        return str(error)


def test_it_is_discovered(found: dict[str, Any]) -> None:
    assert found["problems"] == {}
    assert found["providers"]["backend example"] == "agnoscope-example 0.1.0"
    assert found["providers"]["explainer gradient-norm"] == "agnoscope-example 0.1.0"
    assert found["providers"]["backend torch"] == "agnoscope"
    assert found["backend"] == "example"


def test_its_backend_conforms(found: dict[str, Any]) -> None:
    skipped = {name for name, outcome in found["conforms"].items() if outcome == "skipped"}
    # nor does it show weights or kernels, or take a second input
    assert skipped == WITHOUT_GRADIENT | {"check_parameters", "check_kernels", "check_inputs"}
    assert {name: out for name, out in found["conforms"].items() if out not in ("passed", "skipped")} == {}


def test_its_method_conforms_and_is_used_by_name(found: dict[str, Any]) -> None:
    assert set(found["explainer conforms"].values()) == {"passed"}
    assert found["norm is that of the gradient"]


def test_a_backend_without_gradients_serves_the_methods_that_need_none(found: dict[str, Any]) -> None:
    assert found["occlusion"] == "example"
    assert "gradient-norm needs 'gradient', which this example network does not offer" in found["refused"]


def test_it_is_two_files() -> None:
    files = [path for path in (ROOT / "tests" / "example_plugin").rglob("*") if path.suffix != ".pyc"]
    assert sorted(path.name for path in files if path.is_file()) == ["agnoscope_example.py", "pyproject.toml"]
