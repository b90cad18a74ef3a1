"""`agnoscope map`: the map of feature space, as a picture or as a page."""

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from agnoscope.cli.options import named_value
from agnoscope.cli.output import progress
from agnoscope.errors import OptionError

if TYPE_CHECKING:
    from agnoscope.scan.scan import Scan

PAGES: Final = (".html", ".htm")
SIDE: Final = 96
"""Longer side in pixels of the pictures from which thumbnails are made."""

NEAR: Final = 12
"""Neighbours of each image on a page."""


@click.command("map")
@click.argument("scan", metavar="RUN")
@click.option("-l", "--layer", metavar="LAYER", help="One that the scan kept.  [default: its first one]")
@click.option(
    "--method",
    type=click.Choice(["pca", "tsne", "umap"]),
    default="tsne",
    show_default=True,
    help="How the images are laid out.",
)
@click.option(
    "-O",
    "--option",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    help="Any option of the method, perplexity=20; several times.",
)
@click.option(
    "--look",
    type=click.Choice(["thumbnails", "grid", "dots"]),
    default="thumbnails",
    show_default=True,
    help="What a picture shows of each image.",
)
@click.option("--grid", "look", flag_value="grid", help="The same as --look grid.")
@click.option(
    "--most",
    type=click.IntRange(min=3),
    default=5000,
    show_default=True,
    help="How many images; of more so many are drawn at random.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of the layout and of the images that are drawn.",
)
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), default=Path("map.html"), show_default=True, help="Page or picture."
)
def map_command(
    scan: str,
    layer: str | None,
    method: str,
    options: tuple[str, ...],
    look: str,
    most: int,
    seed: int,
    out: Path,
) -> None:
    """Lay the images of a scan out in the plane: alike is near.

    Near to each other lie those that the network holds to be alike. RUN is the folder of a scan (agnoscope scan).
    --out ends in .html for a page with search and neighbours on click, which a browser shows without a network, or in
    .png, .jpg or .webp for a picture (--look). How far the map can be trusted is printed.
    """
    import numpy as np

    from agnoscope.archive import write_whole
    from agnoscope.explanation import PICTURES, save_picture
    from agnoscope.feature_space.drawing import draw_grid, draw_scatter, draw_thumbnails
    from agnoscope.feature_space.embedding import embed
    from agnoscope.feature_space.neighbours import nearest
    from agnoscope.feature_space.page import map_page
    from agnoscope.scan.scan import Scan

    if out.suffix.lower() not in (*PAGES, *PICTURES):
        raise OptionError(f"--out {str(out)!r} must end in {', '.join((*PAGES, *PICTURES))}.")
    chosen = dict(map(named_value, options))
    opened = Scan.open(scan)
    rows = np.sort(np.random.default_rng(seed).permutation(len(opened))[:most])
    features = np.concatenate([part[np.isin(some, rows)] for some, part in opened.chunks(layer)])
    embedding = embed(features, method, seed=seed, **chosen)
    click.echo(str(embedding))
    if len(rows) < len(opened):
        click.echo(f"{len(rows)} of {len(opened)} images, drawn at random (seed {seed}).")
    pictures = _pictures(opened, rows.tolist())
    labels = None if opened.labels is None else [opened.labels[row] for row in rows]
    about = f"layer {opened.layer(layer)}, {opened.manifest['backend']}"
    if out.suffix.lower() in PICTURES:
        if look == "dots":
            drawn = draw_scatter(embedding, labels, subtitle=about)
        else:
            drawn = (draw_grid if look == "grid" else draw_thumbnails)(embedding, pictures, labels, subtitle=about)
        click.echo(f"The picture: {save_picture(drawn, out)}")
        return
    near = nearest(features, [(np.arange(len(features)), features)], NEAR, itself=np.arange(len(features)))
    names = [opened.names[row] for row in rows]
    views = [embedding] if method == "pca" else [embedding, embed(features, "pca", seed=seed)]
    with progress("thumbnails") as report:
        page = map_page(views, names, pictures, labels, near, subtitle=about, progress=report)
    click.echo(f"The page: {write_whole(out, page.encode())}")


def _pictures(scan: "Scan", rows: list[int]) -> Any:
    """From a number on the map to a picture; gray where a photo cannot be read any more."""
    from agnoscope.scan.views.rereading import thumbnail

    @lru_cache(maxsize=5000)
    def picture(number: int) -> Any:
        return thumbnail(scan, rows[number], SIDE)

    return picture
