"""`agnoscope layers`, `methods` and `plugins`: what there is."""

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from agnoscope.cli.options import load, network_options
from agnoscope.cli.output import new_table, progress, show
from agnoscope.errors import AgnoscopeError, CapabilityError, NonFiniteError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rich.table import Table

    from agnoscope.inspection.receptive_fields import ReceptiveField
    from agnoscope.model import Layer, Model


@click.command()
@click.argument("model")
@click.option("--no-receptive-fields", is_flag=True, help="Leave them out: measuring takes a run for each pixel row.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON, with the names, numbers and notes.")
@network_options
def layers(model: str, no_receptive_fields: bool, as_json: bool, **network: Any) -> None:
    """List the layers of MODEL in the order in which they run, under the names that --layer takes.

    Shapes are height × width × channels. Parameters are the numbers that a layer holds itself, those that a
    normalisation has counted among them. A unit of the layer sees so many pixels of the image, height × width; "all" if
    every unit sees the whole image.
    """
    loaded = load(model, network)
    outline = loaded.outline()
    notes = list(outline.notes)
    counts, total = _parameters(loaded)
    fields = {} if no_receptive_fields else _receptive_fields(loaded, notes)
    rows = [_row(layer, None if total is None else counts[layer.name], fields) for layer in outline.layers.values()]
    if as_json:
        click.echo(json.dumps({"layers": rows, "parameters": total, "notes": notes}, indent=1))
        return
    table = new_table("name", "kind", "type", "shape", "parameters", *(["sees"] if fields else []))
    for row in rows:
        sees = "all" if row["sees_all"] else _times(row["sees"] or ())
        count = f"{row['parameters']:,}" if row["parameters"] else ""
        table.add_row(row["name"], row["kind"], row["type"], _times(row["shape"]), count, *([sees] if fields else []))
    show(table)
    click.echo("The parameters cannot be read." if total is None else f"{total:,} parameters")
    for note in notes:
        click.echo(f"note: {note}")


def _row(layer: "Layer", parameters: int | None, fields: "Mapping[str, ReceptiveField]") -> dict[str, Any]:
    field = fields.get(layer.name)
    return {
        "name": layer.name,
        "kind": layer.kind,
        "type": layer.type,
        "shape": layer.shape,
        "parameters": parameters,
        "sees": None if field is None else field.size,
        "sees_all": None if field is None else field.whole,
    }


def _parameters(model: "Model") -> "tuple[Counter[str], int | None]":
    """How many numbers each layer holds itself, and all of them; None where they cannot be read."""
    counts: Counter[str] = Counter()
    if "weights" not in model.can:
        return counts, None
    weights = model.parameters()
    for name, array in weights.items():
        counts[name.rpartition(".")[0]] += array.size
    return counts, sum(array.size for array in weights.values())


def _receptive_fields(model: "Model", notes: list[str]) -> "Mapping[str, ReceptiveField]":
    """What can be measured; a note where nothing can."""
    from agnoscope.inspection.receptive_fields import receptive_fields

    try:
        with progress("what units see") as report:
            return receptive_fields(model, progress=report)
    except (CapabilityError, NonFiniteError) as error:
        notes.append(f"Receptive fields were not measured. {error}")
        return {}


def _times(sides: "Iterable[int]") -> str:
    return " × ".join(map(str, sides))


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
