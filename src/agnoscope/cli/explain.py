"""`agnoscope explain`: why a network answers as it does for each image."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agnoscope.cli.options import (
    NUMBERS,
    batch_option,
    load,
    load_image,
    load_images,
    named_value,
    network_options,
    parsed,
)
from agnoscope.cli.output import progress
from agnoscope.errors import OptionError

if TYPE_CHECKING:
    from agnoscope.explainers.base import Explainer
    from agnoscope.model import Model
    from agnoscope.target import ClassScore


@click.command()
@click.argument("model")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option("-m", "--method", default="grad-cam", show_default=True, metavar="NAME", help="See: agnoscope methods.")
@click.option("-t", "--target", metavar="CLASS", help="Class number, label or top-1.  [default: top-1]")
@click.option("-l", "--layer", metavar="LAYER", help="Layer, or an ending of its path. See: agnoscope layers.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="File (.png .jpg .webp .npz) or existing folder.")
@click.option("--resume", is_flag=True, help="Go on with the run that the folder --out holds.")
@click.option("--probability", is_flag=True, help="Explain the probability and not the score before the softmax.")
@click.option("--window", type=NUMBERS, help="Of occlusion: height and width of the patch in pixels: 32 or 32x16.")
@click.option("--stride", type=NUMBERS, help="Of occlusion: how far the patch moves, in pixels.")
@click.option(
    "--fill", metavar="VALUE", help="Of occlusion: what the patch shows: mean, blur, or a number per channel."
)
@click.option(
    "-O", "--option", "options", multiple=True, metavar="NAME=VALUE", help="Any option of the method; several times."
)
@click.option(
    "--renderer",
    default="overlay",
    show_default=True,
    metavar="NAME",
    help="How the map is drawn. See: agnoscope plugins.",
)
@click.option("--seed", type=click.IntRange(min=0), help="Of methods that draw random numbers.  [default: 0]")
@batch_option
@network_options
def explain(
    model: str,
    images: tuple[str, ...],
    method: str,
    target: str | None,
    layer: str | None,
    out: Path | None,
    resume: bool,
    probability: bool,
    options: tuple[str, ...],
    renderer: str,
    seed: int | None,
    batch_size: int | None,
    window: Any,
    stride: Any,
    fill: str | None,
    **network: Any,
) -> None:
    """Explain why MODEL answers as it does for each IMAGE.

    Prints the first three answers, then explains one and saves the picture (or, as .npz, the values).
    IMAGE is a photo, or demo:NUMBER for one of the bundled scenes.

    A folder of photos is explained as a run: values and a picture for each photo go into the folder --out as soon
    as they are there. A run that was stopped goes on with --resume.
    """
    from agnoscope.answers import predict
    from agnoscope.api import make_explainer
    from agnoscope.plugins import plugins
    from agnoscope.target import ClassScore

    given = {"layer": layer, "window": window, "stride": stride, "seed": seed}
    chosen = {name: one for name, one in given.items() if one is not None}
    chosen |= ({"fill": parsed(fill)} if fill is not None else {}) | dict(map(named_value, options))
    explainer = make_explainer(method, chosen)
    plugins().renderer(renderer)
    asked = ClassScore(target, "probability" if probability else "score")
    if resume or any(Path(image).is_dir() for image in images):
        _run(load(model, network), images, explainer, asked, out, resume, renderer, batch_size)
        return
    targets = _places(images, method, out)
    loaded = load(model, network)
    for image, path in zip(images, targets, strict=True):
        photo = load_image(image)
        answers = predict(loaded, photo)
        click.echo(f"{image}: " + (" · ".join(map(str, answers[0])) if answers else "no classes"))
        with progress(f"{method} of {Path(image).name}") as report:
            found = explainer(loaded, photo, asked, batch_size=batch_size, progress=report)
        found.save(path, **({} if path.suffix.lower() == ".npz" else {"renderer": renderer}))
        where = f" at {found.provenance.layer}" if found.provenance.layer else ""
        click.echo(f"  {method} of {found.provenance.targets[0]}{where} → {path}")
        for warning in found.provenance.warnings:
            click.echo(f"  note: {warning}")


def _run(
    model: "Model",
    images: tuple[str, ...],
    explainer: "Explainer",
    target: "ClassScore",
    out: Path | None,
    resume: bool,
    renderer: str,
    batch_size: int | None,
) -> None:
    """Explain folders of photos into the folder `out`, and say what was done."""
    from agnoscope.explanation import PICTURES, Explanation
    from agnoscope.runs import explain_all

    if out is None or out.is_file() or out.suffix.lower() in (*PICTURES, ".npz"):
        raise OptionError(f"--out {str(out or '')!r} must be a folder: that is where a run is kept.")

    with progress(explainer.name) as report:

        def drawn(done: int, total: int) -> None:
            for path in sorted(out.glob("*.npz")):  # pictures come with the values, not after the last of them
                picture = path.with_suffix(".png")
                if not picture.exists() or picture.stat().st_mtime < path.stat().st_mtime:
                    Explanation.load(path).save(picture, renderer=renderer)
            report(done, total)

        run = explain_all(
            model, load_images(images), explainer, out, target, resume=resume, batch_size=batch_size, progress=drawn
        )
    click.echo(f"{len(run)} of {run.total} photos explained → {out}")
    for name, reason in run.failures.items():
        click.echo(f"  left out: {name}: {reason}")


def _places(images: tuple[str, ...], method: str, out: Path | None) -> list[Path]:
    """Where each explanation goes; refused before any work is done, if it cannot."""
    from agnoscope.explanation import PICTURES

    named = [f"{Path(image).stem}_{method}".replace(":", "-") for image in images]
    if out is None or out.is_dir():
        places = [(out or Path()) / f"{name}.png" for name in named]
        twice = {place.name for place in places if places.count(place) > 1}
        if twice:
            raise OptionError(f"Several images would be saved as {', '.join(sorted(twice))}: explain them apart.")
        return places
    endings = (*PICTURES, ".npz")
    if out.suffix.lower() not in endings:
        raise OptionError(f"--out {str(out)!r} must be an existing folder or end in {', '.join(endings)}.")
    if len(images) > 1:
        raise OptionError(f"--out {str(out)!r} is one file for {len(images)} images: give a folder.")
    if not out.parent.is_dir():
        raise OptionError(f"--out {str(out)!r} lies in a folder that does not exist.")
    return [out]
