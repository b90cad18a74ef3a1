"""The network of a report: what it is, what it expects of an image, and its layers."""

from collections import Counter
from dataclasses import dataclass
from typing import Any, Final, final

from agnoscope.errors import AgnoscopeError
from agnoscope.model import Layer, Model

ABILITIES: Final = {
    "capture": "look into layers",
    "patch": "change layers",
    "gradient": "gradients",
    "relu": "change how ReLUs go backward",
    "weights": "read weights",
}


@final
@dataclass(frozen=True)
class LayerRow:
    """A layer of the table.

    Attributes:
        layer: its name, kind and shape.
        parameters: how many numbers it has learnt; None where weights cannot be read.
        sees: its receptive field in pixels, "all" for the whole image, "" where it was not measured.
    """

    layer: Layer
    parameters: int | None
    sees: str = ""


@final
@dataclass(frozen=True)
class Network:
    """What a report tells of its network.

    Attributes:
        facts: name to words, such as "backend" to "torch 2.13".
        layers: in the order in which they run.
        notes: what the backend could not see.
    """

    facts: tuple[tuple[str, str], ...]
    layers: tuple[LayerRow, ...]
    notes: tuple[str, ...] = ()

    @property
    def measured(self) -> bool:
        """Whether the receptive field of any layer is known."""
        return any(row.sees for row in self.layers)


def described(model: Model, size: tuple[int, int], receptive_fields: bool = False) -> Network:
    """What can be told of a network that sees images of this size.

    Args:
        model: the network.
        size: height and width in pixels.
        receptive_fields: whether to measure them, which takes some runs of the network.
    """
    outline, spec = model.outline(size), model.spec
    weights = model.parameters() if "weights" in model.can else None
    counts: Counter[str] = Counter()
    for name, array in (weights or {}).items():
        counts[name.rpartition(".")[0]] += array.size
    sees = _receptive_fields(model, size) if receptive_fields else {}
    total = None if weights is None else sum(array.size for array in weights.values())
    facts = {
        "backend": f"{model.backend} ({', '.join(f'{name} {version}' for name, version in model.versions.items())})",
        "image": f"{size[0]} × {size[1]} pixels, {spec.channels if spec.depth <= 3 else f'{spec.depth} channels'}",
        "values of an image": _span(spec.bounds),
        "what the network receives": _received(spec),
        "parameters": "not readable" if total is None else f"{total:,} ({model.dtype})",
        "layers that ran": str(len(outline.layers)),
        "scores": " × ".join(map(str, outline.scores)) + (f", then {outline.head}" if outline.head != "linear" else ""),
        "classes": _classes(model.labels),
        "inputs bound": ", ".join(model.bound),
        "offers": ", ".join(ABILITIES.get(ability, ability) for ability in sorted(model.can)),
    }
    return Network(
        tuple((name, words) for name, words in facts.items() if words),
        tuple(
            LayerRow(layer, None if weights is None else counts[layer.name], sees.get(layer.name, ""))
            for layer in outline.layers.values()
        ),
        outline.notes,
    )


def _receptive_fields(model: Model, size: tuple[int, int]) -> dict[str, str]:
    from agnoscope.inspection.receptive_fields import receptive_fields

    try:
        found = receptive_fields(model, size)
    except AgnoscopeError:  # a network that cannot be looked into
        return {}
    return {name: "all" if f.whole else f"{f.size[0]} × {f.size[1]}" for name, f in found.items()}


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
