"""`agnoscope diagnose`: does a network look at the object, or at what usually lies around it?"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agnoscope.cli.options import batch_option, load, masks_option, named_value, network_options, seed_option
from agnoscope.cli.output import new_table, progress, show
from agnoscope.errors import OptionError

if TYPE_CHECKING:
    from agnoscope.evaluation.cases import Cases
    from agnoscope.evaluation.diagnosis import Diagnosis, Finding
    from agnoscope.model import Model

SCENES = "demo:scenes"


@click.command()
@click.argument("model")
@click.argument("images")
@masks_option
@click.option(
    "-m", "--method", default="grad-cam", show_default=True, metavar="NAME", help="Whose evidence is counted."
)
@click.option(
    "-O", "--option", "options", multiple=True, metavar="NAME=VALUE", help="Any option of the method; several times."
)
@click.option("--count", default=120, show_default=True, help="Of demo:scenes: how many.")
@seed_option("Of demo:scenes, and of the choice of other backgrounds.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Picture of the most suspect photos.")
@click.option(
    "--worst", type=click.IntRange(min=1), default=6, show_default=True, help="How many photos that picture has."
)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="File for all numbers.")
@batch_option
@network_options
def diagnose(
    model: str,
    images: str,
    masks: str | None,
    method: str,
    options: tuple[str, ...],
    count: int,
    seed: int,
    out: Path | None,
    worst: int,
    json_file: Path | None,
    batch_size: int | None,
    **network: Any,
) -> None:
    """Find out whether MODEL looks at objects or their background.

    IMAGES is a folder of photos (with --masks), or demo:scenes for bundled pictures whose truth is known. Counts the
    evidence on and off the object, replaces objects and backgrounds, and names the classes that lean on the
    background.
    """
    from agnoscope.api import make_explainer
    from agnoscope.archive import write_whole
    from agnoscope.evaluation import diagnosis as examination
    from agnoscope.evaluation.pictures import worst_pictures
    from agnoscope.explanation import PICTURES, save_picture

    explainer = make_explainer(method, dict(map(named_value, options)))
    if out is not None and out.suffix.lower() not in PICTURES:
        raise OptionError(f"--out {str(out)!r} must end in {', '.join(PICTURES)}.")
    loaded = load(model, network)
    cases = load_cases(loaded, images, masks, count, seed)
    with progress(f"diagnosing with {method}") as report:
        found = examination.diagnose(loaded, cases, explainer, seed=seed, batch_size=batch_size, progress=report)
    _tell(found)
    if json_file is not None:
        write_whole(json_file, json.dumps(found.to_dict(), indent=1).encode())
        click.echo(f"All numbers: {json_file}")
    if out is not None:
        save_picture(worst_pictures(found, loaded.spec.bounds, worst), out)
        click.echo(f"The most suspect pictures: {out}")


def load_cases(model: "Model", images: str, masks: str | None, count: int, seed: int) -> "Cases":
    """Bundled scenes, or a folder with one of masks."""
    from agnoscope.evaluation.cases import from_folders, scenes

    if images == SCENES:
        if masks is not None:
            raise OptionError(f"{SCENES} has its own masks: leave --masks out, or give a folder of photos.")
        if count < 2:
            raise OptionError(f"--count {count} must be at least 2.")
        return scenes(model, count, seed)
    if masks is None:
        raise OptionError(f"Where the object is in {images!r} is not known: give --masks FOLDER, or use {SCENES}.")
    return from_folders(model, images, masks)


def _tell(found: "Diagnosis") -> None:
    table = new_table(
        "class answered", "pictures", "right", "evidence on object", "area", "fall without object",
        "fall without background", "verdict", "sure",
    )  # fmt: skip
    for finding in (*found.classes, found.overall):
        table.add_row(*_row(finding))
    show(table)
    if found.suspects:
        names = ", ".join(finding.name for finding in found.suspects)
        click.echo(f"Leaning on the background: {names}.")
    else:
        click.echo("No class leans on the background.")
    undecided = [finding.name for finding in found.classes if finding.verdict == "undecided"]
    if undecided:
        click.echo(f"Undecided: {', '.join(undecided)}; more pictures may tell.")
    for name, reason in found.cases.left_out.items():
        click.echo(f"  left out: {name}: {reason}")


def _row(finding: "Finding") -> tuple[str, ...]:
    right = "" if finding.right != finding.right else f"{finding.right:.0%}"
    shares = [
        "undefined" if one.n == 0 else f"{one.mean:.0%} [{one.low:.0%}, {one.high:.0%}]"
        for one in (finding.evidence, finding.without_object, finding.without_background)
    ]
    sure = f"{finding.sure:.1%}" if finding.sure < 0.999 else "> 99.9%"
    counts = f"{finding.needs_background} : {finding.needs_object}"
    area = f"{finding.area:.0%}"
    return (
        finding.name,
        str(finding.pictures),
        right,
        shares[0],
        area,
        *shares[1:],
        f"{finding.verdict} ({counts})",
        sure,
    )
