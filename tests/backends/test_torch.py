"""PyTorch keeps the contract."""

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")

from agnoscope.testing import Backend, parametrize_with_checks
from tests.backends.torch_builder import build, fingerprint

pytestmark = pytest.mark.torch


@parametrize_with_checks([Backend("torch", build, fingerprint, entry="agnoscope.builtin")])
def test_conforms(check):
    check()
