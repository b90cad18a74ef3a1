"""`agnoscope neighbours`: the images of a scan that are nearest to others, as the network sees them and by pixels."""

from pathlib import Path
from typing import Any

import click

from agnoscope.cli.options import load, load_image, network_options
from agnoscope.cli.output import new_table, progress, show
from agnoscope.errors import OptionError


@click.command()
@click.argument("model")
@click.argument("scan", metavar="RUN")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option("-l", "--layer", metavar="LAYER", help="One that the scan kept.  [default: its first one]")
@click.option("-k", "k", type=click.IntRange(min=1), default=5, show_default=True, help="How many neighbours of each.")
@click.option(
    "--metric", type=click.Choice(["euclidean", "cosine"]), default="euclidean", show_default=True, help="Distance."
)
@click.option("--no-pixels", is_flag=True, help="Feature space alone: no image is read again.")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), default=Path("neighbours.png"), show_default=True, help="Picture."
)
@network_options
def neighbours(
    model: str,
    scan: str,
    images: tuple[str, ...],
    layer: str | None,
    k: int,
    metric: Any,
    no_pixels: bool,
    out: Path,
    **network: Any,
) -> None:
    """Find the images of a scan that are nearest to each IMAGE.

    RUN is the folder of a scan of MODEL (agnoscope scan). IMAGE is a photo, the name of an image in the scan, which is
    not its own neighbour, or demo:NUMBER. The nearest in feature space, by the mean of each channel, stand above the
    nearest in pixel space.
    """
    from agnoscope.explanation import PICTURES
    from agnoscope.render.panels import readable
    from agnoscope.scan.scan import Scan
    from agnoscope.scan.views.neighbours import neighbours as find

    if out.suffix.lower() not in PICTURES:
        raise OptionError(f"--out {str(out)!r} must end in {', '.join(PICTURES)}.")
    opened, loaded = Scan.open(scan), load(model, network)
    queries = [load_image(image) for image in images]
    with progress("reading the images again") as report:
        found = find(loaded, opened, queries, k, metric, layer=layer, pixel_space=not no_pixels, progress=report)
    table = new_table("image", "space", "neighbour", "distance")
    spaces = {"features": found.features} | ({} if found.pixels is None else {"pixels": found.pixels})
    for number, name in enumerate(images):
        for space, near in spaces.items():
            for row, distance in zip(near.rows[number].tolist(), near.distances[number].tolist(), strict=True):
                if row >= 0:
                    table.add_row(name, space, found.names[row], readable(distance))
    show(table)
    for note in found.notes:
        click.echo(f"  note: {note}")
    click.echo(f"The picture: {found.save(out)}")
