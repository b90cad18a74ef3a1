"""A Keras model goes to the adapter of the framework that Keras runs on, or is refused with what to do."""

import importlib.util
import os
import subprocess
import sys

import pytest

MODEL = """
import numpy as np, keras, agnoscope as ag
keras.utils.set_random_seed(0)
layers = keras.layers
base = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 3, activation="relu", name="deep")], name="base")
network = keras.Sequential([keras.Input((8, 8, 3)), base, layers.GlobalAveragePooling2D(), layers.Dense(3, "softmax")])
photo = np.random.default_rng(0).uniform(size=(8, 8, 3))
try:
    model = ag.wrap(network)
    explanation = ag.GradCAM()(model, photo)
    print(model.backend, model.spec.size, explanation.provenance.layer, model.outline().head)
except ag.ModelError as error:
    print(error)
"""


def said_on(backend: str) -> str:
    """What the script prints where Keras runs on a framework; that is settled when Keras is imported."""
    for package in ("keras", backend):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    environment = {**os.environ, "KERAS_BACKEND": backend}
    done = subprocess.run([sys.executable, "-c", MODEL], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "backend", [pytest.param(name, marks=getattr(pytest.mark, name)) for name in ("tensorflow", "jax")]
)
def test_the_adapter_of_the_framework_explains_it(backend: str) -> None:
    # The nested model gives what its last convolution gives, and counts as the end of that stage.
    assert said_on(backend) == f"{backend} (8, 8) base softmax"


@pytest.mark.torch
def test_on_torch_it_is_refused_with_what_to_do() -> None:
    said = said_on("torch")
    assert "runs on torch" in said
    assert "KERAS_BACKEND is jax or tensorflow" in said
