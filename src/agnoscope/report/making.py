"""Making a report: everything that can be refused is refused first; then image by image, whatever fails on the way.

agnoscope.make_report(model, ["cat.jpg", "dog.jpg"], methods=("grad-cam", "saliency")).save("report.html")
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from agnoscope.answers import predict
from agnoscope.errors import AgnoscopeError, ImageError, OptionError, TargetError
from agnoscope.explainers.base import Explainer, Progress, as_explainer, silent
from agnoscope.explainers.meanings import CAUTION, Meaning, meaning
from agnoscope.explanation import Explanation
from agnoscope.images import Batch, ImageLike, load, name_of
from agnoscope.model import Model
from agnoscope.report.collection import Beside
from agnoscope.report.contents import Failure, LayerPicture, Panel, Report, Subject
from agnoscope.report.judging import Question, Verdict, check_names, judged
from agnoscope.report.network import described
from agnoscope.target import as_target

METHODS: Final = ("grad-cam", "integrated-gradients", "occlusion", "saliency")
"""One of each kind: an inner layer, a path of gradients, changed pixels, a slope."""
CHECKS: Final = ("deletion", "insertion", "edges")
ANSWERS: Final = 5
LAYERS: Final = 4
"""Layers whose maps are shown, unless told otherwise: from the first one with maps to the last."""


def make_report(
    model: Any,
    images: ImageLike,
    methods: Sequence[str | Explainer] = METHODS,
    target: Any = None,
    *,
    layers: Sequence[str] | None = None,
    scan: Any = None,
    checks: Sequence[str] = CHECKS,
    receptive_fields: bool = False,
    title: str = "What the network sees",
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Put together all that can be told of some images: answers, maps by several methods, layers, and a scan's view.

    An image that cannot be read and a method that does not suit the network leave a card that says so.

    Args:
        model: what `agnoscope.wrap` returned, or a network that it can wrap by itself.
        images: as for an explainer: one or several.
        methods: names, or explainers with options of their own; those of plugins, too.
        target: as for an explainer; by default what the network answers first for each image.
        layers: whose maps are shown; by default four of them, from the first to the last. None at all where empty.
        scan: a scan of the same network, or its folder; adds nearest neighbours, and patches that excite a channel.
        checks: of each map: names out of `agnoscope.report.judging.CHECKS`.
        receptive_fields: whether to measure those of all layers for the table, which takes some seconds.
        title: of the page.
        batch_size: how many images or samples go through the network at once.
        progress: called with the parts done and their number.

    Returns:
        The report, to be saved or shown in a notebook.

    Raises:
        ImageError: there is no image, or not one of them can be read.
        OptionError: there is no method, or not this one; no such check; or the scan is of another network.
        TargetError: the network has no such class, or there are not as many targets as images.
        LayerError: there is no such layer.
        FileError: there is no scan in the folder.
        ModelError: no backend knows the network.
    """
    from agnoscope.api import wrap
    from agnoscope.scan.scan import Scan

    model, items = wrap(model), _items(images)
    explainers = _named(methods)
    check_names(checks)
    targets = _targets(target, len(items))
    batches = [_read(item, number, model) for number, item in enumerate(items, start=1)]
    sizes = [batch.images.shape[1:3] for batch in batches if isinstance(batch, Batch)]
    if not sizes:
        raise ImageError("; ".join(batch.reason for batch in batches if isinstance(batch, Failure)))
    for asked in targets:
        as_target(asked).bind(model, 1, sizes[0])
    shown = _chosen(model, layers, sizes[0])
    beside = None if scan is None else Beside.of(model, Scan.open(scan) if isinstance(scan, str | Path) else scan)
    parts = _Parts(model, explainers, tuple(checks), shown, beside, batch_size)
    report, each = progress or silent, len(explainers) + 1
    subjects: list[Subject | Failure] = []
    for number, (item, batch, asked) in enumerate(zip(items, batches, targets, strict=True)):
        report(number * each, len(items) * each)
        if isinstance(batch, Failure):
            subjects.append(batch)
            continue

        def done(count: int, before: int = number * each) -> None:
            report(before + count, len(items) * each)

        subjects.append(parts.subject(item, batch, asked, done))
    report(len(items) * each, len(items) * each)
    return Report(title, described(model, sizes[0], receptive_fields), tuple(subjects))


