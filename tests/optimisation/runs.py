"""Networks and runs for the tests of the loop."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

import agnoscope as ag
from agnoscope.backends.reference import Conv, Dense, Network
from agnoscope.model import Model
from agnoscope.optimisation.canvas import Canvas
from agnoscope.optimisation.corrections import Blur
from agnoscope.optimisation.lbfgs import LBFGS
from agnoscope.optimisation.optimisers import Adam, Ascent, Optimiser
from agnoscope.optimisation.parameterisations.fourier import Fourier
from agnoscope.optimisation.parameterisations.pixels import Pixels
from agnoscope.optimisation.regularisers import L2
from agnoscope.optimisation.run import Run
from agnoscope.optimisation.stage import Stage
from agnoscope.optimisation.transformations import Jitter, Scale, Views
from agnoscope.target import side_by_side
from agnoscope.testing import deep_network

WEIGHTS = np.random.default_rng(0).normal(size=(4, 5, 3, 2))
KINDS: list[Optimiser] = [Adam(0.02), Ascent(0.02, momentum=0.8, fall=30), LBFGS(memory=3)]


@cache
def linear() -> Model:
    """Two channels, each the inner product with its weights of the image, taken from -1 to 1."""
    network = Network({"conv": Conv(WEIGHTS, np.zeros(2))})
    return ag.wrap(network, input_size=(4, 5), range=(-1, 1))


@cache
def deep() -> Model:
    layers = {
        name: replace(layer, kernel=layer.kernel.astype(float), bias=layer.bias.astype(float))
        if isinstance(layer, Conv | Dense)
        else layer
        for name, layer in deep_network().layers.items()
    }
    return ag.wrap(Network(layers), input_size=(8, 9))


def run_of(model: Model, *stages: Stage, batch_size: int = 8, identity: str = "", seed: int = 0) -> Run[NDArray[Any]]:
    count = len(stages[0].target.names)
    return Run(model, stages, count, seed, batch_size, lambda run: run.images()[0], lambda: identity)


def two_stages(optimiser: Optimiser, **options: Any) -> tuple[Stage, ...]:
    """Random views; the second stage begins where the first one ended."""
    targets = [ag.Channel("relu2", 3), ag.Channel("relu1", 2), ag.ClassScore(1)]
    canvas, bound = Canvas.of(deep(), (8, 9)), side_by_side(targets, deep(), (8, 9))
    views = Views((Jitter(2), Scale(0.9, 1.1)), 2)
    first = Stage(canvas, Pixels(0.1), bound, 4, optimiser, views, corrections=(Blur(2, 0.5),), **options)
    second = Stage(canvas, Fourier(), bound, 3, optimiser, replace(views, count=1), penalties=(L2(0.1),), **options)
    return first, second


def finished(run: Run[NDArray[Any]]) -> NDArray[Any]:
    list(run)
    assert run.finished
    return run.result()
