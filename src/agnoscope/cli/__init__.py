"""The command line. A user's mistake is one clear line and exit code 2, never a traceback."""

import os
import sys

import click

from agnoscope.cli.bench import bench
from agnoscope.cli.collection.classes import classes
from agnoscope.cli.collection.map import map_command
from agnoscope.cli.collection.neighbours import neighbours
from agnoscope.cli.collection.patches import patches
from agnoscope.cli.collection.scan import scan
from agnoscope.cli.compare import compare
from agnoscope.cli.demo import demo
from agnoscope.cli.diagnose import diagnose
from agnoscope.cli.explain import explain
from agnoscope.cli.imagine.dream import dream
from agnoscope.cli.imagine.fool import fool
from agnoscope.cli.imagine.invert import invert
from agnoscope.cli.imagine.style import style
from agnoscope.cli.imagine.texture import texture
from agnoscope.cli.imagine.visualize import visualize
from agnoscope.cli.inside import features, filters
from agnoscope.cli.lists import layers, methods, plugins_command
from agnoscope.cli.report import report
from agnoscope.cli.sanity import sanity
from agnoscope.errors import AgnoscopeError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="agnoscope")
def cli() -> None:
    """Explain what a convolutional network sees: the same in PyTorch, JAX and TensorFlow.

    MODEL is SCHEME:NAME, for example demo:honest, torchvision:resnet50, keras:VGG16,
    py:package.module:factory or py:file.py:factory, or the path of a .keras file.
    """


for command in (
    *(explain, compare, diagnose, bench, sanity, report),
    *(visualize, dream, invert, texture, style, fool),
    *(layers, features, filters),
    *(scan, patches, neighbours, map_command, classes),
    *(methods, plugins_command, demo),
):
    cli.add_command(command)


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
