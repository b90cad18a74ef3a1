"""A working folder, and the command line run in this process."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from agnoscope import cli

FACTORY = """
import numpy as np
from agnoscope import wrap
from agnoscope.testing import deep_network, rectified_network

def network():
    return deep_network()

def wrapped():
    return wrap(deep_network(), input_size=(5, 7))

def broken():
    net = deep_network()
    net.layers["conv2"].kernel[:] = np.nan
    return net

number = 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a photo and a file that makes networks."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(FACTORY)
    (tmp_path / "labels.txt").write_text("cat\ndog\nbird\nfish\n")
    noise = np.random.default_rng(0).integers(0, 256, (20, 28, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "photo.png")
    return tmp_path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run the command line in this process: exit code, what it printed, and its errors."""

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["agnoscope", *words])
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return call
