"""`agnoscope dream --zoom`: a flight into a dream, frame after frame."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agnoscope.cli.imagine.making import stop_between_steps
from agnoscope.cli.imagine.options import configured
from agnoscope.cli.options import load
from agnoscope.cli.output import progress_of_run
from agnoscope.errors import OptionError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agnoscope.optimisation.run import State


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

    Ctrl-C keeps the frames so far; a flight cannot be gone on with.

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
    if not hasattr(dream, "zoom"):
        raise OptionError(f"--zoom is for the method deep-dream, and {dream.name!r} cannot fly: leave one of them out.")
    seen: list[NDArray[Any]] = []
    with stop_between_steps() as stopped_by, progress_of_run("flying") as report:

        def step(state: "State") -> None:
            report(len(seen) * state.total + state.step, frames * state.total, float(state.objective.mean()))
            if stopped_by() is not None:
                raise KeyboardInterrupt

        try:
            for picture in dream.zoom(load(model, network), image, frames, target, callback=step):
                seen.append(picture)  # noqa: PERF402  # extend keeps nothing for sure of a flight that is stopped
        except KeyboardInterrupt:
            if not seen:
                raise
    animate(seen, path, hold=0.1)
    click.echo(f"{dream.name}: {len(seen)} of {frames} frames → {path}")
    if (number := stopped_by()) is not None and len(seen) < frames:
        click.echo("Stopped: the frames so far are kept, and a flight cannot be gone on with.")
        sys.exit(128 + number)
