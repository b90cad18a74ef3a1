"""Networks whose weights are randomised, from the last layer to the first, for sanity checks."""

from collections.abc import Iterator

import numpy as np

from agnoscope.errors import CapabilityError
from agnoscope.model import Model


def cascade(model: Model, seed: int = 0) -> Iterator[tuple[str, Model]]:
    """The network with ever more of its layers randomised (Adebayo et al., NeurIPS 2018).

    Each weight of a layer is shuffled among its own values, which keeps their distribution and thus the size of the
    activations. The user's network stays as it is.

    Args:
        model: the network.
        seed: of the shuffling; a layer is shuffled alike at every step.

    Yields:
        The layer that was reached, the last one first, and the network with it and all later ones randomised.

    Raises:
        CapabilityError: the network's weights cannot be replaced, or it has none.
    """
    model.require("weights", "randomising its layers")
    known = model.parameters()
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name in known))
    if not layers:
        raise CapabilityError("The network has no weights that could be randomised.")
    rng = np.random.default_rng(seed)
    changed = {}
    for layer in reversed(layers):
        for name, weight in known.items():
            if name.rpartition(".")[0] == layer:
                changed[name] = rng.permutation(weight.ravel()).reshape(weight.shape)
        yield layer, model.with_parameters(changed)


def randomised(model: Model, seed: int = 0) -> Model:
    """The network with all its weights shuffled; raises as `cascade`."""
    *_, (_, last) = cascade(model, seed)
    return last
