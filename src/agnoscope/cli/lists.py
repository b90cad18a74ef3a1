"""`agnoscope layers`, `methods` and `plugins`: what there is."""

import json
from typing import TYPE_CHECKING, Any

import click

from agnoscope.cli.options import load, network_options
from agnoscope.cli.output import new_table, progress, show
from agnoscope.errors import AgnoscopeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.table import Table

    from agnoscope.inspection.layer_table import LayerRow


@click.command()
@click.argument("model")
@click.option(
    "--no-receptive-fields",
    is_flag=True,
    help="Do not measure what units see, which takes a run for each row of pixels.",
)
@click.option("--json", "as_json", is_flag=True, help="Write JSON, with the names, numbers and notes.")
@network_options
def layers(model: str, no_receptive_fields: bool, as_json: bool, **network: Any) -> None:
    """List the layers of MODEL, in the order in which they run.

    The names are those that --layer takes. Shapes are height × width × channels. Parameters are the numbers that a
    layer holds itself, those that a normalisation has counted among them. A unit of the layer sees so many pixels of
    the image, height × width; "all" if every unit sees the whole image.
    """
    from agnoscope.inspection.layer_table import layer_table

    loaded = load(model, network)
    with progress("what units see") as report:
        found = layer_table(loaded, measure=not no_receptive_fields, progress=report)
    if as_json:
        rows = [_facts(row) for row in found.rows]
        click.echo(json.dumps({"layers": rows, "parameters": found.parameters, "notes": found.notes}, indent=1))
        return
    table = new_table("name", "kind", "type", "shape", "parameters", *(["sees"] if found.measured else []))
    for row in found.rows:
        layer, count = row.layer, f"{row.parameters:,}" if row.parameters else ""
        shape = " × ".join(map(str, layer.shape))
        table.add_row(layer.name, layer.kind, layer.type, shape, count, *([row.sees] if found.measured else []))
    show(table)
    click.echo("The parameters cannot be read." if found.parameters is None else f"{found.parameters:,} parameters")
    for note in found.notes:
        click.echo(f"note: {note}")


def _facts(row: "LayerRow") -> dict[str, Any]:
    return {
        "name": row.layer.name,
        "kind": row.layer.kind,
        "type": row.layer.type,
        "shape": row.layer.shape,
        "parameters": row.parameters,
        "sees": None if row.field is None else row.field.size,
        "sees_all": None if row.field is None else row.field.whole,
    }


@click.command()
def methods() -> None:
    """List the methods with their options, and presets.

    Methods that explain come first, then those that make images. A preset, LIBRARY:METHOD, has the numbers of another
    library. What the options mean and their defaults stand on the method's page of the documentation.
    """
    from agnoscope.explainers.synthesis.presets import PRESETS as RECIPES
    from agnoscope.presets import PRESETS

    show(_listed("explainer", "method", PRESETS))
    click.echo()
    show(_listed("synthesizer", "makes images", RECIPES))


def _listed(kind: str, title: str, presets: "Mapping[str, Any]") -> "Table":
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
    for name, preset in presets.items():
        method = getattr(preset, "explainer", preset)  # one that explains holds it
        table.add_row(name, f"A preset of {method.name}.", "", "agnoscope")
    return table


@click.command("plugins")
def plugins_command() -> None:
    """List what is installed: backends, methods, renderers, sources.

    Plugins that cannot be used are listed with their problem.
    """
    from agnoscope.plugins import HOOKS, plugins

    found = plugins()
    table = new_table("kind", "name", "from", "loads")
    for spec in HOOKS.values():
        for provided in found.specs(spec.kind):
            table.add_row(spec.kind, provided.spec.name, provided.provider, provided.spec.factory)
    show(table)
    for plugin, problem in found.problems.items():
        click.echo(f"problem: {plugin} {problem}")
