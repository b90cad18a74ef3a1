"""Methods beside one another, and one network beside itself in other frameworks.

How alike two methods' maps are is told by rank correlation, since their units differ. The same method in two
frameworks must give the same values: told by their largest difference, as a share of the largest value.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import OptionError
from agnoscope.explainers.base import Explainer, Progress, silent
from agnoscope.explanation import Explanation
from agnoscope.images import ImageLike
from agnoscope.metrics.similarity import spearman
from agnoscope.metrics.statistics import Summary, summary
from agnoscope.model import Model

if TYPE_CHECKING:
    from PIL import Image

    from agnoscope.render.panels import Panel

SIDE: Final = 170
"""Of a panel, in pixels."""


@final
@dataclass(frozen=True)
class Pair:
    """Two columns of a comparison.

    Attributes:
        first: method and network of the one, such as "grad-cam, torch".
        second: of the other.
        correlation: Spearman's, of their maps, over the images.
        difference: largest difference of the values as a share of the largest value, over the images; None where the
            methods differ, whose values have other units.
    """

    first: str
    second: str
    correlation: Summary
    difference: Summary | None


@final
@dataclass(frozen=True, eq=False)
class Comparison:
    """Explanations of the same images by several methods and networks.

    Attributes:
        explanations: (method, network) to explanation, all of the same images.
        pairs: what can be told of any two that share a method or a network.
    """

    explanations: Mapping[tuple[str, str], Explanation]
    pairs: tuple[Pair, ...]

    @property
    def methods(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(dict.fromkeys(method for method, _ in self.explanations))

    @property
    def networks(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(dict.fromkeys(network for _, network in self.explanations))

    def draw(self) -> "Image.Image":
        """One row per image, one column per method and network, and a column of differences between networks.

        The networks share a scale for each method and image; a difference has its own, written below it.
        """
        from agnoscope.render.panels import Panel, compose

        first = next(iter(self.explanations.values()))
        rows: list[list[Panel]] = []
        for i, _ in enumerate(first.names):
            photo = _fitted(first.photos[i])
            answers = first.provenance.answers
            row = [Panel(photo, "", answers[i][0][0] if answers and answers[i] else "")]
            for method in self.methods:
                row += self._panels(method, i, photo, headed=i == 0)
            rows.append(row)
        return compose(rows, title=" · ".join(self.networks) if len(self.networks) > 1 else "", labels=first.names)

    def _panels(self, method: str, i: int, photo: NDArray[np.uint8], headed: bool) -> "list[Panel]":
        from agnoscope.render.blend import overlaid, resized
        from agnoscope.render.colour import Scale, paint, table
        from agnoscope.render.panels import Bar, Panel, readable

        several = len(self.networks) > 1
        maps = [self.explanations[method, network].maps()[i] for network in self.networks]
        scale = Scale.fit(maps, 99)
        colours = table(None, diverging=scale.diverging)
        panels = []
        for network, values in zip(self.networks, maps, strict=True):
            target = self.explanations[method, network].provenance.targets[i]
            title = (f"{method}, {network}" if several else method) if headed else ""
            last = network == self.networks[-1]
            clip = f"clipped at percentile {scale.percentile:g}" if scale.percentile is not None else ""
            bar = Bar(colours, scale, clip) if last else None
            panels.append(Panel(overlaid(photo, values, scale, colours), title, target, bar))
        if several:
            apart = max((one - maps[0] for one in maps[1:]), key=lambda gap: float(np.abs(gap).max()))
            share = np.abs(apart).max() / (np.abs(maps[0]).max() or 1)
            own = Scale.fit([apart])
            colours = table(None, diverging=True)
            picture = paint(resized(apart, photo.shape[:2], smooth=False), own, colours)
            words = f"at most {readable(float(share))} of the largest value"
            panels.append(Panel(picture, "difference" if headed else "", words, Bar(colours, own)))
        return panels


def compare(
    models: Mapping[str, Model],
    images: ImageLike,
    explainers: Mapping[str, Explainer],
    target: Any = None,
    *,
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Explain the same images by several methods, with one network or with the same one in several frameworks.

    Args:
        models: name to network; the question is settled by the first one, so that all are asked the same.
        images: as for an explainer.
        explainers: name to method.
        target: as for an explainer; by default what the first network answers.
        batch_size: how many images or samples go through a network at once.
        progress: called with the explanations done and their number.

    Raises:
        OptionError: there is no network or no method, or the maps of one method have different sizes.
        AgnoscopeError: as the methods raise.
    """
    if not models or not explainers:
        raise OptionError("A comparison needs a network and a method at least.")
    report, total = progress or silent, len(models) * len(explainers)
    found: dict[tuple[str, str], Explanation] = {}
    asked = target
    for method, explainer in explainers.items():
        for network, model in models.items():
            report(len(found), total)
            one = explainer(model, images, asked, batch_size=batch_size)
            found[method, network] = one
            if asked is None and one.output is not None and one.output.ndim == 2:
                asked = [int(row.argmax()) if len(row) > 1 else int(row[0] > 0) for row in one.output]
    report(total, total)
    pairs = [
        _pair(first, second, found)
        for first, second in combinations(found, 2)
        if first[0] == second[0] or first[1] == second[1]
    ]
    return Comparison(found, tuple(pairs))


def _pair(first: tuple[str, str], second: tuple[str, str], found: Mapping[tuple[str, str], Explanation]) -> Pair:
    one, other = found[first].maps().astype(np.float64), found[second].maps().astype(np.float64)
    if one.shape != other.shape:
        raise OptionError(f"The maps of {_name(first)} and {_name(second)} have the shapes {one.shape}, {other.shape}.")
    difference = None
    if first[0] == second[0]:
        a, b = (_flat(found[key].values) for key in (first, second))
        largest = np.abs(a).max(axis=1)
        gap = np.abs(a - b).max(axis=1)
        difference = summary(np.divide(gap, largest, out=np.where(gap > 0, np.nan, 0.0), where=largest > 0))
    return Pair(_name(first), _name(second), summary(spearman(one, other)), difference)


def _flat(values: NDArray[Any]) -> NDArray[np.float64]:
    return values.reshape(len(values), -1).astype(np.float64)


def _name(key: Sequence[str]) -> str:
    return ", ".join(key)


def _fitted(photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    from agnoscope.render.blend import fitted

    return fitted(photo, SIDE)
