"""`agnoscope compare`: methods side by side, and the same network in several frameworks."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agnoscope.cli.options import batch_option, load, load_images, network_options
from agnoscope.cli.output import new_table, progress, show
from agnoscope.errors import OptionError

if TYPE_CHECKING:
    from agnoscope.model import Model


@click.command()
@click.argument("model")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option(
    "-m", "--method", "methods", multiple=True, metavar="NAME", help="Several times.  [default: saliency, grad-cam]"
)
@click.option(
    "--in", "frameworks", multiple=True, metavar="NAME", help="A framework in which MODEL is loaded; several times."
)
@click.option(
    "--with", "others", multiple=True, metavar="MODEL", help="Another network of the same weights; several times."
)
@click.option(
    "-t", "--target", metavar="CLASS", help="Class number, label or top-1.  [default: top-1 of the first network]"
)
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), default=Path("comparison.png"), show_default=True, help="Picture."
)
@click.option("--json", "json_file", type=click.Path(path_type=Path), metavar="FILE", help="File for the table.")
@batch_option
@network_options
def compare(
    model: str,
    images: tuple[str, ...],
    methods: tuple[str, ...],
    frameworks: tuple[str, ...],
    others: tuple[str, ...],
    target: str | None,
    out: Path,
    json_file: Path | None,
    batch_size: int | None,
    **network: Any,
) -> None:
    """Compare methods, and frameworks, on the same images.

    IMAGE is a photo, a folder of photos, or demo:NUMBER.

    Draws one picture, a row for each IMAGE and a column for each method. Several frameworks (--in torch --in jax), or
    several networks of the same weights (--with), stand side by side with a column of their differences.
    """
    from agnoscope.api import make_explainer
    from agnoscope.archive import write_whole
    from agnoscope.evaluation import comparison
    from agnoscope.explanation import PICTURES, save_picture
    from agnoscope.trees import for_json

    if out.suffix.lower() not in PICTURES:
        raise OptionError(f"--out {str(out)!r} must end in {', '.join(PICTURES)}.")
    explainers = {name: make_explainer(name, {}) for name in methods or ("saliency", "grad-cam")}
    models = _models(model, frameworks, others, network)
    photos = load_images(images)
    with progress("comparing") as report:
        found = comparison.compare(models, photos, explainers, target, batch_size=batch_size, progress=report)
    lines = new_table("first", "second", "rank correlation", "largest difference")
    for pair in found.pairs:
        apart = "" if pair.difference is None else f"{pair.difference.mean:.1e} of the largest value"
        alike = f"{pair.correlation.mean:.3f}" if pair.correlation.n else "undefined"
        lines.add_row(pair.first, pair.second, alike, apart)
    show(lines)
    if json_file is not None:
        write_whole(json_file, json.dumps(for_json([asdict(pair) for pair in found.pairs]), indent=1).encode())
        click.echo(f"The table: {json_file}")
    save_picture(found.draw(), out)
    click.echo(f"The picture: {out}")


def _models(
    text: str, frameworks: tuple[str, ...], others: tuple[str, ...], network: dict[str, Any]
) -> "dict[str, Model]":
    if frameworks:
        models = {name: load(text, {**network, "backend": name}) for name in frameworks}
    else:
        first = load(text, network)
        models = {first.backend if others else text: first}
    for other in others:
        loaded = load(other, network)
        models[loaded.backend if loaded.backend not in models else other] = loaded
    return models
