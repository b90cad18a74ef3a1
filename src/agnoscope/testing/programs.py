"""What the checks let a backend compile, and how they compare what comes out."""

from collections.abc import Callable, Mapping
from typing import Any, Final
from unittest import SkipTest

import numpy as np

from agnoscope.gradients import gradients
from agnoscope.model import Model
from agnoscope.patches import Array
from agnoscope.testing.networks import SIZE

TOLERANCE: Final = 2e-5
"""Of the largest value, for float32; a few roundings of sums over dozens of terms."""


def run_program(model: Model, names: tuple[str, ...], x: Array) -> dict[str, Array]:
    """The named values of a run."""
    return model.run(x, names)


def gradient_program(model: Model, static: tuple[Any, str | None], x: Array, index: Array) -> dict[str, Array]:
    """Score and gradients of one class per image: at the image and, if named, at a layer; by a rule if given."""
    rule, layer = static
    xp = model.xp
    seen = model if rule is None else model.with_relu(rule)

    def score(xp: Any, values: Mapping[str, Array]) -> Array:
        columns = xp.arange(values["scores"].shape[1], dtype=index.dtype)
        return xp.sum(
            xp.where(columns[None, :] == index[:, None], values["scores"], xp.zeros_like(values["scores"])), axis=1
        )

    at = () if layer is None else (layer,)
    found = gradients(seen, x, score, needs=("scores",), at=at, capture=at, wrt_images=True)
    extra = {} if layer is None else {"layer": found.layers[layer], "activation": found.values[layer]}
    return {"scores": found.scores, "images": xp.asarray(found.images), **extra}


def patch_program(model: Model, static: tuple[str, str], x: Array) -> dict[str, Array]:
    """The scores with a layer's activation halved, made a batch of two, or made to fail."""
    layer, edit = static
    edits: dict[str, Callable[[Array], Array]] = {
        "half": lambda a: a * 0.5,
        "first": lambda a: model.xp.concat([a[:1], a[:1] * 2.0], axis=0),
        "fail": _failing,
    }
    return model.run(x, ("scores",), {layer: edits[edit]})


def convolution_program(model: Model, stride: int, x: Array, kernel: Array, slope: Array) -> dict[str, Array]:
    """A convolution, and where there are gradients how its inner product with `slope` changes with both arguments."""

    def score(given: Mapping[str, Array]) -> tuple[Array, dict[str, Array]]:
        y = model.conv2d(given["x"], given["kernel"], stride)
        return model.xp.sum(y * slope), {"y": y}

    given = {"x": x, "kernel": kernel}
    if "gradient" not in model.can:
        return score(given)[1]
    (_, found), slopes = model.value_and_grad(score)(given)
    return {**found, **slopes}


def resampling_program(
    model: Model, static: tuple[tuple[int, int], float], x: Array, maps: Array, slope: Array
) -> dict[str, Array]:
    """Samples, and where there are gradients how their inner product with `slope` changes with the images."""

    def score(given: Mapping[str, Array]) -> tuple[Array, dict[str, Array]]:
        y = model.resample(given["x"], maps, *static)
        return model.xp.sum(y * slope), {"y": y}

    if "gradient" not in model.can:
        return score({"x": x})[1]
    (_, found), slopes = model.value_and_grad(score)({"x": x})
    return {**found, **slopes}


def _failing(_: Array) -> Array:
    raise DeliberateError


class DeliberateError(Exception):
    """Raised by a patch, to see what an error in the middle of a run leaves behind."""


def passing(xp: Any, x: Array, y: Array, g: Array, plain: Array) -> Array:
    """A rule that reads all that it is given: half the plain gradient, half of what arrives where y > 1."""
    return 0.5 * plain + 0.5 * xp.where(y > 1, g, xp.zeros_like(g)) + 0.0 * x


def gradient(model: Model, x: Array, index: int, rule: Any = None, layer: str | None = None) -> dict[str, Any]:
    """What `gradient_program` gives for one class of every image."""
    name = None if layer is None else model.layer(layer, SIZE).name
    return model.compile(gradient_program, (rule, name))(x, np.full(len(x), index, dtype=np.int32))


def answer(model: Model, x: Array, rule: Any = None) -> Any:
    """What the network tells of images: the gradient where there is one, else the scores."""
    return gradient(model, x, 1, rule)["images"] if "gradient" in model.can else values(model, x, "scores")[0]


def values(model: Model, x: Array, *names: str) -> list[Any]:
    """The named values; layers by any ending of their path that only one has."""
    found = [name if name in ("scores", "output") else model.layer(name, SIZE).name for name in names]
    values = model.compile(run_program, tuple(found))(x)
    return [values[name] for name in found]


def close(found: Any, expected: Any, what: str, tolerance: float = TOLERANCE) -> None:
    """Compare shapes, and values as a share of the largest one."""
    found, expected = np.asarray(found), np.asarray(expected)
    if found.shape != expected.shape:
        raise AssertionError(f"{what}: the shape is {found.shape}, it must be {expected.shape}")
    off = float(np.abs(found - expected).max() / max(float(np.abs(expected).max()), 1e-12))
    if not off <= tolerance:
        raise AssertionError(f"{what}: off by {off:.2g} of the largest value; at most {tolerance:g} is allowed")


def needs(model: Model, *abilities: str) -> None:
    """Skip a check whose abilities the backend does not offer."""
    for ability in abilities:
        if ability not in model.can:
            raise SkipTest(f"the backend does not offer {ability!r}")


def expect(kind: type[Exception], text: str, action: Callable[[], Any]) -> None:
    """See an error of this kind, whose message speaks of a text."""
    try:
        action()
    except kind as error:
        if text.lower() not in str(error).lower():
            raise AssertionError(f"the message must speak of {text!r}: {error}") from error
    except Exception as error:
        raise AssertionError(f"{kind.__name__} was to be raised, not {error!r}") from error
    else:
        raise AssertionError(f"{kind.__name__} was to be raised")
