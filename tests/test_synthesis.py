"""Animations: frames, their times and colours, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from agnoscope.errors import FileError, OptionError
from agnoscope.synthesis import animate

COLOURS = np.array([(200, 30, 40), (10, 160, 90), (20, 20, 220)], np.uint8)


def plain(count: int = 3) -> list[np.ndarray]:
    """Frames of one colour each."""
    return [np.tile(COLOURS[i], (12, 16, 1)) for i in range(count)]


@pytest.mark.parametrize(("ending", "error"), [("gif", 0), ("webp", 6)])
def test_frames_follow_one_another_and_the_last_one_stays(tmp_path: Path, ending: str, error: int) -> None:
    path = animate(plain(), tmp_path / f"x.{ending}", seconds=0.2, hold=0.9)
    with Image.open(path) as animation:
        assert animation.info["loop"] == 0
        frames = [  # the iterator gives the same object again and again
            (np.asarray(frame.convert("RGB")).astype(int), frame.info["duration"])
            for frame in ImageSequence.Iterator(animation)
        ]
    shown, times = zip(*frames, strict=True)
    assert times == (200, 200, 900)
    for frame, colour in zip(shown, COLOURS, strict=True):
        assert np.abs(frame - colour).max() <= error


def test_a_gif_of_many_colours_stays_near_to_its_frames(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    frame = np.stack([*np.broadcast_arrays(ramp[:, None], ramp[None]), np.full((64, 64), 128, np.uint8)], axis=-1)
    with Image.open(animate([frame, frame[::-1].copy()], tmp_path / "x.gif")) as animation:
        animation.seek(1)
        shown = np.asarray(animation.convert("RGB")).astype(int)
    assert np.abs(shown - frame[::-1]).mean() < 6


def test_what_is_no_animation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"must end in \.gif or \.webp"):
        animate(plain(), tmp_path / "x.png")
    with pytest.raises(OptionError, match="0 pictures"):
        animate([], tmp_path / "x.gif")
    with pytest.raises(OptionError, match="2 sizes"):
        animate([*plain(), np.zeros((3, 4, 3), np.uint8)], tmp_path / "x.gif")
    assert not list(tmp_path.iterdir())
