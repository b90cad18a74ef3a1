"""Every exception that agnoscope raises, as one tree.

Each says in a sentence or two what was asked, what was found and what to do.

    AgnoscopeError
    ├── ImageError              an image that cannot be read or does not fit the network     (ValueError)
    ├── TargetError             a class, label, neuron or function that the network lacks    (ValueError)
    ├── LayerError              a layer that is unknown, ambiguous, did not run or is unfit  (ValueError)
    ├── OptionError             an unknown method, or an option with a wrong name or value   (ValueError)
    ├── ModelError              a network that no backend can explain                        (TypeError)
    ├── CapabilityError         a network or backend that lacks what the method needs        (RuntimeError)
    ├── NonFiniteError          NaN or infinity in the network's values                      (ArithmeticError)
    ├── OutOfMemoryError        not even one image at a time fits into memory                (MemoryError)
    ├── MissingFrameworkError   a framework that is not installed                            (ImportError)
    ├── PluginError             a plugin that is broken, unknown or in conflict              (RuntimeError)
    └── FileError               a file of ours that cannot be read or written                (OSError)
"""

from collections.abc import Iterable
from difflib import get_close_matches


class AgnoscopeError(Exception):
    """The root: `except ag.AgnoscopeError` catches whatever agnoscope itself refuses."""


class ImageError(AgnoscopeError, ValueError):
    """An image that cannot be read, or whose shape, range or values do not fit the network."""


class TargetError(AgnoscopeError, ValueError):
    """A class, label, neuron or function of the run that this network does not have."""


class LayerError(AgnoscopeError, ValueError):
    """A layer that is unknown, ambiguous, did not run, or has no spatial axes where they are needed."""


class OptionError(AgnoscopeError, ValueError):
    """An unknown method, or an option whose name or value it does not take."""


class ModelError(AgnoscopeError, TypeError):
    """A network of no known framework, or one that its backend must refuse."""


class CapabilityError(AgnoscopeError, RuntimeError):
    """A network or backend that lacks what the method needs: gradients, ReLUs, inner layers."""


class NonFiniteError(AgnoscopeError, ArithmeticError):
    """NaN or infinity in the network's activations, scores or gradients."""


class OutOfMemoryError(AgnoscopeError, MemoryError):
    """Not even one image at a time fits into memory."""


class WorkerError(AgnoscopeError, RuntimeError):
    """A worker of an engine that died, or whose network is not the one that was asked for."""


class MissingFrameworkError(AgnoscopeError, ImportError):
    """A framework that the asked backend needs and that is not installed."""


class PluginError(AgnoscopeError, RuntimeError):
    """A plugin that failed to load, is unknown, or shares a name with another one."""


class FileError(AgnoscopeError, OSError):
    """An explanation or picture that cannot be written, or a file that is not an explanation."""


def nearest(asked: str, known: Iterable[str], most: int = 5) -> str:
    """The names nearest to what was asked, for the end of an error message.

    Args:
        asked: what the user wrote.
        known: the names that exist.
        most: how many to list at the most.

    Returns:
        For example `"'conv1', 'conv2'"`: close matches first, else the names that contain the asked
        word, else the first ones.
    """
    names = list(dict.fromkeys(known))
    lowered = {name.lower(): name for name in reversed(names)}
    found = [lowered[name] for name in get_close_matches(asked.lower(), lowered, most, cutoff=0.5)]
    found += [name for name in names if asked and asked.lower() in name.lower()]
    chosen = list(dict.fromkeys(found or names))[:most]
    more = len(names) - len(chosen)
    return ", ".join(map(repr, chosen)) + (f" (and {more} more)" if more > 0 and not found else "")
