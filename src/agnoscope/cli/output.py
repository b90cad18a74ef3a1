"""What commands show: tables, progress, and one clear line for a mistake."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table


def new_table(*columns: str) -> "Table":
    """A table without lines."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def show(table: "Table") -> None:
    """Print a table, at the width of the terminal."""
    from rich.console import Console

    # In a pipe there is no width to fit into, and a name must stay on its line.
    console = Console(width=None if sys.stdout.isatty() else 500)
    console.print(table)


@contextmanager
def progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, nothing in a pipe."""
    if not sys.stderr.isatty():
        from agnoscope.explainers.base import silent

        yield silent
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def progress_of_run(title: str) -> Iterator[Callable[[int, int, float], None]]:
    """A bar with the objective's value on a terminal; in a pipe a line at every tenth of the run, on stderr."""
    from agnoscope.render.panels import readable

    if not sys.stderr.isatty():

        def line(done: int, total: int, objective: float) -> None:
            if done * 10 // total > (done - 1) * 10 // total:
                click.echo(f"{title}: step {done} of {total}, objective {readable(objective)}", err=True)

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("objective {task.fields[objective]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, objective="…", total=None)
        yield lambda done, total, objective: bar.update(
            task, completed=done, total=total, objective=readable(objective)
        )
