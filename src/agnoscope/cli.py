"""The command line. A user's mistake is one clear line and exit code 2, never a traceback."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from agnoscope.errors import AgnoscopeError, FileError, OptionError

if TYPE_CHECKING:
    from rich.table import Table

    from agnoscope.model import Model


class _Numbers(click.ParamType[Any]):
    """Numbers with commas or an × between them: 224, 224x320, 0.485,0.456,0.406."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            parts = [_number(part) for part in value.replace("x", ",").split(",")]
        except ValueError:
            self.fail(f"{value!r} is no number, nor numbers with commas between them", param, ctx)
        return parts[0] if len(parts) == 1 else tuple(parts)


def _number(text: str) -> int | float:
    return int(text) if text.strip().lstrip("+-").isdigit() else float(text)


NUMBERS: Final = _Numbers()


def _network_options(command: Callable[..., None]) -> Callable[..., None]:
    """What the network expects of an image, for commands that load one."""
    options = (
        click.option("--size", "input_size", type=NUMBERS, help="Height and width of its images: 224 or 224x320."),
        click.option("--mean", type=NUMBERS, help="Mean per channel, in units of --range."),
        click.option("--std", type=NUMBERS, help="Standard deviation per channel."),
        click.option("--range", "range", type=NUMBERS, help="What 0 and 1 become before mean and std: 0,255."),
        click.option("--channels", help="RGB (default), BGR, L, or a number."),
        click.option("--labels", type=click.Path(path_type=Path), help="Text file, one label per line."),
        click.option("--backend", help="Name of the backend, where the network does not tell."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _load(text: str, given: dict[str, Any]) -> "Model":
    from agnoscope.sources import load_model

    chosen = {name: value for name, value in given.items() if value is not None}
    if "labels" in chosen:
        try:
            chosen["labels"] = chosen["labels"].read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise FileError(f"The labels {str(chosen['labels'])!r} cannot be read: {error}.") from None
    if str(chosen.get("channels", "")).isdigit():
        chosen["channels"] = int(chosen["channels"])
    return load_model(text, **chosen)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="agnoscope")
def cli() -> None:
    """Explain what a convolutional network sees: the same in PyTorch, JAX and TensorFlow.

    MODEL is SCHEME:NAME, for example demo:honest, torchvision:resnet50, keras:VGG16,
    py:package.module:factory or py:file.py:factory, or the path of a .keras file.
    """


@cli.command()
@click.argument("model")
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option("-m", "--method", default="grad-cam", show_default=True, help="See: agnoscope methods.")
@click.option("-t", "--target", help="Class number, label or top-1.  [default: top-1]")
@click.option("-l", "--layer", help="Layer, or an ending of its path. See: agnoscope layers.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="File (.png .jpg .webp .npz) or existing folder.")
@click.option("--probability", is_flag=True, help="Explain the probability, not the score before the softmax.")
@click.option("--window", type=NUMBERS, help="Of occlusion, in pixels: 32 or 32x16.")
@click.option("--stride", type=NUMBERS, help="Of occlusion, in pixels.")
@click.option("--fill", help="Of occlusion: mean, blur, or a number per channel.")
@click.option("-O", "--option", "options", multiple=True, metavar="NAME=VALUE", help="Any option of the method.")
@click.option("--renderer", default="overlay", show_default=True, help="See: agnoscope plugins.")
@click.option("--batch-size", type=int, help="Images or samples at once.")
@_network_options
def explain(
    model: str,
    images: tuple[str, ...],
    method: str,
    target: str | None,
    layer: str | None,
    out: Path | None,
    probability: bool,
    options: tuple[str, ...],
    renderer: str,
    batch_size: int | None,
    window: Any,
    stride: Any,
    fill: str | None,
    **network: Any,
) -> None:
    """Explain why MODEL answers as it does for each IMAGE.

    Prints the first three answers, then explains one and saves the picture (or, as .npz, the values).
    IMAGE is a photo, or demo:NUMBER for one of the bundled scenes.
    """
    from agnoscope.answers import predict
    from agnoscope.api import make_explainer
    from agnoscope.plugins import plugins
    from agnoscope.target import ClassScore

    chosen = {"layer": layer, "window": window, "stride": stride, "fill": None if fill is None else _value(fill)}
    chosen = {name: value for name, value in chosen.items() if value is not None} | dict(map(_pair, options))
    explainer = make_explainer(method, chosen)
    plugins().renderer(renderer)
    targets = _places(images, method, out)
    loaded = _load(model, network)
    for image, path in zip(images, targets, strict=True):
        photo = _image(image)
        answers = predict(loaded, photo)
        click.echo(f"{image}: " + (" · ".join(map(str, answers[0])) if answers else "no classes"))
        asked = ClassScore(target, "probability" if probability else "score")
        with _progress(f"{method} of {Path(image).name}") as progress:
            found = explainer(loaded, photo, asked, batch_size=batch_size, progress=progress)
        found.save(path, **({} if path.suffix == ".npz" else {"renderer": renderer}))
        where = f" at {found.provenance.layer}" if found.provenance.layer else ""
        click.echo(f"  {method} of {found.provenance.targets[0]}{where} → {path}")
        for warning in found.provenance.warnings:
            click.echo(f"  note: {warning}")


@cli.command()
@click.argument("model")
@_network_options
def layers(model: str, **network: Any) -> None:
    """List the layers of MODEL in the order in which they run, under the names that --layer takes."""
    loaded = _load(model, network)
    table = _table("name", "kind", "type", "shape")
    for layer in loaded.layers().values():
        table.add_row(layer.name, layer.kind, layer.type, " × ".join(map(str, layer.shape)))
    _show(table)
    for note in loaded.outline().notes:
        click.echo(f"note: {note}")


@cli.command()
def methods() -> None:
    """List the methods with their options."""
    from dataclasses import fields

    from agnoscope.plugins import plugins

    table = _table("method", "what it is", "options", "from")
    for provided in plugins().specs("explainer"):
        try:
            explainer = plugins().explainer(provided.spec.name)
        except AgnoscopeError as error:  # one that cannot be used must not hide the others
            table.add_row(provided.spec.name, str(error), "", provided.provider)
            continue
        summary = (explainer.__doc__ or "").partition("\n")[0]
        options = ", ".join(field.name for field in fields(explainer))
        table.add_row(provided.spec.name, summary, options, provided.provider)
    _show(table)


@cli.command("plugins")
def plugins_command() -> None:
    """List what is installed: backends, explainers, renderers and sources, and plugins with problems."""
    from agnoscope.plugins import plugins

    found = plugins()
    table = _table("kind", "name", "from", "loads")
    for kind in ("backend", "explainer", "renderer", "source"):
        for provided in found.specs(kind):
            table.add_row(kind, provided.spec.name, provided.provider, provided.spec.factory)
    _show(table)
    for plugin, problem in found.problems.items():
        click.echo(f"problem: {plugin} {problem}")


@cli.command()
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("agnoscope-demo.png"), show_default=True)
@click.option("--scene", type=int, default=0, show_default=True, help="Number of the scene.")
@click.option("--backend", "backends", multiple=True, help="Only this framework; may be given several times.")
def demo(out: Path, scene: int, backends: tuple[str, ...]) -> None:
    """Explain one scene with an honest and a cheating network, in every framework that is installed."""
    from agnoscope.demo.show import show
    from agnoscope.explanation import PICTURES

    if out.suffix.lower() not in PICTURES:
        raise OptionError(f"--out {str(out)!r} must end in {', '.join(PICTURES)}.")
    with _progress("explaining") as progress:
        lines = show(out, scene, backends, progress)
    for line in lines:
        click.echo(line)
    click.echo(f"The picture: {out.resolve()}")


def _image(text: str) -> Any:
    if not text.startswith("demo:"):
        return text
    from agnoscope.demo.show import scene

    number = text.removeprefix("demo:")
    if not number.isdigit():
        raise OptionError(f"{text!r} is no scene: write demo:0, demo:1, and so on.")
    return scene(int(number)).image


def _places(images: tuple[str, ...], method: str, out: Path | None) -> list[Path]:
    """Where each explanation goes; refused before any work is done, if it cannot."""
    from agnoscope.explanation import PICTURES

    named = [
        f"{Path(image).name.replace(':', '-').rpartition('.')[0] or image.replace(':', '-')}_{method}"
        for image in images
    ]
    if out is None or out.is_dir():
        places = [(out or Path()) / f"{name}.png" for name in named]
        twice = {place.name for place in places if places.count(place) > 1}
        if twice:
            raise OptionError(f"Several images would be saved as {', '.join(sorted(twice))}: explain them apart.")
        return places
    endings = (*PICTURES, ".npz")
    if out.suffix.lower() not in endings:
        raise OptionError(f"--out {str(out)!r} must be an existing folder or end in {', '.join(endings)}.")
    if len(images) > 1:
        raise OptionError(f"--out {str(out)!r} is one file for {len(images)} images: give a folder.")
    if not out.parent.is_dir():
        raise OptionError(f"--out {str(out)!r} lies in a folder that does not exist.")
    return [out]


def _pair(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise OptionError(f"-O {text!r} must be NAME=VALUE.")
    return name.replace("-", "_"), _value(value)


def _value(text: str) -> Any:
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return NUMBERS.convert(text, None, None)
    except click.BadParameter:
        return text


def _table(*columns: str) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _show(table: "Table") -> None:
    from rich.console import Console

    # In a pipe there is no width to fit into, and a name must stay on its line.
    console = Console(width=None if sys.stdout.isatty() else 500)
    console.print(table)


@contextmanager
def _progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, nothing in a pipe."""
    if not sys.stderr.isatty():
        yield _silent
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _silent(done: int, total: int) -> None:
    pass


def main() -> None:
    """Run the command line; the entry point of the `agnoscope` script."""
    # TensorFlow writes pages about its build before any answer; whoever wants them sets this to 0.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except click.ClickException as error:
        _fail(error.format_message())
    except AgnoscopeError as error:
        _fail(str(error))
    except BrokenPipeError:  # the reader of a pipe has gone
        sys.stderr.close()
        sys.exit(141)


def _fail(message: str) -> None:
    click.echo(f"agnoscope: {' '.join(message.split())}", err=True)
    sys.exit(2)
