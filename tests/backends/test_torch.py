"""PyTorch keeps the contract."""

from agnoscope.testing import Backend, parametrize_with_checks
from tests.backends.torch_builder import build, fingerprint


@parametrize_with_checks([Backend("torch", build, fingerprint, entry="agnoscope.builtin")])
def test_conforms(check):
    check()
