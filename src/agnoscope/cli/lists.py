"""`agnoscope layers`, `methods` and `plugins`: what there is."""

from typing import TYPE_CHECKING, Any

import click

from agnoscope.cli.options import load, network_options
from agnoscope.cli.output import new_table, show
from agnoscope.errors import AgnoscopeError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.table import Table


@click.command()
@click.argument("model")
@network_options
def layers(model: str, **network: Any) -> None:
    """List the layers of MODEL in the order in which they run, under the names that --layer takes."""
    loaded = load(model, network)
    table = new_table("name", "kind", "type", "shape")
    for layer in loaded.layers().values():
        table.add_row(layer.name, layer.kind, layer.type, " × ".join(map(str, layer.shape)))
    show(table)
    for note in loaded.outline().notes:
        click.echo(f"note: {note}")


@click.command()
def methods() -> None:
    """List the methods with their options, and presets that give other libraries' numbers."""
    from agnoscope.explainers.synthesis.presets import PRESETS as RECIPES
    from agnoscope.presets import PRESETS

    show(_listed("explainer", "method", PRESETS))
    click.echo()
    show(_listed("synthesizer", "makes images", RECIPES))


def _listed(kind: str, title: str, presets: "Iterable[str]") -> "Table":
    """The methods of a kind: name, first sentence, options and provider."""
    from dataclasses import fields

    from agnoscope.plugins import plugins

    table = new_table(title, "what it is", "options", "from")
    for provided in plugins().specs(kind):
        try:
            method = plugins().use(kind, provided.spec.name)
        except AgnoscopeError as error:  # one that cannot be used must not hide the others
            table.add_row(provided.spec.name, str(error), "", provided.provider)
            continue
        summary = (method.__doc__ or "").partition("\n")[0]
        options = ", ".join(field.name for field in fields(method))
        table.add_row(provided.spec.name, summary, options, provided.provider)
    for name in presets:
        table.add_row(name, "A preset: the numbers of that library.", "", "agnoscope")
    return table


@click.command("plugins")
def plugins_command() -> None:
    """List what is installed: backends, methods, renderers and sources, and plugins with problems."""
    from agnoscope.plugins import HOOKS, plugins

    found = plugins()
    table = new_table("kind", "name", "from", "loads")
    for spec in HOOKS.values():
        for provided in found.specs(spec.kind):
            table.add_row(spec.kind, provided.spec.name, provided.provider, provided.spec.factory)
    show(table)
    for plugin, problem in found.problems.items():
        click.echo(f"problem: {plugin} {problem}")
