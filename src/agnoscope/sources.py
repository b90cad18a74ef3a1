"""Where networks come from on the command line: one function per scheme of `SCHEME:NAME`.

Each takes what follows the scheme and the options of `agnoscope.wrap` that the user gave, and returns a model.
What a zoo knows about its network (size, mean, labels) is used unless the user says otherwise.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from agnoscope.api import wrap
from agnoscope.errors import MissingFrameworkError, ModelError, OptionError, nearest
from agnoscope.model import Model
from agnoscope.plugins import BackendSpec, plugins


def load_model(text: str, **options: Any) -> Model:
    """The model that `SCHEME:NAME`, or the path of a `.keras` file, stands for.

    Args:
        text: for example "demo:honest", "torchvision:resnet50", "keras:VGG16", "py:package.module:factory" or
            "model.keras".
        **options: of `agnoscope.wrap`.

    Raises:
        OptionError: there is no such scheme or name.
        ModelError: the network cannot be loaded; the message says why.
        MissingFrameworkError: its framework is not installed.
    """
    scheme, colon, name = text.partition(":")
    if not colon or len(scheme) == 1:  # one letter is a drive
        if Path(text).suffix != ".keras":
            raise OptionError(
                f"{text!r} names no network: write SCHEME:NAME with one of {', '.join(plugins().names('source'))}, "
                "or the path of a .keras file."
            )
        scheme, name = "file", text
    source: Callable[..., Model] = plugins().use("source", scheme)
    return source(name, **options)


def demo(name: str, **options: Any) -> Model:
    """demo:honest, demo:cheater or demo:memoriser, in the framework asked for or the first that is installed."""
    from agnoscope.demo.models import NAMES, load

    if name not in NAMES:
        raise OptionError(f"There is no network 'demo:{name}'; there are {', '.join(f'demo:{n}' for n in NAMES)}.")
    backend = options.pop("backend", None) or installed_backends()[0]
    if options:
        raise OptionError(f"The demo networks know their own {', '.join(options)}: leave that out.")
    return load(name, backend)


def installed_backends() -> list[str]:
    """The built-in backends whose framework is installed, the lightest first; the reference is always there."""
    found = []
    for name in ("jax", "torch", "tensorflow", "reference"):
        spec = plugins().spec("backend", name)
        if isinstance(spec, BackendSpec) and all(importlib.util.find_spec(need) for need in spec.needs):
            found.append(name)
    return found


def torchvision(name: str, **options: Any) -> Model:
    """torchvision:NAME[@WEIGHTS]: a model of torchvision with its own weights, size, mean, std and labels."""
    models = importlib.import_module("torchvision.models")
    name, _, wanted = name.partition("@")
    if name not in models.list_models():
        raise OptionError(f"torchvision has no model {name!r}. Near it: {nearest(name, models.list_models())}.")
    entries = models.get_model_weights(name)
    if wanted == "none":
        return wrap(models.get_model(name, weights=None), **{"input_size": 224, **options})
    if wanted and wanted not in entries.__members__:
        raise OptionError(f"{name} has no weights {wanted!r}. There are {', '.join(entries.__members__)} and none.")
    weights = entries[wanted] if wanted else entries.DEFAULT
    network = _fetched(f"torchvision:{name}", lambda: models.get_model(name, weights=weights))
    preset = weights.transforms()
    known = {"input_size": tuple(preset.crop_size * 2)[:2], "mean": preset.mean, "std": preset.std}
    known["labels"] = weights.meta.get("categories")
    return wrap(network, **{**known, **options})


def keras_applications(name: str, **options: Any) -> Model:
    """keras:NAME[@WEIGHTS]: a model of keras.applications, "imagenet" weights unless told otherwise."""
    keras = importlib.import_module("keras")
    name, _, wanted = name.partition("@")
    builders = {n: f for n, f in vars(keras.applications).items() if n[0].isupper() and callable(f)}
    if name not in builders:
        raise OptionError(f"keras.applications has no model {name!r}. Near it: {nearest(name, builders)}.")
    weights = None if wanted == "none" else wanted or "imagenet"
    network = _fetched(f"keras:{name}", lambda: builders[name](weights=weights))
    home = sys.modules[builders[name].__module__]
    known = _affine(home.preprocess_input)
    if weights == "imagenet" and "labels" not in options:
        known["labels"] = _imagenet_labels(home)
    return wrap(network, **{**known, **options})


def _affine(preprocess: Callable[[Any], Any]) -> dict[str, Any]:
    """Options of `wrap` that do what a `preprocess_input` of Keras does, found by feeding it probes.

    It maps every channel by a factor and a shift, and may turn RGB into BGR.
    """
    at_zero = np.asarray(preprocess(np.zeros((1, 1, 3), dtype=np.float32)), dtype=np.float64).ravel()
    red = np.asarray(preprocess(np.array([[[255.0, 0, 0]]], dtype=np.float32)), dtype=np.float64).ravel()
    white = np.asarray(preprocess(np.full((1, 1, 3), 255, dtype=np.float32)), dtype=np.float64).ravel()
    factor = (white - at_zero) / 255
    swapped = abs(red[2] - at_zero[2]) > abs(red[0] - at_zero[0])
    return {
        "range": (0.0, 255.0),
        "mean": tuple(np.round(-at_zero / factor, 4)),
        "std": tuple(np.round(1 / factor, 6)),
        "channels": "BGR" if swapped else "RGB",
    }


def _imagenet_labels(home: Any) -> list[str] | None:
    try:
        return [rows[0][1].replace("_", " ") for rows in home.decode_predictions(np.eye(1000), top=1)]
    except Exception:  # the labels are fetched by Keras, and a network without names still explains
        return None


def _fetched(what: str, fetch: Callable[[], Any]) -> Any:
    try:
        return fetch()
    except Exception as error:  # zoos raise whatever their download raises
        raise ModelError(
            f"The weights of {what} could not be fetched ({type(error).__name__}: {error}). Without a network "
            f"connection write {what}@none for random weights, or load your own file with py:module:factory."
        ) from error


def python(name: str, **options: Any) -> Model:
    """py:package.module:factory or py:path/file.py:factory: whatever the factory returns.

    That is a network, a pair (network, params), or what `agnoscope.wrap` returned.
    """
    where, _, attribute = name.rpartition(":")
    if not where:
        raise OptionError(f"'py:{name}' must be py:package.module:factory or py:path/file.py:factory.")
    made = getattr(_module(where), attribute, None)
    if made is None:
        raise OptionError(f"{where!r} has no {attribute!r}.")
    if callable(made) and not hasattr(type(made), "layers") and not _is_network(made):
        made = made()
    if isinstance(made, Model):
        if options:
            raise OptionError(f"{name!r} is wrapped already and knows its own {', '.join(options)}: leave that out.")
        return made
    network, params = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    return wrap(network, params, **options)


def _is_network(made: Any) -> bool:
    try:
        plugins().backend_of(made)
    except ModelError:
        return False
    return True


def _module(where: str) -> Any:
    if where.endswith(".py"):
        path = Path(where).resolve()
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if spec is None or spec.loader is None or not path.exists():
            raise OptionError(f"There is no Python file {where!r}.")
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
        return module
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(where)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == where.split(".")[0]:
            raise OptionError(f"There is no module {where!r} here or among what is installed.") from None
        raise MissingFrameworkError(f"{where!r} needs {error.name}, which is not installed.") from error


def keras_file(name: str, **options: Any) -> Model:
    """The path of a `.keras` file. Keras loads it in safe mode; load only files that you trust all the same."""
    if not Path(name).exists():
        raise OptionError(f"There is no file {name!r}.")
    keras = importlib.import_module("keras")
    try:
        network = keras.saving.load_model(name, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many kinds for a file that it cannot or will not read
        raise ModelError(f"Keras cannot load {name!r}: {error}") from error
    return wrap(network, **options)
