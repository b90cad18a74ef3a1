"""Methods side by side, and one network in several frameworks with their differences."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from agnoscope import GradCAM, Occlusion, OptionError, Saliency, wrap
from agnoscope.backends.reference import Network
from agnoscope.evaluation.comparison import compare
from agnoscope.testing import deep_network, images

X = images(2)


def network(change: float = 0.0) -> Any:
    layers: dict[str, Any] = dict(deep_network().layers)
    layers["conv1"] = replace(layers["conv1"], kernel=layers["conv1"].kernel * np.float32(1 + change))
    return wrap(Network(layers))


def test_the_same_network_does_not_differ_and_another_one_does() -> None:
    found = compare({"one": network(), "same": network(), "other": network(0.1)}, X, {"saliency": Saliency()})
    pairs = {(pair.first, pair.second): pair for pair in found.pairs}
    same = pairs["saliency, one", "saliency, same"]
    assert same.difference is not None
    assert same.difference.mean == 0
    assert same.correlation.mean == pytest.approx(1)
    other = pairs["saliency, one", "saliency, other"]
    assert other.difference is not None
    one, changed = (found.explanations["saliency", name].values for name in ("one", "other"))
    gap = [np.abs(a - b).max() / np.abs(a).max() for a, b in zip(one, changed, strict=True)]
    assert other.difference.mean == pytest.approx(np.mean(gap), rel=1e-6)


def test_methods_are_compared_by_rank_alone() -> None:
    found = compare({"net": network()}, X, {"saliency": Saliency(), "grad-cam": GradCAM(), "occlusion": Occlusion()})
    assert [(pair.first, pair.second) for pair in found.pairs] == [
        ("saliency, net", "grad-cam, net"),
        ("saliency, net", "occlusion, net"),
        ("grad-cam, net", "occlusion, net"),
    ]
    assert all(pair.difference is None for pair in found.pairs)
    assert all(-1 <= pair.correlation.mean <= 1 for pair in found.pairs)
    assert found.methods == ("saliency", "grad-cam", "occlusion")


def test_all_networks_are_asked_what_the_first_one_answered() -> None:
    flipped: dict[str, Any] = dict(deep_network().layers)
    flipped["dense"] = replace(flipped["dense"], kernel=-flipped["dense"].kernel)
    found = compare({"one": network(), "other": wrap(Network(flipped))}, X, {"saliency": Saliency()})
    targets = {e.provenance.targets for e in found.explanations.values()}
    assert len(targets) == 1
    first = found.explanations["saliency", "one"]
    assert first.provenance.targets == tuple(f"class {c}" for c in first.output.argmax(axis=1))


def test_differences_have_a_column_where_there_are_frameworks() -> None:
    methods = {"saliency": Saliency(), "grad-cam": GradCAM()}
    alone, both = (
        compare(models, X, methods).draw() for models in ({"one": network()}, {"one": network(), "other": network(0.1)})
    )
    assert isinstance(alone, Image.Image)
    # photo and two methods; photo and twice two networks with their difference
    assert both.width / alone.width == pytest.approx(7 / 3, rel=0.1)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(OptionError, match="a network and a method"):
        compare({}, X, {"saliency": Saliency()})
    layers: dict[str, Any] = dict(deep_network().layers)
    layers["conv1"] = replace(layers["conv1"], stride=2)
    methods = {"saliency": Saliency(), "grad-cam": GradCAM(upsample=False)}
    with pytest.raises(OptionError, match="have the shapes"):
        compare({"net": wrap(Network(layers))}, X, methods)
