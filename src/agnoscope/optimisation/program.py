"""The compiled programs of the loop: images from parameters, a look at them, the objective and its gradient."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from agnoscope.model import Model
from agnoscope.optimisation.canvas import Canvas
from agnoscope.optimisation.parameterisations.base import Parameterisation
from agnoscope.optimisation.regularisers import Penalty
from agnoscope.optimisation.transformations import looked_at
from agnoscope.patches import Array
from agnoscope.target import Formula
from agnoscope.trees import leaves


@final
@dataclass(frozen=True)
class Recipe:
    """What is compiled of a stage.

    Attributes:
        canvas: what the images are painted on.
        parameterisation: makes the images.
        formula: of the target.
        seen: height and width of what the network gets.
        views: of each image; 0 shows them as they are.
        penalties: taken off the target's value.
        slopes: whether the gradient at the images is wanted.
    """

    canvas: Canvas
    parameterisation: Parameterisation
    formula: Formula
    seen: tuple[int, int]
    views: int
    penalties: tuple[Penalty, ...] = ()
    slopes: bool = False

    @property
    def needs(self) -> tuple[str, ...]:
        """What is captured of the run."""
        return tuple(dict.fromkeys((*self.formula.needs, *(name for p in self.penalties for name in p.needs))))


def objective(model: Model, recipe: Recipe, images: Array, given: Mapping[str, Any]) -> dict[str, Array]:
    """The target's "score" of each image, and the "objective", which is that less the penalties; both (images,)."""
    xp, views = model.xp, max(1, recipe.views)
    seen = images
    if recipe.views:
        seen = looked_at(xp, recipe.canvas, recipe.seen, images, given["places"], model.resample)
    values = model.run(seen, recipe.needs)
    score = xp.mean(xp.reshape(recipe.formula(xp, values, given["target"]), (-1, views)), axis=1)
    penalties = [
        xp.asarray(p.weight, dtype=score.dtype) * p(xp, recipe.canvas, images, values) for p in recipe.penalties
    ]
    return {"score": score, "objective": score - sum(penalties[1:], start=penalties[0]) if penalties else score}


def step_program(
    model: Model, recipe: Recipe, parameters: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Images, score and objective, and the gradient of the loss, which is the objective's negative.

    Returns:
        "images", "score", "objective", "gradient" (a tree like the parameters), and "slope" at the images if wanted.
    """
    xp = model.xp

    def loss(moved: dict[str, Any]) -> tuple[Array, dict[str, Array]]:
        images = recipe.parameterisation.images(xp, recipe.canvas, moved["parameters"], given["constants"])
        images = images + moved["tap"] if recipe.slopes else images
        found = objective(model, recipe, images, given)
        return -xp.sum(found["objective"]), {"images": images, **found}

    moved: dict[str, Any] = {"parameters": parameters}
    if recipe.slopes:
        leaf = leaves(parameters)[0]
        moved["tap"] = xp.zeros((leaf.shape[0], *recipe.canvas.size, recipe.canvas.depth), dtype=leaf.dtype)
    (_, found), gradient = model.value_and_grad(loss)(moved)
    return {**found, "gradient": gradient["parameters"], **({"slope": gradient["tap"]} if recipe.slopes else {})}


def look_program(
    model: Model, recipe: Recipe, parameters: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    """The same without the gradient."""
    images = recipe.parameterisation.images(model.xp, recipe.canvas, parameters, given["constants"])
    return {"images": images, **objective(model, recipe, images, given)}
