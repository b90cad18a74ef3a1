"""`agnoscope dream --zoom`: a flight into a dream, frame after frame."""

import sys
from pathlib import Path
from typing import Any

import click

from agnoscope.cli.imagine.making import INTERRUPTED
from agnoscope.cli.imagine.options import configured
from agnoscope.cli.options import load
from agnoscope.cli.output import progress
from agnoscope.errors import OptionError


def fly(
    model: str,
    image: Any,
    target: Any,
    frames: int,
    stem: str,
    *,
    method: str,
    steps: int | None,
    size: Any,
    seed: int | None,
    options: tuple[str, ...],
    out: Path | None,
    batch_size: int | None,
    chosen: dict[str, Any],
    draw: bool,
    animation: Path | None,
    save_every: int | None,
    resume: bool,
    **network: Any,
) -> None:
    """Dream of a photo again and again, a little nearer each time, and write the animation.

    Ctrl-C keeps the frames so far.

    Args:
        model: what the command line calls the network.
        image: the photo.
        target: what to dream of.
        frames: how many.
        stem: what the file is named after, where the user gives no name.
        method: name of the method.
        steps: in each octave of each frame.
        size: height and width of the frames.
        seed: of the shifts.
        options: texts NAME=VALUE.
        out: the animation.
        batch_size: not taken; as the four that follow it.
        chosen: further options of the method that have a flag of their own.
        draw: as `batch_size`.
        animation: as `batch_size`.
        save_every: as `batch_size`.
        resume: as `batch_size`.
        **network: what the network expects of an image.

    Raises:
        OptionError: the file is no animation, or an option is given that belongs to a single picture.
    """
    from agnoscope.synthesis import ANIMATIONS, animate

    path = (out or Path()) / f"{stem}_zoom.gif" if out is None or out.is_dir() else out
    if path.suffix.lower() not in ANIMATIONS or not path.parent.is_dir():
        raise OptionError(f"--out {str(path)!r} must end in {' or '.join(ANIMATIONS)}, in a folder that exists.")
    single = {"--draw": draw, "--animation": animation, "--save-every": save_every, "--resume": resume}
    single["--batch-size"] = batch_size
    if given := [flag for flag, value in single.items() if value]:
        raise OptionError(f"{given[0]} belongs to a single picture: leave it out with --zoom, which makes one file.")
    dream = configured(method, {"iterations": steps, "size": size, "seed": seed, **chosen}, options)
    seen = []
    with progress("flying") as report:
        try:
            for picture in dream.zoom(load(model, network), image, frames, target):
                seen.append(picture)
                report(len(seen), frames)
        except KeyboardInterrupt:
            if not seen:
                raise
    animate(seen, path, hold=0.1)
    click.echo(f"deep-dream: {len(seen)} of {frames} frames → {path}")
    if len(seen) < frames:
        sys.exit(INTERRUPTED)
