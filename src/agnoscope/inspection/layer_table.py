"""The layers of a network in a table: what each is, how many numbers it has learnt, how much of the image it sees."""

from collections import Counter
from dataclasses import dataclass
from typing import final

from agnoscope.errors import CapabilityError, NonFiniteError
from agnoscope.explainers.base import Progress, silent
from agnoscope.inspection.receptive_fields import ReceptiveField, receptive_fields
from agnoscope.model import Layer, Model


@final
@dataclass(frozen=True, eq=False)
class LayerRow:
    """A row of the table.

    Attributes:
        layer: its name, kind, type and shape.
        parameters: the numbers that it holds itself, those that a normalisation has counted among them; None where
            weights cannot be read.
        field: its receptive field; None where it was not measured.
    """

    layer: Layer
    parameters: int | None
    field: ReceptiveField | None = None

    @property
    def sees(self) -> str:
        """Its receptive field in words: "14 × 14" in pixels, "all" for the whole image, "" where it is not known."""
        if self.field is None:
            return ""
        return "all" if self.field.whole else " × ".join(map(str, self.field.size))


@final
@dataclass(frozen=True, eq=False)
class LayerTable:
    """All layers, in the order in which they run.

    Attributes:
        rows: one per layer.
        parameters: of the whole network; None where weights cannot be read.
        notes: what the backend could not see, and what could not be measured.
    """

    rows: tuple[LayerRow, ...]
    parameters: int | None
    notes: tuple[str, ...]

    @property
    def measured(self) -> bool:
        """Whether the receptive field of any layer is known."""
        return any(row.field is not None for row in self.rows)


def layer_table(
    model: Model, size: tuple[int, int] | None = None, *, measure: bool = True, progress: Progress = silent
) -> LayerTable:
    """Make the table of a network.

    Args:
        model: the network.
        size: height and width of the image in pixels; by default the network's own.
        measure: whether to measure receptive fields, which takes a run for each row or column of pixels.
        progress: called with the measurements done and their number.

    Raises:
        OptionError: the size of the image is not known.
    """
    outline, notes, fields = model.outline(size), list(model.outline(size).notes), {}
    if measure:
        try:
            fields = dict(receptive_fields(model, size, progress=progress))
        except (CapabilityError, NonFiniteError) as error:
            notes.append(f"Receptive fields were not measured. {error}")
    weights = model.parameters() if "weights" in model.can else None
    counts: Counter[str] = Counter()
    for name, array in (weights or {}).items():
        counts[name.rpartition(".")[0]] += array.size
    rows = [
        LayerRow(layer, None if weights is None else counts[layer.name], fields.get(layer.name))
        for layer in outline.layers.values()
    ]
    total = None if weights is None else sum(array.size for array in weights.values())
    return LayerTable(tuple(rows), total, tuple(notes))
