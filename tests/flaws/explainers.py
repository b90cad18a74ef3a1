"""Explainers with one mistake each."""

from dataclasses import dataclass

import numpy as np

from agnoscope import Model
from agnoscope.explainers.base import StepExplainer, input_gradient
from agnoscope.patches import Array
from agnoscope.target import Bound


class Transposes(StepExplainer):
    """Swaps rows and columns of its values."""

    name, reduction = "transposes", "max-abs"

    def step(self, model: Model, images: Array, target: Bound) -> dict[str, Array]:
        found = input_gradient(model, images, target)
        return found | {"values": model.xp.permute_dims(found["values"], (0, 2, 1, 3))}


class NormalisesByBatch(StepExplainer):
    """Divides by the largest value of all images."""

    name, reduction = "normalises-by-batch", "max-abs"

    def step(self, model: Model, images: Array, target: Bound) -> dict[str, Array]:
        found = input_gradient(model, images, target)
        return found | {"values": found["values"] / model.xp.max(model.xp.abs(found["values"]))}


class Draws(StepExplainer):
    """Draws random numbers without a seed."""

    name, reduction = "draws", "max-abs"

    def step(self, model: Model, images: Array, target: Bound) -> dict[str, Array]:
        found = input_gradient(model, images, target)
        noise = np.random.default_rng().normal(size=found["values"].shape).astype(np.float32)
        return found | {"values": found["values"] * (1 + 1e-6 * noise)}


class IsHeavy(StepExplainer):
    """Lives in a module that imports a framework."""

    name, reduction = "is-heavy", "max-abs"

    def step(self, model: Model, images: Array, target: Bound) -> dict[str, Array]:
        return input_gradient(model, images, target)


for explainer in (Transposes, NormalisesByBatch, Draws, IsHeavy):
    dataclass(frozen=True)(explainer)
IsHeavy.__module__ = "heavy"
