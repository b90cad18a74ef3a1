"""Sanity checks: what explains the network changes with it, and what shows the image stays."""

import json

import numpy as np
import pytest

from agnoscope import ConstantMap, EdgeFilter, GradCAM, GuidedBackprop, OptionError, RandomMap, Saliency, wrap
from agnoscope.demo.models import load
from agnoscope.errors import CapabilityError
from agnoscope.evaluation.cases import scenes
from agnoscope.evaluation.sanity import Alikeness, Row, Sanity, sanity
from agnoscope.metrics import label_randomisation, summary
from agnoscope.testing import linear_network

MODEL = load("honest", "reference")
CASES = scenes(MODEL, 12, seed=3)
LAYERS = ["dense", "conv5", "conv4", "conv3", "conv2", "conv1"]


@pytest.fixture(scope="module")
def found() -> Sanity:
    methods = {
        "saliency": Saliency(),
        "grad-cam": GradCAM(),
        "constant": ConstantMap(),
        "guided": GuidedBackprop("absent"),
    }
    seen: list[tuple[int, int]] = []
    other = load("memoriser", "reference")
    table = sanity(
        MODEL, CASES.images, CASES.labels, methods, other, progress=lambda done, total: seen.append((done, total))
    )
    assert (seen[0], seen[-1]) == ((0, 5), (5, 5))
    return table


def row(found: Sanity, method: str) -> Row:
    (one,) = (row for row in found.rows if row.method == method)
    return one


@pytest.mark.parametrize("method", ["saliency", "grad-cam"])
def test_gradients_and_grad_cam_depend_on_weights_and_labels(found: Sanity, method: str) -> None:
    judged = row(found, method)
    assert list(judged.layers) == LAYERS
    assert judged.layers["dense"].rank.mean > judged.layers["conv1"].rank.mean
    assert judged.layers["conv1"].rank.mean < 0.3
    assert (judged.on_weights, judged.on_labels) == ("depends on the weights", "depends on the labels")


def test_the_edge_filter_fails_at_every_step(found: Sanity) -> None:
    control = found.rows[-1]
    assert (control.method, control.control) == ("edge-filter", True)
    assert control.labels is not None
    for step in (*control.layers.values(), control.labels):
        for alike in (step.rank, step.signed, step.ssim):
            assert (alike.mean, alike.n) == (pytest.approx(1), 12)
        assert step.entropy_rise.mean == 0
    assert (control.on_weights, control.on_labels) == ("does not", "does not")


def test_maps_that_cannot_be_compared_decide_nothing(found: Sanity) -> None:
    constant = row(found, "constant")
    assert constant.layers["conv1"].rank.undefined == 12
    assert constant.on_weights == "undecided"


def test_a_method_that_is_refused_says_why_and_spoils_nothing(found: Sanity) -> None:
    refused = row(found, "guided")
    assert "no layer 'absent'" in refused.failure
    assert (refused.layers, refused.on_weights, refused.on_labels) == ({}, "not tested", "not tested")


def test_the_numbers_are_written_as_json(found: Sanity) -> None:
    stored = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert [one["method"] for one in stored["rows"]] == ["saliency", "grad-cam", "constant", "guided", "edge-filter"]
    assert stored["rows"][0]["on_weights"] == "depends on the weights"
    assert list(stored["rows"][0]["layers"]) == LAYERS
    assert stored["rows"][2]["labels"]["rank"]["mean"] is None
    assert stored["rows"][1]["options"] == {"layer": "relu5", "upsample": True, "grid": None}
    assert (stored["images"], stored["record"]["seed"], stored["record"]["backend"]) == (12, 0, "reference")


@pytest.mark.parametrize(
    ("ranks", "verdict"),
    [
        ([0.1, 0.2, 0.3, 0.4] * 3, "depends on the weights"),
        ([-0.9, 0.8, 0.9, -0.8] * 3, "does not"),
        ([0.1, 0.9, 0.1, 0.9] * 3, "undecided"),
        ([0.1] * 11, "undecided"),
        ([0.1] * 11 + [np.nan], "undecided"),
    ],
)
def test_the_verdict_is_that_of_the_last_step(ranks: list[float], verdict: str) -> None:
    def alike(values: list[float]) -> Alikeness:
        return Alikeness(*[summary(np.abs(values))] * 4)

    assert Row("any", False, {"last": alike([1.0] * 12), "first": alike(ranks)}).on_weights == verdict
    assert Row("any", False, {"first": alike([1.0] * 12)}).on_labels == "not tested"


def test_the_targets_are_asked_of_every_network_alike() -> None:
    """By hand for one step: the class of the trained network, and not the other network's own answer."""
    other = load("memoriser", "reference")
    found = sanity(MODEL, CASES.images, [2] * 12, {"saliency": Saliency()}, other)
    maps = [Saliency()(model, list(CASES.images), [2] * 12).maps() for model in (MODEL, other)]
    expected = np.abs(label_randomisation(*maps).absolute_spearman).mean()
    labels = found.rows[0].labels
    assert labels is not None
    assert labels.rank.mean == pytest.approx(expected)
    assert found.rows[0].on_labels in ("depends on the labels", "undecided")


def test_a_seed_decides_and_no_control_is_added_twice() -> None:
    methods = {"edge-filter": EdgeFilter(), "random": RandomMap()}
    one, same = (sanity(MODEL, CASES.images, CASES.labels, methods, seed=4) for _ in range(2))
    assert one == same
    assert [(row.method, row.control) for row in one.rows] == [("edge-filter", False), ("random", False)]
    assert one.rows[1].on_weights == "does not"


def test_what_cannot_be_tested_is_refused() -> None:
    with pytest.raises(OptionError, match="5 targets for 12 images"):
        sanity(MODEL, CASES.images, [0] * 5, {})
    with pytest.raises(OptionError, match="0 targets"):
        sanity(MODEL, CASES.images[:0], [], {})
    closed = wrap(linear_network())
    closed.can = closed.can - {"weights"}
    with pytest.raises(CapabilityError, match="randomising its layers"):
        sanity(closed, np.zeros((1, 5, 7, 3), np.float32), [0], {"saliency": Saliency()})
