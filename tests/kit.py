"""The conformance kit outside of pytest, as anybody may use it."""

from unittest import SkipTest

from agnoscope import Explainer
from agnoscope.testing import Backend, checks


def outcomes(subject: Backend | Explainer) -> dict[str, str]:
    """The name of every check to "passed", "skipped" or how it failed."""
    found = {}
    for check in checks(subject):
        name = check.func.__name__  # type: ignore[attr-defined]
        try:
            check()
            found[name] = "passed"
        except SkipTest:
            found[name] = "skipped"
        except Exception as error:
            found[name] = repr(error)
    return found
