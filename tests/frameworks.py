"""The frameworks that a test runs in, each under its mark, for `parametrize`."""

import pytest

FRAMEWORKS = [pytest.param(name, marks=getattr(pytest.mark, name)) for name in ("torch", "jax", "tensorflow")]
