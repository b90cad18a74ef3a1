"""What a changed rule for ReLUs leaves as it is, for methods that must say so."""

from agnoscope.model import Model


def unchanged_activations(model: Model, size: tuple[int, int]) -> tuple[str, ...]:
    """A sentence about the activations that are no ReLUs and keep their own gradient, if there are any."""
    inner = list(model.layers(size).values())[:-1]  # a sigmoid at the end is the head, before which scores are read
    others = [layer for layer in inner if layer.kind == "activation"]
    if not others:
        return ()
    kinds = ", ".join(sorted({layer.type for layer in others}))
    return (f"{len(others)} activations are no ReLUs and keep their own gradient ({kinds}).",)
