"""What the tests of targets share: networks that show their image as it is, and the programs that ask."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agnoscope import Model, wrap
from agnoscope.backends.reference import Conv, GlobalAverage, Network
from agnoscope.gradients import gradients
from agnoscope.patches import Array
from agnoscope.target import Bound, Formula, as_target


def showing(channels: int, head: Any = None, pooled: bool = False, dtype: type = np.float64) -> Network:
    """A network whose scores are the image itself, (height, width, channels), or the mean over its pixels."""
    layers: dict[str, Any] = {"conv": Conv(np.eye(channels, dtype=dtype)[None, None], np.zeros(channels, dtype))}
    return Network(layers | ({"gap": GlobalAverage()} if pooled else {}) | ({"head": head} if head else {}))


def shown(channels: int, head: Any = None, pooled: bool = False, labels: Any = None) -> Model:
    """The same, wrapped: an image may hold any numbers from -100 to 100."""
    return wrap(showing(channels, head, pooled), channels=channels, bounds=(-100.0, 100.0), labels=labels)


def bind(model: Model, asked: Any, x: NDArray[Any]) -> Bound:
    return as_target(asked).bind(model, len(x), (x.shape[1], x.shape[2]))


def scored(model: Model, asked: Any, x: NDArray[Any]) -> NDArray[Any]:
    """The target's value for each image; of a bound target, as it stands."""
    bound = asked if isinstance(asked, Bound) else bind(model, asked, x)
    scores: NDArray[Any] = model.compile(_score_program, bound.formula)(x, bound.arrays)["scores"]
    return scores


def sloped(model: Model, asked: Any, x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The target's value for each image, and its gradient with respect to the image."""
    bound = asked if isinstance(asked, Bound) else bind(model, asked, x)
    found = model.compile(_slope_program, bound.formula)(x, bound.arrays)
    return found["scores"], found["images"]


def captured(model: Model, x: NDArray[Any], *names: str) -> list[NDArray[Any]]:
    """Values of the run on the images."""
    found = model.compile(_capture_program, names)(x)
    return [found[name] for name in names]


def frozen(model: Model, asked: Any, x: NDArray[Any]) -> Bound:
    """The target with the network's own choices settled on these images."""
    return bind(model, asked, x).freeze(captured(model, x, "scores")[0], model.labels)


def _score_program(model: Model, formula: Formula, x: Array, arrays: Mapping[str, Any]) -> dict[str, Array]:
    return {"scores": formula(model.xp, model.run(x, formula.needs), arrays)}


def _slope_program(model: Model, formula: Formula, x: Array, arrays: Mapping[str, Any]) -> dict[str, Array]:
    found = gradients(model, x, Bound(formula, arrays, "", ()), needs=formula.needs, wrt_images=True)
    return {"scores": found.scores, "images": found.images}


def _capture_program(model: Model, names: tuple[str, ...], x: Array) -> dict[str, Array]:
    return model.run(x, names)
