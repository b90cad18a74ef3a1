"""Keras 3 runs on several frameworks: this sends a Keras model to the adapter of the one it runs on."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras

from agnoscope.errors import ModelError, OptionError
from agnoscope.images import InputSpec
from agnoscope.model import Model
from agnoscope.plugins import plugins

ADAPTERS = {"tensorflow": "tensorflow", "jax": "jax"}


def wrap(network: Any, params: Any, spec: InputSpec, labels: Sequence[str] | None) -> Model:
    """Make a Keras model explainable by the adapter of the framework that Keras runs on.

    The image size is read off the model where it has one and none is given.

    Raises:
        ModelError: Keras runs on a framework for which this is not possible; the message says what to do.
        OptionError: the model takes another number of channels than given.
    """
    running = keras.config.backend()
    if running not in ADAPTERS:
        raise ModelError(
            f"This Keras model runs on {running}; agnoscope explains Keras models on TensorFlow and JAX. Save it with "
            "model.save('model.keras') and load it where the environment variable KERAS_BACKEND is jax or tensorflow."
        )
    model: Model = plugins().use("backend", ADAPTERS[running])(network, params, _fitted(network, spec), labels)
    return model


def _fitted(network: Any, spec: InputSpec) -> InputSpec:
    """The spec, with the size of the image as the model was built for, where it is fixed."""
    shape = getattr(network, "input_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 4:
        return spec
    first = keras.config.image_data_format() == "channels_first"
    *size, depth = (*shape[2:], shape[1]) if first else shape[1:]
    if depth not in (None, spec.depth):
        raise OptionError(
            f"The model takes images of {depth} channels, and {spec.depth} are expected: give channels="
            f"{'L' if depth == 1 else depth!r} to wrap."
        )
    return spec if spec.size or None in size else replace(spec, size=(size[0], size[1]))
