"""The shell around every explainer: the door for inputs, the automatic choices made visible, the check at the end."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agnoscope import __version__
from agnoscope.answers import first_answers
from agnoscope.batches import comfortable_batch, within_memory
from agnoscope.errors import NonFiniteError
from agnoscope.explainers.base import Attribution, Explainer, Progress, record, silent
from agnoscope.explainers.options import whole
from agnoscope.explanation import Explanation, Provenance, Reduction
from agnoscope.images import ImageLike, load
from agnoscope.model import Model
from agnoscope.patches import Array
from agnoscope.target import ClassScore, as_target


def call(
    explainer: Explainer,
    network: Any,
    images: ImageLike,
    target: Any,
    batch_size: int | None,
    progress: Progress | None,
) -> Explanation:
    """What calling an explainer does; see `Explainer.__call__`."""
    from agnoscope.api import wrap

    model = wrap(network)
    for ability in sorted(explainer.needs):
        model.require(ability, explainer.name)
    batch = load(images, model.spec, model.dtype)
    size = (batch.images.shape[1], batch.images.shape[2])
    settled = explainer.settle(model, size)
    asked = explainer.asked(as_target(target))
    bound = asked.bind(model, len(batch.images), size)
    wanted = comfortable_batch(model, size) if batch_size is None else whole("batch_size", batch_size)
    with np.errstate(all="ignore"):  # what is not finite is found and named below
        found, chunk = within_memory(
            model,
            (explainer.name, size),
            wanted,
            lambda chunk: settled.attribute(model, batch.images, bound, chunk, progress or silent),
        )
        check_finite(model, batch.images, found)
    frozen = bound.freeze(found.output, model.labels)
    options = [field.name for field in fields(explainer)]  # type: ignore[arg-type]
    automatic = {
        "target": asked == ClassScore(space=getattr(asked, "space", "score")),
        "batch_size": batch_size is None,
        # A wrapper has the layer of what it wraps.
        **{
            name: getattr(explainer, name, None) is None and getattr(settled, name, None) is not None
            for name in dict.fromkeys((*options, "layer"))
        },
    }
    dtype = np.float64 if model.dtype == "float64" else np.float32
    provenance = Provenance(
        method=explainer.name,
        options=record(settled),
        reduction=explainer.reduction,
        targets=frozen.names,
        space=bound.space,
        scores=tuple(float(score) for score in found.scores),
        backend=model.backend,
        versions={"agnoscope": __version__, **model.versions},
        input={field.name: getattr(model.spec, field.name) for field in fields(model.spec)},
        batch_size=chunk,
        layer=getattr(settled, "layer", None),
        automatic=tuple(name for name, chosen in automatic.items() if chosen),
        answers=_answers(model, size, found.output),
        seed=getattr(settled, "seed", None),
        warnings=(
            *model.outline(size).notes,
            *settled.doubts(model, size),
            *found.notes,
            *((f"Memory ran out with {wanted} at once: {chunk} went through.",) if chunk < wanted else ()),
            *_emptiness(found.values, batch.names, explainer.reduction),
        ),
    )
    values = found.values.astype(dtype, copy=False)
    return Explanation(values, batch.photos, batch.names, provenance, found.output, dict(found.extras))


def _answers(
    model: Model, size: tuple[int, int], output: NDArray[Any] | None
) -> tuple[tuple[tuple[str, float], ...], ...]:
    if output is None:
        return ()
    rows = first_answers(output, model.outline(size).head, model.labels)
    return tuple(tuple((answer.label, answer.score) for answer in row) for row in rows)


def check_finite(model: Model, images: NDArray[Any], found: Attribution) -> None:
    """Refuse NaN and infinity, and name the first layer that has them.

    Raises:
        NonFiniteError: values, scores or the network's output are not finite.
    """
    arrays = [found.values, found.scores, *([] if found.output is None else [found.output])]
    bad = next((i for i in range(len(images)) if not all(np.isfinite(array[i]).all() for array in arrays)), None)
    if bad is None:
        return
    image = images[bad : bad + 1]
    where = "its layers cannot be looked into"
    if "capture" in model.can:
        layers = model.layers((image.shape[1], image.shape[2]))
        values = model.compile(_capture_program, tuple(layers))(image)
        guilty = next((name for name in layers if not np.isfinite(values[name]).all()), None)
        where = f"layer {guilty!r} is the first to have it" if guilty else "it arises after them or on the way back"
    raise NonFiniteError(
        f"The network gives NaN or infinity for image {bad + 1}, although the image is finite: {where}. "
        "Look for NaN in its weights, or for numbers beyond its dtype."
    )


def _capture_program(model: Model, names: tuple[str, ...], images: Array) -> dict[str, Array]:
    return model.run(images, names)


def _emptiness(values: NDArray[Any], names: tuple[str, ...], reduction: Reduction) -> Iterator[str]:
    for value, name in zip(values, names, strict=True):
        if not value.any():
            yield (
                f"{name}: every value is zero; the target does not depend on what this method looks at, or the image "
                "is what it is compared with."
            )
        elif reduction == "positive" and value.max() <= 0:
            yield f"{name}: nothing speaks for the target here; every value is negative."