@final
@dataclass(frozen=True)
class _Parts:
    """What is made of every image."""

    model: Model
    explainers: dict[str, Explainer]
    checks: tuple[str, ...]
    layers: tuple[str, ...]
    beside: Beside | None
    batch_size: int | None

    def subject(self, item: Any, batch: Batch, target: Any, done: Any) -> Subject:
        """All that is told of one image; `done` is called with how many methods are."""
        name, failures = batch.names[0], list[Failure]()

        def tried(part: str, work: Any, otherwise: Any) -> Any:
            found = _tried(part, work)
            if isinstance(found, Failure):
                failures.append(found)
                return otherwise
            return found

        answers = tried("answers", lambda: predict(self.model, item, ANSWERS), ())
        panels: list[Panel | Failure] = []
        for title, explainer in self.explainers.items():
            panels.append(_tried(title, lambda t=title, e=explainer: self._panel(t, e, item, name, target)))
            done(len(panels))
        verdicts = tried("checks", lambda: self._verdicts(batch.images[0], target, panels), {})
        panels = [replace(p, verdicts=verdicts.get(p.title, ())) if isinstance(p, Panel) else p for p in panels]
        layers = tried("feature maps", lambda: self._layers(item), ())
        surroundings = None
        if self.beside is not None:
            surroundings = tried("the scan", lambda: self.beside.surroundings(item), None)
        photo, first = batch.photos[0], answers[0] if answers else ()
        return Subject(name, photo, first, tuple(panels), layers, surroundings, tuple(failures))

    def _panel(self, title: str, explainer: Explainer, item: Any, name: str, target: Any) -> Panel:
        found = _renamed(explainer(self.model, item, target, batch_size=self.batch_size), name)
        found.maps()  # a layer without maps has nothing to show
        return Panel(title, found, _meaning(explainer))

    def _verdicts(
        self, image: NDArray[Any], target: Any, panels: Sequence[Panel | Failure]
    ) -> dict[str, tuple[Verdict, ...]]:
        made = [panel for panel in panels if isinstance(panel, Panel)]
        if not made or not self.checks:
            return {}
        question = Question.of(self.model, image, target, self.batch_size)
        maps = np.stack([_fitting(panel.explanation, image) for panel in made])
        verdicts = judged(question, maps, self.checks)
        return {panel.title: found for panel, found in zip(made, verdicts, strict=True)}

    def _layers(self, item: Any) -> tuple[LayerPicture, ...]:
        from agnoscope.report.layers import layer_pictures

        return layer_pictures(self.model, item, self.layers) if self.layers else ()


def _tried(part: str, work: Any) -> Any:
    """What the work gives, or why it gives nothing. Methods may be anybody's, and so may their errors."""
    try:
        return work()
    except AgnoscopeError as error:
        return Failure(part, str(error))
    except Exception as error:  # one broken plugin must not take the others' results away
        return Failure(part, f"{type(error).__name__}: {error}")


def _items(images: ImageLike) -> list[Any]:
    """The images one by one."""
    listed = list(images) if isinstance(images, list | tuple) else [images]
    items = [one for item in listed for one in (list(item) if getattr(item, "ndim", 3) == 4 else [item])]
    if not items:
        raise ImageError("There is no image to report on: give at least one.")
    return items


def _read(item: Any, number: int, model: Model) -> Batch | Failure:
    name = name_of(item) or f"image {number}"
    try:
        batch = load(item, model.spec, model.dtype)
    except ImageError as error:
        return Failure(name, str(error))
    return replace(batch, names=(name,))


def _named(methods: Sequence[str | Explainer]) -> dict[str, Explainer]:
    """The methods under their names; a second one of the same name is numbered."""
    chosen = [as_explainer(method) for method in ([methods] if isinstance(methods, str | Explainer) else methods)]
    if not chosen:
        raise OptionError("A report needs a method at least, such as 'grad-cam'.")
    uses: Counter[str] = Counter()
    named = {}
    for explainer in chosen:
        uses[explainer.name] += 1
        named[f"{explainer.name} ({n})" if (n := uses[explainer.name]) > 1 else explainer.name] = explainer
    return named


def _targets(target: Any, count: int) -> list[Any]:
    """What is asked of each image."""
    if not isinstance(target, list | tuple):
        return [target] * count
    if len(target) != count:
        raise TargetError(f"There are {len(target)} targets for {count} images: give one for each, or one for all.")
    return list(target)


def _chosen(model: Model, layers: Sequence[str] | None, size: tuple[int, int]) -> tuple[str, ...]:
    """The layers whose maps are shown: those asked for, or some that lie evenly between the first and the last."""
    if layers is not None:
        return tuple(model.layer(name, size).name for name in ([layers] if isinstance(layers, str) else layers))
    if "capture" not in model.can:
        return ()
    maps = [layer for layer in model.layers(size).values() if layer.spatial]
    # What a reader knows the network by is the activations; where there are none, any maps will do.
    known = [layer.name for layer in maps if layer.kind in ("relu", "activation")] or [layer.name for layer in maps]
    places = np.linspace(0, len(known) - 1, min(LAYERS, len(known))).round().astype(int)
    return tuple(known[place] for place in places)


def _renamed(explanation: Explanation, name: str) -> Explanation:
    """An explanation of one image, alone and so "image 1", under its name in the report."""
    p, before = explanation.provenance, f"{explanation.names[0]}: "
    warnings = tuple(f"{name}: {w.removeprefix(before)}" if w.startswith(before) else w for w in p.warnings)
    return replace(explanation, names=(name,), provenance=replace(p, warnings=warnings))


def _fitting(explanation: Explanation, image: NDArray[Any]) -> NDArray[np.float64]:
    """The map at the image's own size."""
    from agnoscope.render.blend import resized
    from agnoscope.render.colour import sound

    values = sound(explanation.maps()[0])
    return values if values.shape == image.shape[:2] else resized(values, (image.shape[0], image.shape[1]))


def _meaning(explainer: Explainer) -> Meaning:
    """What the method means; one that is not registered has its author's own words at the most."""
    try:
        return meaning(explainer.name)
    except AgnoscopeError:
        return Meaning("A method that was handed over as an object.", CAUTION)
