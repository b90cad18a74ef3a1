"""The two doors: what `wrap` and `explain` pass on, and what they refuse."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import agnoscope as ag
from agnoscope.testing import deep_network, images

X = images()


def test_wrap_takes_what_it_is_given() -> None:
    model = ag.wrap(
        deep_network(),
        input_size=np.int64(8),
        mean=[0.1, 0.2, 0.3],
        std=np.float32(0.5),
        bounds=(0, 255),
        range=(0, 1),
        channels="BGR",
        labels=["a", "b", "c", "d"],
    )
    assert asdict(model.spec) == {
        "size": (8, 8),
        "bounds": (0.0, 255.0),
        "range": (0.0, 1.0),
        "mean": (0.1, 0.2, 0.3),
        "std": 0.5,
        "channels": "BGR",
    }
    assert model.labels == ("a", "b", "c", "d")
    assert ag.wrap(model) is model
    assert hash(model.spec) == hash(ag.wrap(deep_network(), input_size=(8, 8), **_without_size(model)).spec)


def _without_size(model: ag.Model) -> dict[str, Any]:
    options = asdict(model.spec)
    del options["size"]
    return options


def test_labels_are_names_and_not_one_name() -> None:
    with pytest.raises(ag.OptionError, match="labels='cat' must be a sequence of names"):
        ag.wrap(deep_network(), labels="cat")


@pytest.mark.parametrize(
    ("method", "explainer", "options"),
    [
        ("saliency", ag.Saliency(), {}),
        ("guided-backprop", ag.GuidedBackprop(), {}),
        ("deconvnet", ag.Deconvnet(), {}),
        ("grad-cam", ag.GradCAM("relu1", upsample=False), {"layer": "relu1", "upsample": False}),
        ("occlusion", ag.Occlusion(window=(2, 3), fill=0.5), {"window": (2, 3), "fill": 0.5}),
    ],
)
def test_one_line_gives_what_the_class_gives(method: str, explainer: ag.Explainer, options: dict[str, Any]) -> None:
    done: list[tuple[int, int]] = []
    call: dict[str, Any] = {"batch_size": 2, "progress": lambda *step: done.append(step)}
    found = ag.explain(deep_network(), X, method, [1, 0, 2], **options, **call)
    expected = explainer(ag.wrap(deep_network()), X, [1, 0, 2], batch_size=2)
    np.testing.assert_array_equal(found.values, expected.values)
    assert asdict(found.provenance) == asdict(expected.provenance)
    assert done[-1][0] == done[-1][1]


def test_a_photo_and_a_network_are_all_it_takes(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray((255 * X[0]).round().astype(np.uint8)).save(path)
    found = ag.explain(deep_network(), path)
    assert found.provenance.method == "grad-cam"
    assert found.names == ("photo.png",)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("gradcam", {}, "no explainer 'gradcam'. Near it: 'grad-cam'"),
        ("occlusion", {"windw": 3}, "'occlusion' has no option 'windw'. Its options: 'window'"),
        ("saliency", {"window": 3}, "'saliency' has no option 'window'. Its options: 'layer'"),
        ("occlusion", {"layer": "conv1"}, "'occlusion' has no option 'layer'"),
    ],
)
def test_unknown_methods_and_options_are_refused(method: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ag.OptionError, match=message.replace(".", r"\.")):
        ag.explain(deep_network(), X, method, **options)


def test_every_refusal_is_an_agnoscope_error_and_one_that_python_knows() -> None:
    errors = [getattr(ag, name) for name in ag.__all__ if name.endswith("Error") and name != "AgnoscopeError"]
    assert len(errors) == 12
    for error in errors:
        assert issubclass(error, ag.AgnoscopeError)
        assert len(error.__mro__) > len(ag.AgnoscopeError.__mro__) + 1


@pytest.mark.parametrize(
    ("option", "given"),
    [
        ("input_size", 22.5),
        ("input_size", ("a", "b")),
        ("range", 255),
        ("bounds", (0,)),
        ("bounds", ("a", 1)),
        ("range", (0, 1, 2)),
        ("labels", [1, 2, 3]),
        ("labels", {0: "cat"}),
        ("labels", 5),
    ],
)
def test_what_does_not_fit_is_refused_by_name(option: str, given: Any) -> None:
    with pytest.raises(ag.OptionError, match=option):
        ag.wrap(deep_network(), **{option: given})
