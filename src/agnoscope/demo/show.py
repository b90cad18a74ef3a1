"""`agnoscope demo`: one scene, two networks, every framework; one picture that explains itself.

Both networks have the same layers. The honest one was trained where things and grounds are independent, the
cheater where each thing lies on its own ground; the scene shows a thing away from home.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from agnoscope.answers import predict
from agnoscope.demo.models import load
from agnoscope.demo.scenes import BACKGROUNDS, CLASSES, Scene, make_scenes
from agnoscope.errors import OptionError
from agnoscope.explainers.cams.grad_cam import GradCAM
from agnoscope.explanation import Explanation, save_picture
from agnoscope.metrics.localisation import mass_accuracy
from agnoscope.sources import installed_backends

SHOWN: Final = ("honest", "cheater")
SEED: Final = 173
MOST: Final = 10_000
"""Scenes that have a number; each is made after all before it."""
SIDE: Final = 240
"""Of a panel, in pixels."""


def scene(number: int) -> Scene:
    """The demo's scenes by number: always a thing on a ground that is not its own.

    Raises:
        OptionError: there is no scene of this number.
    """
    if not 0 <= number < MOST:
        raise OptionError(f"There is no scene {number}; they go from 0 to {MOST - 1}.")
    away = [one for one in make_scenes(3 * number + 24, SEED) if one.label != one.background]
    return away[number]


def show(out: Path, number: int, backends: Sequence[str], progress: Callable[[int, int], None]) -> list[str]:
    """Explain a scene with both networks in several frameworks and save the picture.

    Args:
        out: file of the picture.
        number: of the scene.
        backends: names of the frameworks; empty for all that are installed.
        progress: called with what is done and the total.

    Returns:
        Sentences that say what was found.

    Raises:
        MissingFrameworkError: a framework that was asked for is not installed.
        FileError: the picture cannot be written.
    """
    chosen = tuple(backends) or _frameworks()
    one = scene(number)
    found: dict[str, dict[str, Explanation]] = {name: {} for name in SHOWN}
    told = {}
    for done, (name, backend) in enumerate((name, backend) for name in SHOWN for backend in chosen):
        progress(done, len(SHOWN) * len(chosen))
        model = load(name, backend)
        told[name] = predict(model, one.image)[0][0]
        found[name][backend] = GradCAM()(model, one.image)
    save_picture(_picture(one, found), out)
    progress(1, 1)
    thing, ground, size = CLASSES[one.label], BACKGROUNDS[one.background], one.mask.mean()
    lines = [f"The scene: a {thing} on {ground}; the {thing} covers {size:.0%} of it."]
    for name, by_backend in found.items():
        share = _on_thing(one, next(iter(by_backend.values())))
        lines.append(
            f"The {name} network answers {CLASSES[told[name].index]} ({told[name].probability:.1%}); "
            f"{share:.0%} of what it looks at lies on the {thing}."
        )
    if len(chosen) == 1:
        return [*lines, f"Only {chosen[0]} took part, so there is no other framework to agree with."]
    apart = max(_difference(list(by_backend.values())) for by_backend in found.values())
    return [*lines, f"{', '.join(chosen)} agree: their maps differ by at most {apart:.1e} of the largest value."]


def _frameworks() -> tuple[str, ...]:
    real = tuple(name for name in installed_backends() if name != "reference")
    return real or ("reference",)


def _on_thing(one: Scene, explanation: Explanation) -> float:
    return float(mass_accuracy(explanation.maps(), one.mask[None])[0])


def _difference(explanations: Sequence[Explanation]) -> float:
    first = explanations[0].values
    return max(float(np.abs(other.values - first).max() / np.abs(first).max()) for other in explanations[1:])


def _picture(one: Scene, found: dict[str, dict[str, Explanation]]) -> Any:
    from agnoscope.render.blend import fitted, overlaid
    from agnoscope.render.colour import Scale, table
    from agnoscope.render.panels import Panel, compose

    thing, ground = CLASSES[one.label], BACKGROUNDS[one.background]
    photo = fitted(one.image, SIDE)
    colours = table(None, diverging=False)
    rows: list[list[Panel]] = []
    for name, by_backend in found.items():
        # One scale for all frameworks of a network: what differs must show.
        scale = Scale.fit([explanation.maps()[0] for explanation in by_backend.values()], None)
        row = [Panel(photo, f"a {thing} on {ground}" if not rows else "", "")]
        for backend, explanation in by_backend.items():
            values = explanation.maps()[0]
            answer = explanation.provenance.answers[0][0][0]
            words = f"answers “{answer.partition(' [')[0]}”, {_on_thing(one, explanation):.0%} on the {thing}"
            row.append(Panel(overlaid(photo, values, scale, colours), f"{name}, in {backend}", words))
        rows.append(row)
    return compose(
        rows,
        title="What made the network answer so? Grad-CAM, bright where it looked",
        subtitle=(
            f"The honest network looks at the {thing}. The cheater was trained where each thing lay on its own ground: "
            f"it looks at the {ground} and answers what usually lies there."
        ),
        labels=list(found),
    )
