"""`agnoscope demo`: one scene, an honest and a cheating network, every framework."""

from pathlib import Path

import click

from agnoscope.cli.output import progress
from agnoscope.errors import OptionError


@click.command()
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=Path("agnoscope-demo.png"),
    show_default=True,
    help="Picture.",
)
@click.option("--scene", type=int, default=0, show_default=True, help="Number of the scene.")
@click.option(
    "--backend",
    "backends",
    multiple=True,
    metavar="NAME",
    help="Only in this framework; several times.  [default: all]",
)
def demo(out: Path, scene: int, backends: tuple[str, ...]) -> None:
    """Explain a scene with an honest and a cheating network.

    Every framework that is installed takes part, and how well they agree is told.
    """
    from agnoscope.demo.show import show
    from agnoscope.explanation import PICTURES

    if out.suffix.lower() not in PICTURES:
        raise OptionError(f"--out {str(out)!r} must end in {', '.join(PICTURES)}.")
    with progress("explaining") as report:
        lines = show(out, scene, backends, report)
    for line in lines:
        click.echo(line)
    click.echo(f"The picture: {out.resolve()}")
