"""What every test runs under: one thread, so that sums come out the same each time."""

import os
import sys

# Read when a framework is imported, which no test module has done yet.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

import pytest


def pytest_runtest_setup(item: pytest.Item) -> None:
    """PyTorch changes its sums with the number of threads; it may be imported by any test."""
    del item
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
