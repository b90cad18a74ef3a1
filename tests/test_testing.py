"""The conformance kit is judged by its own measure: every flaw of `flaws` is found, and nothing that is sound."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agnoscope import Explainer, GradCAM, Model, Saliency, wrap
from agnoscope.model import Outline
from agnoscope.patches import Array
from agnoscope.testing import (
    BACKEND_CHECKS,
    EXPLAINER_CHECKS,
    Backend,
    deep_network,
    images,
    parametrize_with_checks,
    rectified_network,
)
from tests.flaws import FLAWS
from tests.flaws.sound import Shifted, Sound
from tests.kit import outcomes

pytest_plugins = ["pytester"]


@pytest.fixture(autouse=True)
def heavy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts a module on the path of new interpreters that imports a (stand-in for a) framework."""
    (tmp_path / "heavy.py").write_text("import torch")
    (tmp_path / "torch.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")


@pytest.mark.parametrize(("subject", "expected"), FLAWS, ids=[getattr(s, "name", "") for s, _ in FLAWS])
def test_a_flaw_is_found_by_the_checks_that_look_for_it_and_by_no_other(
    subject: Backend | Explainer, expected: str
) -> None:
    found = {name: end for name, end in outcomes(subject).items() if end not in ("passed", "skipped")}
    assert set(found) == set(expected.split()), found


def test_the_networks_have_something_to_show() -> None:
    """A gate that never closes, or a class that is always first, would let every flaw of its kind pass."""
    rectified, deep = wrap(rectified_network()), wrap(deep_network())
    z = rectified.compile(run, ("conv",))(images())["conv"]
    for zone in (z < 0, (z > 0) & (z < 6), z > 6):
        assert zone.mean(axis=(0, 1, 2)).min() > 0.1
    values = deep.compile(run, ("conv1", "conv2", "scores"))(images())
    for name in ("conv1", "conv2"):
        is_open = (values[name] > 0).mean(axis=(0, 1, 2))
        assert 0.2 < is_open.min() < is_open.max() < 0.8
    assert len(set(values["scores"].argmax(axis=1))) > 1
    for network in (rectified_network(), deep_network()):
        weights = network.layers["dense"].kernel  # type: ignore[union-attr]
        assert min((weights > 0.3).sum(axis=0).min(), (weights < -0.3).sum(axis=0).min()) >= 2


def run(model: Model, names: tuple[str, ...], x: Array) -> dict[str, Array]:
    """A program that captures."""
    return model.run(x, names)


def test_for_every_check_there_is_a_flaw() -> None:
    made_for = {expected.split()[0] for _, expected in FLAWS}
    assert made_for == {check.__name__ for check in (*BACKEND_CHECKS, *EXPLAINER_CHECKS)}


SOUND = [Backend("sound", Sound, entry="agnoscope.builtin", build_shifted=Shifted), Saliency(), GradCAM()]


@pytest.mark.parametrize("subject", SOUND, ids=["backend", "saliency", "grad-cam"])
def test_what_has_no_flaw_passes_every_check(subject: Backend | Explainer) -> None:
    assert set(outcomes(subject).values()) == {"passed"}


class Remote(Sound):
    """A network elsewhere: images in, scores out, and nothing else is offered or known."""

    can = frozenset()

    def discover(self, size: tuple[int, int]) -> Outline:
        return replace(super().discover(size), layers={})

    def value_and_grad(self, function: Callable[..., tuple[Array, Any]]) -> Callable[..., Any]:
        raise NotImplementedError


def test_what_a_backend_does_not_offer_is_skipped() -> None:
    found = outcomes(Backend("remote", Remote))
    assert set(found.values()) == {"passed", "skipped"}
    assert {name for name, end in found.items() if end == "skipped"} == {
        "check_layers",
        "check_activation",
        "check_gradient",
        "check_finite_differences",
        "check_gradient_at_layer",
        "check_patch",
        "check_relu_rules",
        "check_relu_rule_without_relu",
        "check_parameters",
        "check_inputs",
        "check_kernels",
        "check_light_import",
    }


def test_it_works_without_pytest() -> None:
    code = """
import sys; sys.modules["pytest"] = None
from contextlib import suppress
from unittest import SkipTest
from agnoscope.testing import *
from agnoscope import Saliency, wrap
for subject in (Backend("reference", lambda network, **options: wrap(network, **options), entry="json"), Saliency()):
    for check in checks(subject):
        with suppress(SkipTest):
            check()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


CONFORMANCE = """
from agnoscope import wrap
from agnoscope.testing import Backend, parametrize_with_checks
from tests.flaws.backends import Wavers

@parametrize_with_checks([Backend("toy", Wavers)], {expected})
def test_conforms(check):
    check()
"""


@pytest.mark.parametrize(
    ("expected", "outcome"),
    [
        ({}, {"failed": 1}),
        ({"check_determinism": "sums as it likes", "check_patch": "no more true"}, {"xfailed": 1, "failed": 1}),
    ],
)
def test_expected_failures_are_strict(
    pytester: pytest.Pytester, expected: dict[str, str], outcome: dict[str, int]
) -> None:
    pytester.makepyfile(CONFORMANCE.format(expected=expected))
    counts = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:xdist").parseoutcomes()
    passed = len(BACKEND_CHECKS) - 2 - sum(outcome.values())  # two are skipped: what they look at is not given
    assert counts == {"passed": passed, "skipped": 2, **outcome}


def test_an_expected_failure_that_names_no_check_is_refused() -> None:
    with pytest.raises(ValueError, match=r"names no check: \['check_speling'\].*check_output"):
        parametrize_with_checks([Saliency()], {"check_speling": "?"})
