"""The conformance kit: proof that a backend or an explainer keeps the contract.

The kit owns little networks whose outputs, activations and gradients are known in closed form, so it judges
against mathematics and not against another framework. A plugin author supplies one function that builds such
a network, described without a framework, in his own:

    @parametrize_with_checks([Backend("mlx", build, entry="agnoscope_mlx")])
    def test_conforms(check):
        check()

It works without pytest, too: `for check in checks(backend): check()`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from agnoscope import Explainer
from agnoscope.testing.backend import Backend
from agnoscope.testing.checks import BACKEND_CHECKS, EXPLAINER_CHECKS
from agnoscope.testing.networks import SIZE, deep_network, images, linear_network, rectified_network

__all__ = [
    "BACKEND_CHECKS",
    "EXPLAINER_CHECKS",
    "SIZE",
    "Backend",
    "checks",
    "deep_network",
    "images",
    "linear_network",
    "parametrize_with_checks",
    "rectified_network",
]


def checks(subject: Backend | Explainer) -> Iterator[Callable[[], None]]:
    """Every check of a backend or explainer, ready to be called.

    Yields:
        Functions without arguments. They raise AssertionError where the contract is broken, or whatever the subject
        raised by itself, and unittest.SkipTest where it offers no ability to check.
    """
    for check in BACKEND_CHECKS if isinstance(subject, Backend) else EXPLAINER_CHECKS:
        yield partial(check, subject)


def parametrize_with_checks(
    subjects: Sequence[Backend | Explainer], expected_failures: Mapping[str, str] | None = None
) -> Any:
    """A pytest decorator that turns every check of every subject into a test of its own.

    Args:
        subjects: backends and explainers.
        expected_failures: name of a check to the reason why it fails. Strict: one that passes, or that names no
            check, is a failure.

    Raises:
        ValueError: an expected failure names no check.
    """
    import pytest

    expected = dict(expected_failures or {})
    names = {check.__name__ for check in (*BACKEND_CHECKS, *EXPLAINER_CHECKS)}
    if unknown := set(expected) - names:
        raise ValueError(f"expected_failures names no check: {sorted(unknown)}. There are {sorted(names)}.")
    cases = []
    for subject in subjects:
        label = subject.name if isinstance(subject, Backend) else repr(subject)
        for check in checks(subject):
            name = check.func.__name__  # type: ignore[attr-defined]
            marks = [pytest.mark.xfail(strict=True, reason=expected[name])] if name in expected else []
            cases.append(pytest.param(check, id=f"{label}-{name}", marks=marks))
    return pytest.mark.parametrize("check", cases)
