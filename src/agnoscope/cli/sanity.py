"""`agnoscope sanity`: does a method explain the network, or only show the image?"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from agnoscope.cli.diagnose import SCENES
from agnoscope.cli.options import batch_option, load, load_images, network_options, seed_option
from agnoscope.cli.output import new_table, progress, show
from agnoscope.errors import OptionError

if TYPE_CHECKING:
    from agnoscope.evaluation.sanity import Row, Sanity
    from agnoscope.metrics.statistics import Summary

METHODS: Final = ("saliency", "integrated-gradients", "guided-backprop", "grad-cam")
MEMORISERS: Final = {"demo:honest": "demo:memoriser"}
"""Networks that learned random labels and are known here, by the network that they stand beside."""
COLUMNS: Final = 6
"""Layers that are shown at the most; the file has them all."""


@click.command()
@click.argument("model")
@click.argument("images", nargs=-1, metavar="[IMAGE]...")
@click.option(
    "-m",
    "--method",
    "methods",
    multiple=True,
    metavar="NAME",
    help=f"What is tested; several times.  [default: {', '.join(METHODS)}]",
)
@click.option("--other", metavar="MODEL", help="The same architecture, trained on random labels.")
@click.option("--count", default=24, show_default=True, help="Of demo:scenes: how many.")
@seed_option("Of demo:scenes, and of the randomised weights.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="File for all numbers: .json.")
@batch_option
@network_options
def sanity(
    model: str,
    images: tuple[str, ...],
    methods: tuple[str, ...],
    other: str | None,
    count: int,
    seed: int,
    out: Path | None,
    batch_size: int | None,
    **network: Any,
) -> None:
    """Randomise MODEL layer by layer: do explanations change?

    IMAGE is a photo, a folder of photos, or demo:scenes (the default). The table has the rank correlation of maps
    before and after, from the last layer to the first; a method whose maps stay alike shows the image, not the
    network. The edge filter below the methods must fail.
    """
    from agnoscope.answers import predict
    from agnoscope.api import make_explainer
    from agnoscope.archive import write_whole
    from agnoscope.evaluation.sanity import sanity as examine
    from agnoscope.images import load as prepared

    explainers = {name: make_explainer(name, {}) for name in methods or METHODS}
    if out is not None and out.suffix.lower() != ".json":
        raise OptionError(f"--out {str(out)!r} must end in .json.")
    loaded = load(model, network)
    other = other or MEMORISERS.get(model)
    second = None if other is None else load(other, network)
    batch = prepared(_photos(images, count, seed), loaded.spec, loaded.dtype).images
    answers = predict(loaded, batch, 1)
    if not answers:
        raise OptionError(f"{model} has no classes, whose explanations could be compared.")
    with progress("randomising") as report:
        found = examine(
            loaded, batch, [first[0].index for first in answers], explainers, second, seed,
            batch_size=batch_size, progress=report,
        )  # fmt: skip
    _tell(found)
    if out is not None:
        write_whole(out, json.dumps(found.to_dict(), indent=1).encode())
        click.echo(f"All numbers: {out}")


def _photos(images: tuple[str, ...], count: int, seed: int) -> list[Any]:
    """Bundled scenes, or the photos that are named and those in folders."""
    from agnoscope.demo.scenes import make_scenes

    if images in ((), (SCENES,)):
        if count < 2:
            raise OptionError(f"--count {count} must be at least 2.")
        return [scene.image for scene in make_scenes(count, seed)]
    return load_images(images)


def _tell(found: "Sanity") -> None:
    layers = _shown(next((list(row.layers) for row in found.rows if row.layers), []))
    tested = any(row.labels is not None for row in found.rows)
    lines = new_table(
        "method", *layers, "entropy rise", "on the weights", *(("random labels", "on the labels") if tested else ())
    )
    for row in found.rows:
        name = f"({row.method})" if row.control else row.method
        lines.add_row(name, *(_cells(row, layers) if not row.failure else (f"refused: {row.failure}",)))
    show(lines)
    click.echo(f"Rank correlation with the maps of the trained network, over {found.images} images; near 0 is good.")


def _shown(layers: list[str]) -> list[str]:
    """All layers, or so many evenly among them, the last one with them."""
    most = min(COLUMNS, len(layers))
    return [layers[(i + 1) * len(layers) // most - 1] for i in range(most)]


def _cells(row: "Row", layers: list[str]) -> tuple[str, ...]:
    last = row.layers[layers[-1]]
    cells = (*(_cell(row.layers[layer].rank) for layer in layers), _cell(last.entropy_rise), row.on_weights)
    return cells if row.labels is None else (*cells, _cell(row.labels.rank), row.on_labels)


def _cell(found: "Summary") -> str:
    return f"{found.mean:.2f}" if found.n else "undefined"
