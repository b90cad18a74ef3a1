"""`agnoscope bench`: methods × metrics on images whose truth is known."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from agnoscope.cli.diagnose import SCENES, load_cases
from agnoscope.cli.options import batch_option, load, masks_option, network_options, seed_option
from agnoscope.cli.output import new_table, progress, show
from agnoscope.errors import OptionError

if TYPE_CHECKING:
    from agnoscope.evaluation.bench import Table
    from agnoscope.evaluation.cases import Cases
    from agnoscope.evaluation.tasks import Task
    from agnoscope.metrics.statistics import Summary
    from agnoscope.model import Model

TASKS: Final = ("object", "grid", "disconnected")
METHODS: Final = ("saliency", "input-x-gradient", "guided-backprop", "grad-cam", "layer-cam", "occlusion")


@click.command()
@click.argument("model")
@click.argument("images", default=SCENES)
@masks_option
@click.option(
    "-m",
    "--method",
    "methods",
    multiple=True,
    metavar="NAME",
    help=f"What is judged; several times.  [default: {', '.join(METHODS)}]",
)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME",
    help="By what; several times.  [default: mass, rank, pointing game, AUROC]",
)
@click.option(
    "--task", "tasks", multiple=True, type=click.Choice(TASKS), help="On which images; several times.  [default: all]"
)
@click.option("--count", default=100, show_default=True, help="Images per task; of a folder, all are taken.")
@seed_option("Of scenes, mosaics and noise.")
@click.option("-o", "--out", type=click.Path(path_type=Path), metavar="FILE", help="File for the table: .json or .csv.")
@batch_option
@network_options
def bench(
    model: str,
    images: str,
    masks: str | None,
    methods: tuple[str, ...],
    metrics: tuple[str, ...],
    tasks: tuple[str, ...],
    count: int,
    seed: int,
    out: Path | None,
    batch_size: int | None,
    **network: Any,
) -> None:
    """Judge methods by images of which it is known where to look.

    IMAGES is demo:scenes (the default), or a folder of photos with --masks. Tasks: the object that the answer
    provably depends on; one of four pictures in a grid; one quarter of a disconnected network. Controls stand
    below the methods: what is no better than they are tells nothing.
    """
    from agnoscope.api import make_explainer
    from agnoscope.archive import write_whole
    from agnoscope.evaluation.bench import USUAL
    from agnoscope.evaluation.bench import bench as judge

    explainers = {name: make_explainer(name, {}) for name in methods or METHODS}
    if out is not None and out.suffix.lower() not in (".json", ".csv"):
        raise OptionError(f"--out {str(out)!r} must end in .json or .csv.")
    if count < 2:
        raise OptionError(f"--count {count} must be at least 2.")
    loaded = load(model, network)
    cases = load_cases(loaded, images, masks, count, seed)
    chosen, left_out = [], {}
    for name in tasks or TASKS:
        try:
            chosen.append(_task(name, loaded, cases, count, seed))
        except OptionError as error:  # of all the tasks, those that suit the network are done
            if tasks:
                raise
            left_out[name] = error
    with progress("judging") as report:
        table = judge(chosen, explainers, metrics or USUAL, batch_size=batch_size, progress=report)
    for task in chosen:
        _tell(table, task)
    for name, reason in left_out.items():
        click.echo(f"\n{name}: left out. {reason}")
    if out is not None:
        text = table.to_csv() if out.suffix.lower() == ".csv" else json.dumps(table.to_dict(), indent=1)
        write_whole(out, text.encode())
        click.echo(f"The table: {out}")


def _task(name: str, model: "Model", cases: "Cases", count: int, seed: int) -> "Task":
    from agnoscope.evaluation.tasks import disconnected_task, grid_task, object_task

    match name:
        case "object":
            return object_task(model, cases)
        case "grid":
            return grid_task(model, cases, count, seed)
        case _:
            return disconnected_task(count, seed)


def _tell(table: "Table", task: "Task") -> None:
    click.echo(f"\n{task.name}: {task.about} {len(task)} of {task.drawn} images.")
    lines = new_table("method", *table.metrics, "ms per image")
    for row in table.rows:
        if row.task != task.name:
            continue
        name = f"({row.method})" if row.control else row.method
        if row.failure:
            lines.add_row(name, f"refused: {row.failure}")
            continue
        speed = f"{row.seconds * 1000:.1f}" if row.seconds else ""
        lines.add_row(name, *(_cell(row.metrics[metric]) for metric in table.metrics), speed)
    show(lines)


def _cell(found: "Summary") -> str:
    if not found.n:
        return "undefined"
    beside = f" ({found.undefined} undefined)" if found.undefined else ""
    return f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]{beside}"
