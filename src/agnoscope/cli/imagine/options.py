"""Options of the commands that make images, and the parts of a method by name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import click

from agnoscope.cli.options import NUMBERS, named_value, network_options
from agnoscope.errors import OptionError, nearest

if TYPE_CHECKING:
    from agnoscope.target import Target

Decorator: TypeAlias = Callable[[Callable[..., None]], Callable[..., None]]

PARTS: Final[Mapping[str, Mapping[str, str]]] = {
    "parameterisation": {
        "aligned": "parameterisations.aligned:Aligned",
        "cppn": "parameterisations.cppn:CPPN",
        "fourier": "parameterisations.fourier:Fourier",
        "pixels": "parameterisations.pixels:Pixels",
        "pyramid": "parameterisations.pyramid:Pyramid",
    },
    "optimiser": {
        "adam": "optimisers:Adam",
        "ascent": "optimisers:Ascent",
        "lbfgs": "lbfgs:LBFGS",
        "rmsprop": "rmsprop:RMSprop",
    },
    "penalties": {
        "l1": "regularisers:L1",
        "l2": "regularisers:L2",
        "p-norm": "regularisers:PNorm",
        "plain-border": "border:PlainBorder",
        "spectrum": "regularisers:Spectrum",
        "total-variation": "regularisers:TotalVariation",
    },
    "corrections": {
        "blur": "corrections:Blur",
        "decay": "corrections:Decay",
        "zero-small-gradients": "corrections:ZeroSmallGradients",
        "zero-small-pixels": "corrections:ZeroSmallPixels",
    },
}
"""What -O takes for a part of a method: option, name, and the class in `agnoscope.optimisation`."""

SEVERAL: Final = ("penalties", "corrections")
"""Of these a method takes several: penalties=total-variation:0.1,l2."""


def making_options(method: str) -> Decorator:
    """What every command that makes images takes; `making.make` takes it.

    Args:
        method: its name, where the user does not say.
    """
    options: Sequence[Decorator] = (
        click.option(
            "-m", "--method", default=method, show_default=True, metavar="NAME", help="See: agnoscope methods."
        ),
        click.option(
            "--steps",
            type=click.IntRange(min=1),
            help="How many steps, in each octave or scale where there are some.  [default: the method's iterations]",
        ),
        click.option(
            "--size",
            type=NUMBERS,
            help="Height and width of the picture, 224x320; one number for a square, or for a photo's longer side.  "
            "[default: the photo's or the network's]",
        ),
        click.option("--seed", type=click.IntRange(min=0), help="Of noise and of random views.  [default: 0]"),
        click.option(
            "-O",
            "--option",
            "options",
            multiple=True,
            metavar="NAME=VALUE",
            help="Any option of the method, or of one of its parts: optimiser=ascent, optimiser.rate=0.1.",
        ),
        click.option(
            "-o",
            "--out",
            type=click.Path(path_type=Path),
            help="A picture (.png .jpg .webp), the run (.gif) or the numbers (.npz); or an existing folder.  "
            "[default: a .png here, named after what is shown]",
        ),
        click.option(
            "--draw", is_flag=True, help="Show a single image, too, with titles and beside the photo it was made of."
        ),
        click.option(
            "--animation",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Show the run in a .gif or .webp as well.",
        ),
        click.option(
            "--save-every",
            type=click.IntRange(min=1),
            metavar="N",
            help="Keep every N-th picture, in a folder beside --out.",
        ),
        click.option("--resume", is_flag=True, help="Go on where the same command was stopped or killed."),
        click.option(
            "--batch-size", type=click.IntRange(min=1), help="Images or views at once: fewer need less memory."
        ),
        partial(network_options, size=("--input-size",)),
    )

    def decorated(command: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorated


def configured(name: str, given: Mapping[str, Any], texts: Sequence[str]) -> Any:
    """The method of this name with the options that the user gave.

    Args:
        name: of the method.
        given: options that have a flag of their own; None where the user said nothing.
        texts: those of -O, as NAME=VALUE or PART.NAME=VALUE.

    Raises:
        OptionError: there is no such method, option or part.
    """
    from agnoscope.api import make_synthesizer

    chosen = {option: value for option, value in given.items() if value is not None} | dict(map(named_value, texts))
    own = {option: _part(option, value) for option, value in chosen.items() if "." not in option}
    method = make_synthesizer(name, own)
    for option, value in chosen.items():
        method = _changed(f"The method {name!r}", method, option, value) if "." in option else method
    for field in fields(method):
        if is_dataclass(field.default) and not is_dataclass(value := getattr(method, field.name)) and value is not None:
            raise OptionError(f"{field.name}={value!r} is no part of a method: say {field.name}.NAME=VALUE, or none.")
    return method


def asked_layers(texts: Sequence[str], channel: int | None) -> "Target":
    """The activity of layers, each LAYER or LAYER=WEIGHT, or of one channel of them; they add up.

    Raises:
        OptionError: a weight is no number.
    """
    from agnoscope.target import Target
    from agnoscope.targets.features import Activity
    from agnoscope.targets.units import Channel

    terms: list[Target] = []
    for text in texts:
        layer, equals, weight = text.rpartition("=") if "=" in text else (text, "", "1")
        target = Activity(layer) if channel is None else Channel(layer, channel)
        try:
            terms.append(float(weight) * target if equals else target)
        except ValueError:
            raise OptionError(f"--layer {text!r} must be LAYER or LAYER=WEIGHT, with a number.") from None
    return sum(terms[1:], terms[0])


def _part(option: str, value: Any) -> Any:
    """The value of an option; parts are made of their names, lists of parts of names with commas between them."""
    if option not in PARTS:
        return value
    if option not in SEVERAL:
        return _made(option, value, None)
    names = () if value is None else value if isinstance(value, tuple) else (value,)
    return tuple(_made(option, *_weighted(option, name)) for name in names)


def _weighted(option: str, text: Any) -> tuple[Any, float | None]:
    """NAME or NAME:WEIGHT."""
    name, colon, weight = str(text).partition(":")
    try:
        return name, float(weight) if colon else None
    except ValueError:
        raise OptionError(f"{option}={text!r} must be NAME or NAME:WEIGHT, with a number.") from None


def _made(option: str, name: Any, weight: float | None) -> Any:
    known = PARTS[option]
    if name not in known:
        raise OptionError(f"There is no {option} {name!r}. There are {', '.join(known)}.")
    module, _, attribute = known[name].partition(":")
    part = getattr(import_module(f"agnoscope.optimisation.{module}"), attribute)
    if weight is not None and "weight" not in (field.name for field in fields(part)):
        raise OptionError(f"{name!r} has no weight: leave out :{weight:g}.")
    return part() if weight is None else part(weight=weight)


def _changed(what: str, part: Any, path: str, value: Any) -> Any:
    """A method or part with another value for an option of its own, or of a part of it."""
    option, dot, rest = path.partition(".")
    known = [field.name for field in fields(part)] if is_dataclass(part) else []
    if option not in known:
        offered = f"Its options: {nearest(option, known)}." if known else "It has no options."
        raise OptionError(f"{what} has no option {option!r}. {offered}")
    inner = getattr(part, option)
    if not dot and isinstance(inner, int | float) and not isinstance(value, int | float):
        raise OptionError(f"{what} has a number for {option!r}, and {value!r} is none.")
    return replace(
        part, **{option: _changed(type(inner).__name__, inner, rest, value) if dot else _part(option, value)}
    )
