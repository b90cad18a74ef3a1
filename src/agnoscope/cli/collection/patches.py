"""`agnoscope patches`: the patches of a scan's photos that excite the units of a layer most."""

from pathlib import Path
from typing import Any

import click

from agnoscope.cli.options import load, network_options
from agnoscope.cli.output import progress
from agnoscope.errors import OptionError


@click.command()
@click.argument("model")
@click.argument("scan", metavar="RUN")
@click.option("-l", "--layer", metavar="LAYER", help="One that the scan kept.  [default: its first one]")
@click.option(
    "-c", "--channel", "numbers", type=int, multiple=True, help="Number; several times.  [default: selective ones]"
)
@click.option("--neurons", is_flag=True, help="Show the scan's neurons in place of channels.")
@click.option("-k", "k", type=click.IntRange(min=1), default=9, show_default=True, help="How many patches for each.")
@click.option(
    "--count",
    type=click.IntRange(min=1),
    default=12,
    show_default=True,
    help="How many channels, unless they are named.",
)
@click.option("--diverse", is_flag=True, help="Take patches that differ from one another.")
@click.option("--plain", is_flag=True, help="Leave out what excited the unit, below each patch.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=Path("patches.png"),
    show_default=True,
    help="Picture or folder.",
)
@network_options
def patches(
    model: str,
    scan: str,
    layer: str | None,
    numbers: tuple[int, ...],
    neurons: bool,
    k: int,
    count: int,
    diverse: bool,
    plain: bool,
    out: Path,
    **network: Any,
) -> None:
    """Show the patches that excite the channels of a layer most.

    RUN is the folder of a scan of MODEL (agnoscope scan). Every patch is what the unit sees of the photo, and below it
    stands what in it excited the unit. --out is a picture, or a folder for all patches and their boxes.
    """
    from agnoscope.explanation import PICTURES
    from agnoscope.inspection.receptive_fields import receptive_fields
    from agnoscope.scan.scan import Scan
    from agnoscope.scan.views.patches import top_patches as find

    if out.suffix and out.suffix.lower() not in PICTURES and not out.is_dir():
        raise OptionError(f"--out {str(out)!r} must be a folder or end in {', '.join(PICTURES)}.")
    opened, loaded = Scan.open(scan), load(model, network)
    opened.check(loaded)
    chosen = loaded.layer(opened.layer(layer), opened.size)
    if not neurons and chosen.spatial and "patch" in loaded.can:
        with progress(f"what {chosen.name} sees") as report:  # measured once, and then known
            receptive_fields(loaded, opened.size, [chosen.name], progress=report)
    with progress(f"patches of {'neurons' if neurons else chosen.name}") as report:
        found = find(
            loaded,
            opened,
            layer,
            numbers or None,
            k,
            neurons=neurons,
            diverse=diverse,
            guided=not plain,
            count=count,
            progress=report,
        )
    for unit in found.units:
        said = unit.dead or ", ".join(f"{one.name} {one.value:.3g}" for one in unit.examples[:3])
        click.echo(f"{unit.name}: {said}")
    click.echo(f"{found.total - found.alive} of {found.total} are dead.")
    for note in found.notes:
        click.echo(f"  note: {note}")
    click.echo(f"The {'picture' if out.suffix else 'patches'}: {found.save(out)}")
