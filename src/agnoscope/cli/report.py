"""`agnoscope report`: all that can be told of some images, as one page for a browser."""

from pathlib import Path
from typing import Any

import click

from agnoscope.cli.options import batch_option, load, load_images, network_options
from agnoscope.cli.output import progress


@click.command()
@click.argument("model")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option(
    "-m", "--method", "methods", multiple=True, metavar="NAME", help="Several times.  [default: one of each kind]"
)
@click.option("-t", "--target", metavar="CLASS", help="Class number, label or top-1.  [default: top-1 of each image]")
@click.option(
    "-l",
    "--layer",
    "layers",
    multiple=True,
    metavar="LAYER",
    help="Layer whose maps are shown; several times.  [default: four]",
)
@click.option(
    "--scan", type=click.Path(path_type=Path), metavar="RUN", help="Folder of a scan: adds neighbours and patches."
)
@click.option(
    "--check", "checks", multiple=True, metavar="NAME", help="Several times.  [default: deletion, insertion, edges]"
)
@click.option("--no-checks", is_flag=True, help="Leave the checks out, which saves many runs of the network.")
@click.option("--receptive-fields", is_flag=True, help="Tell in the table of layers how much of the image a unit sees.")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), default=Path("report.html"), show_default=True, help="Page."
)
@click.option("--title", metavar="TEXT", help="Title of the page.  [default: What MODEL sees]")
@batch_option
@network_options
def report(
    model: str,
    images: tuple[str, ...],
    methods: tuple[str, ...],
    target: str | None,
    layers: tuple[str, ...],
    scan: Path | None,
    checks: tuple[str, ...],
    no_checks: bool,
    receptive_fields: bool,
    out: Path,
    title: str | None,
    batch_size: int | None,
    **network: Any,
) -> None:
    """Write one page that explains MODEL's answers for each IMAGE.

    It has the answers, maps by several methods with their checks, layers, and where everything came from. IMAGE is a
    photo, a folder of photos, or demo:NUMBER. The page is a single file that needs no network and no server.
    """
    from agnoscope.report.contents import Failure, Subject, writable
    from agnoscope.report.making import CHECKS, METHODS, make_report

    writable(out)
    photos = load_images(images)
    with progress(out.name) as told:
        found = make_report(
            load(model, network),
            photos,
            methods or METHODS,
            target,
            layers=layers or None,
            scan=scan,
            checks=() if no_checks else checks or CHECKS,
            receptive_fields=receptive_fields,
            title=title or f"What {model} sees",
            batch_size=batch_size,
            progress=told,
        )
    for subject in found:
        if isinstance(subject, Subject):
            click.echo(f"{subject.name}: " + (" · ".join(map(str, subject.answers[:3])) or "no classes"))
        parts = (*subject.panels, *subject.failures) if isinstance(subject, Subject) else (subject,)
        for failure in parts:
            if isinstance(failure, Failure):
                click.echo(f"  left out: {failure.name}: {failure.reason}")
    path = found.save(out)
    click.echo(f"The report: {path} ({path.stat().st_size / 2**20:.1f} MB)")
