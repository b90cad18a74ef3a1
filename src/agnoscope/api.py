"""The two doors: `wrap` takes a network in, `explain` does everything in one line."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from agnoscope.errors import OptionError, nearest
from agnoscope.explanation import Explanation
from agnoscope.images import ImageLike, InputSpec
from agnoscope.model import Model
from agnoscope.plugins import plugins


def wrap(
    network: Any,
    params: Any = None,
    *,
    input_size: int | Sequence[int] | None = None,
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
    bounds: tuple[float, float] = (0.0, 1.0),
    range: tuple[float, float] | None = None,
    channels: str | int = "RGB",
    labels: Sequence[str] | None = None,
    backend: str | None = None,
) -> Model:
    """Make a trained network explainable. The network itself is never changed.

    From here on images lie within `bounds`, channels last; the network receives
    `(image moved from bounds to range - mean) / std`. For ImageNet networks of torchvision give
    `mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)`; for networks fed with bytes, `range=(0, 255)`.

    Args:
        network: a `torch.nn.Module` or exported program, a `keras.Model`, a Flax module, a function
            `f(params, images)` (then say backend="jax"), whatever a plugin knows, or a network wrapped already,
            which is returned as it is.
        params: of a Flax linen module (its variables) or of a plain function.
        input_size: height and width in pixels, or one number for both; by default what the network tells, else
            every image's own size.
        mean: one number or one per channel, in units of `range` and in the network's order of channels.
        std: likewise.
        bounds: lowest and highest value of an image as you give it.
        range: what these become before mean and std; by default the bounds themselves.
        channels: "RGB", "BGR", "L" (gray) or a number of channels.
        labels: names of the classes, in their order.
        backend: name of the backend, where the network's class does not tell.

    Raises:
        ModelError: no backend knows this network.
        MissingFrameworkError: its framework is not installed.
        OptionError: a value does not fit.
    """
    if isinstance(network, Model):
        return network
    spec = InputSpec(
        size=_size(input_size),
        bounds=_two("bounds", bounds),
        range=None if range is None else _two("range", range),
        mean=_per_channel("mean", mean),
        std=_per_channel("std", std),
        channels=channels,
    )
    if labels is not None and (
        isinstance(labels, str | Mapping)
        or not isinstance(labels, Iterable)
        or not all(isinstance(label, str) for label in labels)
    ):
        raise OptionError(f"labels={labels!r} must be a sequence of names in the order of the classes.")
    name = plugins().backend_of(network) if backend is None else backend
    model: Model = plugins().use("backend", name)(network, params, spec, labels)
    return model


def explain(
    network: Any,
    images: ImageLike,
    method: str = "grad-cam",
    target: Any = None,
    layer: str | None = None,
    **options: Any,
) -> Explanation:
    """Explain in one line.

    Args:
        network: what `wrap` returned, or a network that it can wrap by itself.
        images: path, PIL image, uint8 or float array, tensor, or a sequence of these.
        method: name of the method, such as "grad-cam", "integrated-gradients" or "occlusion" (`agnoscope methods`
            lists all, those that plugins add among them), or a preset with another library's numbers, such as
            "captum:saliency"; see `agnoscope.presets`.
        target: class number or label, a list with one per image, a `Target`, or a function of the run; by
            default the class that the network answers first.
        layer: for methods that look at a layer.
        **options: the method's own, and `batch_size` and `progress` of the call.

    Raises:
        OptionError: there is no such method or option.
        AgnoscopeError: as the method raises; see `agnoscope.explainers.base.Explainer`.
    """
    call = {name: options.pop(name) for name in ("batch_size", "progress") if name in options}
    if layer is not None:
        options["layer"] = layer
    explanation: Explanation = make_explainer(method, options)(network, images, target, **call)
    return explanation


def make_explainer(method: str, options: dict[str, Any]) -> Any:
    """The explainer of a method's name, or of a preset `LIBRARY:METHOD`, with these options.

    Raises:
        OptionError: there is no such method, or it has no such option.
    """
    if ":" in method:
        from agnoscope.presets import preset

        return preset(method, **options)
    return _configured(method, plugins().explainer(method), options)


def make_synthesizer(method: str, options: dict[str, Any]) -> Any:
    """The method of this name that makes images, such as "deep-dream", or a preset of it, with these options.

    Raises:
        OptionError: there is no such method, or it has no such option.
    """
    if ":" not in method:
        return _configured(method, plugins().synthesizer(method), options)
    from agnoscope.explainers.synthesis.presets import PRESETS

    if method not in PRESETS:
        raise OptionError(f"There is no preset {method!r}. Near it: {nearest(method, PRESETS)}.")
    return _configured(method, PRESETS[method], options)


def _configured(method: str, made: Any, options: dict[str, Any]) -> Any:
    """A method, by its class or as a preset, with these options."""
    known = [field.name for field in fields(made)]
    for option in options:
        if option not in known:
            offered = f"Its options: {nearest(option, known)}." if known else "It has no options."
            raise OptionError(f"The method {method!r} has no option {option!r}. {offered}")
    return made(**options) if isinstance(made, type) else replace(made, **options)


def _size(given: int | Sequence[int] | None) -> tuple[int, int] | None:
    if given is None:
        return None
    sides = tuple(given) if isinstance(given, Iterable) else (given, given)
    if len(sides) != 2 or not all(isinstance(side, int | np.integer) and side >= 1 for side in sides):
        raise OptionError(f"input_size={given!r} must be (height, width) in pixels, or one number for both.")
    return int(sides[0]), int(sides[1])


def _two(name: str, given: Sequence[float]) -> tuple[float, float]:
    try:
        first, second = (float(number) for number in given)
    except (TypeError, ValueError):
        raise OptionError(f"{name}={given!r} must be two numbers, such as (0, 255).") from None
    return first, second


def _per_channel(name: str, given: float | Sequence[float]) -> float | tuple[float, ...]:
    try:
        array = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise OptionError(f"{name}={given!r} must be one number or one per channel.") from None
    return float(array) if array.ndim == 0 else tuple(float(value) for value in array.ravel())
