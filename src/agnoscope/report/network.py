"""The network of a report: what it is, what it expects of an image, and its layers."""

from dataclasses import dataclass
from typing import Any, Final, final

from agnoscope.inspection.layer_table import LayerTable, layer_table
from agnoscope.model import Model

ABILITIES: Final = {
    "capture": "look into layers",
    "patch": "change layers",
    "gradient": "gradients",
    "relu": "change how ReLUs go backward",
    "weights": "read weights",
}


@final
@dataclass(frozen=True)
class Network:
    """What a report tells of its network.

    Attributes:
        facts: name to words, such as "backend" to "torch 2.13".
        table: its layers, in the order in which they run, and what the backend could not see.
    """

    facts: tuple[tuple[str, str], ...]
    table: LayerTable


def described(model: Model, size: tuple[int, int], receptive_fields: bool = False) -> Network:
    """What can be told of a network that sees images of this size.

    Args:
        model: the network.
        size: height and width in pixels.
        receptive_fields: whether to measure them, which takes some runs of the network.
    """
    outline, spec, table = model.outline(size), model.spec, layer_table(model, size, measure=receptive_fields)
    facts = {
        "backend": f"{model.backend} ({', '.join(f'{name} {version}' for name, version in model.versions.items())})",
        "image": f"{size[0]} × {size[1]} pixels, {spec.channels if spec.depth <= 3 else f'{spec.depth} channels'}",
        "values of an image": _span(spec.bounds),
        "what the network receives": _received(spec),
        "parameters": "not readable" if table.parameters is None else f"{table.parameters:,} ({model.dtype})",
        "layers that ran": str(len(outline.layers)),
        "scores": " × ".join(map(str, outline.scores)) + (f", then {outline.head}" if outline.head != "linear" else ""),
        "classes": _classes(model.labels),
        "inputs bound": ", ".join(model.bound),
        "offers": ", ".join(ABILITIES.get(ability, ability) for ability in sorted(model.can)),
    }
    return Network(tuple((name, words) for name, words in facts.items() if words), table)


def _received(spec: Any) -> str:
    """How an image is prepared, in words."""
    moved = f"{_span(spec.range)}, " if spec.range and spec.range != spec.bounds else ""
    return f"{moved}less {_numbers(spec.mean)}, divided by {_numbers(spec.std)}"


def _span(bounds: tuple[float, float]) -> str:
    return f"{bounds[0]:g} to {bounds[1]:g}"


def _numbers(given: float | tuple[float, ...]) -> str:
    return ", ".join(f"{number:g}" for number in (given if isinstance(given, tuple) else (given,)))


def _classes(labels: tuple[str, ...] | None) -> str:
    if labels is None:
        return ""
    return f"{len(labels)}: {' · '.join(labels[:6])}{' …' if len(labels) > 6 else ''}"
