"""PyTorch keeps the contract."""

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")

from agnoscope.testing import Backend, parametrize_with_checks
from tests.backends.torch_builder import build, build_shifted, fingerprint

pytestmark = pytest.mark.torch


@parametrize_with_checks([Backend("torch", build, fingerprint, "agnoscope.builtin", build_shifted)])
def test_conforms(check):
    check()
