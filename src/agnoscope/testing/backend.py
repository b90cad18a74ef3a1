"""What a plugin author hands to the checks of a backend."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

from agnoscope.model import Model


@final
@dataclass(frozen=True)
class Backend:
    """A backend under test.

    Attributes:
        name: shown in the tests' names.
        build: `build(network, **options)` builds the described `agnoscope.backends.reference.Network` in the
            backend's framework and passes it to `agnoscope.wrap` with these options. Layers must be found under
            the operations' names, which may be endings of longer paths.
        fingerprint: takes a model and returns something comparable that tells the state of the user's network:
            weights, modes, hooks. None where there is no such state.
        entry: the light module that the entry point names; it must load no framework.
        build_shifted: `build_shifted(network)` builds and wraps the described network with a second input called
            "shift", of shape (4,), which is added to its output. None where networks have one input.
    """

    name: str
    build: Callable[..., Model]
    fingerprint: Callable[[Model], Any] | None = None
    entry: str | None = None
    build_shifted: Callable[..., Model] | None = None
