"""What commands take: networks, numbers, images, and the options of a method."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from agnoscope.errors import FileError, OptionError

if TYPE_CHECKING:
    from agnoscope.model import Model


class Numbers(click.ParamType[Any]):
    """Numbers with commas or an × between them: 224, 224x320, 0.485,0.456,0.406."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            parts = [_number(part) for part in value.replace("x", ",").split(",")]
        except ValueError:
            self.fail(f"{value!r} is no number, nor numbers with commas between them.", param, ctx)
        return parts[0] if len(parts) == 1 else tuple(parts)


def _number(text: str) -> int | float:
    return int(text) if text.strip().lstrip("+-").isdigit() else float(text)


NUMBERS: Final = Numbers()


batch_option = click.option(
    "--batch-size", type=click.IntRange(min=1), help="Images or samples at once: fewer need less memory."
)
masks_option = click.option(
    "--masks", metavar="FOLDER", help="Folder of masks with the photos' names: black is background."
)


def seed_option(words: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The option --seed; the words say of what it is the seed."""
    return click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help=words)


def network_options(
    command: Callable[..., None], size: Sequence[str] = ("--size", "--input-size")
) -> Callable[..., None]:
    """What the network expects of an image, for commands that load one.

    Args:
        command: the one that gets these options.
        size: flags of the network's input size; "--size" alone means the picture's where a command makes one.
    """
    options = (
        click.option(*size, "input_size", type=NUMBERS, help="Height and width that MODEL takes: 224 or 224x320."),
        click.option("--mean", type=NUMBERS, help="Mean per channel, in units of --range: 0.485,0.456,0.406."),
        click.option("--std", type=NUMBERS, help="Standard deviation per channel."),
        click.option(
            "--range",
            "range",
            type=NUMBERS,
            help="What black and white become before mean and std: 0,255.",
        ),
        click.option("--channels", metavar="ORDER", help="RGB, BGR, L (gray), or a number of channels."),
        click.option(
            "--labels", type=click.Path(path_type=Path), metavar="FILE", help="Names of the classes, one per line."
        ),
        click.option("--backend", metavar="NAME", help="Framework, where MODEL does not tell. See: agnoscope plugins."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def load(text: str, given: dict[str, Any]) -> "Model":
    """The model that a command names, with the options of `wrap` that were given."""
    from agnoscope.sources import load_model

    chosen = {name: value for name, value in given.items() if value is not None}
    if "labels" in chosen:
        try:
            chosen["labels"] = chosen["labels"].read_text(encoding="utf-8-sig").rstrip().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise FileError(f"The labels {str(chosen['labels'])!r} cannot be read: {error}.") from None
    if str(chosen.get("channels", "")).isdigit():
        chosen["channels"] = int(chosen["channels"])
    return load_model(text, **chosen)


def named_value(text: str) -> tuple[str, Any]:
    """NAME=VALUE, as an option of a method."""
    name, equals, value = text.partition("=")
    if not equals:
        raise OptionError(f"-O {text!r} must be NAME=VALUE.")
    name = name.replace("-", "_")
    if name.endswith(("layer", "layers")) and value.lower() != "none":  # names, some of which look like numbers
        return name, tuple(value.split(",")) if name.endswith("layers") else value
    return name, parsed(value)


def parsed(text: str) -> Any:
    """true, yes, false, no, none, or numbers or words with commas between them."""
    words = {"true": True, "yes": True, "false": False, "no": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return NUMBERS.convert(text, None, None)
    except click.BadParameter:
        return tuple(map(parsed, text.split(","))) if "," in text else text


def load_image(text: str) -> Any:
    """A photo's path, or the bundled scene that demo:NUMBER stands for, as a picture of that name."""
    if not text.startswith("demo:"):
        return text
    from PIL import Image

    from agnoscope.demo.show import scene

    number = text.removeprefix("demo:")
    if not number.isdecimal():
        raise OptionError(f"{text!r} is no scene: write demo:0, demo:1, and so on.")
    picture = Image.fromarray(scene(int(number)).image)
    picture.filename = text  # type: ignore[attr-defined]  # as of one that was opened
    return picture


def load_images(texts: Sequence[str]) -> list[Any]:
    """Photos' paths, all those in folders, and bundled scenes."""
    from agnoscope.runs import photos_in

    return [one for text in texts for one in (photos_in(text) if Path(text).is_dir() else [load_image(text)])]
