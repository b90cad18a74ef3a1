"""`agnoscope features` and `agnoscope filters`: what a network's layers make of an image, and with which weights."""

from pathlib import Path
from typing import Any

import click

from agnoscope.cli.imagine.making import file_name, stem_of
from agnoscope.cli.options import load, load_image, network_options
from agnoscope.errors import OptionError

SCALES = click.Choice(["shared", "own"])


@click.command()
@click.argument("model")
@click.argument("image")
@click.option(
    "-l",
    "--layer",
    "layers",
    multiple=True,
    metavar="LAYER",
    help="Layer, or an ending of its path; several times.  [default: all]",
)
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Picture, or folder for a picture of each layer.")
@click.option(
    "--most",
    type=click.IntRange(min=1),
    help="How many channels of a layer are drawn.  [default: 64, or 8 of several layers]",
)
@click.option(
    "--order",
    type=click.Choice(["strongest", "number"]),
    default="strongest",
    show_default=True,
    help="Which channels come first.",
)
@click.option(
    "--scale",
    type=SCALES,
    default="shared",
    show_default=True,
    help="One colour scale for a layer, or one for each channel.",
)
@click.option("--percentile", type=float, help="Percentile of the values at which a scale ends.  [default: 100]")
@click.option(
    "--side", type=click.IntRange(16, 512), default=96, show_default=True, help="Side of a drawn map in pixels."
)
@network_options
def features(
    model: str,
    image: str,
    layers: tuple[str, ...],
    out: Path | None,
    most: int | None,
    order: Any,
    scale: Any,
    percentile: float | None,
    side: int,
    **network: Any,
) -> None:
    """Draw the maps that the layers of MODEL make of IMAGE.

    IMAGE is a photo, or demo:NUMBER for one of the bundled scenes. Channels that are the same everywhere in this image
    are dead here: they are marked and counted.
    """
    from agnoscope.inspection.feature_maps import feature_maps

    target = out if out is not None else Path(f"{stem_of(image)}_features.png")
    _check_place(target, folder=True)
    found = feature_maps(load(model, network), load_image(image), layers or None)
    name = next(iter(found.maps)) if len(found.maps) == 1 else None
    options: dict[str, Any] = {"most": most, "order": order, "scale": scale, "side": side}
    options["percentile"] = percentile
    place = found.save(target, **options, **({"layer": name} if name and not _is_folder(target) else {}))
    for layer, dead in found.dead.items():
        if layers or len(dead):
            height, width, channels = found.maps[layer].shape
            click.echo(f"  {layer}: {height} × {width}, {len(dead)} of {channels} channels dead here")
    layers_told = "1 layer" if name else f"{len(found.maps)} layers"
    click.echo(f"feature maps of {found.name}, {layers_told} → {place}")


@click.command()
@click.argument("model")
@click.option(
    "-l", "--layer", metavar="LAYER", help="Layer, or an ending of its path.  [default: the first convolution]"
)
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Picture (.png .jpg .webp) or existing folder.")
@click.option(
    "--most", type=click.IntRange(min=1), help="How many filters are drawn.  [default: 64, or 12 with slices]"
)
@click.option(
    "--scale",
    type=SCALES,
    default="shared",
    show_default=True,
    help="One colour scale for all, or one for each filter.",
)
@click.option(
    "--side", type=click.IntRange(8, 512), help="Side of a drawn filter in pixels.  [default: 64, or 40 of slices]"
)
@network_options
def filters(
    model: str, layer: str | None, out: Path | None, most: int | None, scale: Any, side: int | None, **network: Any
) -> None:
    """Draw the weights of a layer of MODEL.

    Those of the first layer are drawn as colours, those of deeper ones slice by slice.
    """
    from agnoscope.inspection.filters import filters as read

    target = out or Path()
    if not target.is_dir():
        _check_place(target, folder=False)
    found = read(load(model, network), layer)
    if target.is_dir():
        target /= f"{file_name(found.layer)}_filters.png"
    place = found.save(target, most=most, scale=scale, side=side)
    click.echo(f"{found.layer}: {' × '.join(map(str, found.kernel.shape))} weights → {place}")


def _is_folder(path: Path) -> bool:
    return path.is_dir() or not path.suffix


def _check_place(path: Path, folder: bool) -> None:
    """Refuse where nothing can be written before any work is done."""
    from agnoscope.explanation import PICTURES

    if not (folder and _is_folder(path)) and path.suffix.lower() not in PICTURES:
        raise OptionError(f"--out {str(path)!r} must be a folder or end in {', '.join(PICTURES)}.")
    if not path.parent.is_dir():
        raise OptionError(f"--out {str(path)!r} lies in a folder that does not exist.")
