"""What the numbers among the options of these methods may be."""

from typing import Any

import numpy as np

from agnoscope.errors import OptionError


def whole(option: str, given: Any, least: int = 1) -> int:
    """A whole number.

    Args:
        option: its name, for the message.
        given: what the user gave.
        least: the lowest one allowed.

    Raises:
        OptionError: it is none, or too low.
    """
    if not isinstance(given, int | np.integer) or isinstance(given, bool) or given < least:
        raise OptionError(f"{option}={given!r} must be a whole number, at least {least}.")
    return int(given)


def share(option: str, given: Any) -> float:
    """A number between 0 and 1, neither of them.

    Raises:
        OptionError: it is none.
    """
    if not isinstance(given, int | float | np.number) or not 0 < given < 1:
        raise OptionError(f"{option}={given!r} must lie between 0 and 1, and be neither.")
    return float(given)


def positive(option: str, given: Any, or_zero: bool = False) -> float:
    """A finite number above 0, or 0 itself where that is allowed.

    Raises:
        OptionError: it is none.
    """
    if not isinstance(given, int | float | np.number) or not (0 < given < float("inf") or (or_zero and given == 0)):
        raise OptionError(f"{option}={given!r} must be a finite number {'from 0 on' if or_zero else 'above 0'}.")
    return float(given)


def generator(seed: Any) -> np.random.Generator:
    """The source of an image's random numbers.

    Raises:
        OptionError: the seed is no whole number from 0 on.
    """
    return np.random.default_rng(whole("seed", seed, least=0))
