"""One table: methods and controls against metrics, with what could not be judged."""

import csv
import io
import json
from typing import Any

import numpy as np
import pytest

from agnoscope import GradCAM, GuidedBackprop, Occlusion, OptionError, Saliency, wrap
from agnoscope.demo.models import load
from agnoscope.evaluation.bench import METRICS, ORACLE, Table, bench
from agnoscope.evaluation.cases import scenes
from agnoscope.evaluation.randomised import cascade, randomised
from agnoscope.evaluation.tasks import disconnected_task, object_task
from agnoscope.testing import deep_network, images
from tests.evaluation.test_diagnosis import RED, pictures, reading

TASK = object_task(reading(RED, 0 * RED), pictures())


@pytest.fixture(scope="module")
def table() -> Table:
    seen: list[tuple[int, int]] = []
    methods = {"grad-cam": GradCAM(), "occlusion": Occlusion(window=3, stride=1), "guided": GuidedBackprop("relu")}
    found = bench(
        [TASK, disconnected_task(6)],
        methods,
        ("mass-accuracy", "rank-accuracy", "sparseness"),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen[0] == (0, 12)
    assert seen[-1] == (12, 12)
    return found


def row(table: Table, task: str, method: str) -> Any:
    (found,) = (row for row in table.rows if (row.task, row.method) == (task, method))
    return found


def test_methods_come_first_and_controls_after_them(table: Table) -> None:
    methods = ["grad-cam", "occlusion", "guided", "random", "constant", "edge-filter", ORACLE]
    assert [(row.task, row.method) for row in table.rows] == [
        (task, method) for task in ("object", "disconnected") for method in methods
    ]
    assert [row.control for row in table.rows[:7]] == [False] * 3 + [True] * 4


def test_a_method_that_finds_the_object_has_all_mass_there(table: Table) -> None:
    assert row(table, "object", "grad-cam").metrics["mass-accuracy"].mean == pytest.approx(1)
    assert row(table, "object", ORACLE).metrics["rank-accuracy"].mean == 1
    constant = row(table, "object", "constant").metrics
    assert constant["mass-accuracy"].mean == pytest.approx(9 / 64)
    assert constant["rank-accuracy"].mean == pytest.approx(9 / 64)
    assert constant["sparseness"].mean == pytest.approx(0)
    assert row(table, "object", "grad-cam").images == 8
    assert row(table, "object", "grad-cam").drawn == 16
    assert row(table, "object", "occlusion").seconds > 0


def test_a_method_that_is_refused_says_why_and_spoils_nothing(table: Table) -> None:
    refused = row(table, "disconnected", "guided")
    assert "no layer 'relu'" in refused.failure
    assert not refused.metrics
    assert row(table, "disconnected", "occlusion").metrics


def test_the_table_is_written_as_json_and_csv(table: Table) -> None:
    stored = json.loads(json.dumps(table.to_dict(), allow_nan=False))
    assert len(stored["rows"]) == 14
    assert stored["record"]["tasks"]["object"]["methods"]["grad-cam"]["options"]["layer"] == "relu"
    assert stored["record"]["tasks"]["object"]["drawn"] == 16
    lines = list(csv.DictReader(io.StringIO(table.to_csv())))
    assert len(lines) == 13 * 3
    assert float(lines[0]["mean"]) == pytest.approx(1)
    assert (lines[0]["task"], lines[0]["method"], lines[0]["metric"]) == ("object", "grad-cam", "mass-accuracy")


def test_every_metric_judges() -> None:
    found = bench([TASK], {"saliency": Saliency()}, tuple(METRICS))
    assert found.rows[0].failure == ""
    judged = row(found, "object", "saliency").metrics
    assert set(judged) == set(METRICS)
    assert judged["deletion"].mean < judged["insertion"].mean
    assert judged["max-sensitivity"].mean > 0


def test_a_method_that_does_not_look_at_the_weights_is_told_by_their_randomisation() -> None:
    model = load("honest", "reference")
    task = object_task(model, scenes(model, 5, seed=2))
    found = bench([task], {"saliency": Saliency()}, ("randomisation",))
    assert row(found, "object", "edge-filter").metrics["randomisation"].mean == pytest.approx(1)
    assert row(found, "object", "saliency").metrics["randomisation"].mean < 0.7


def test_what_cannot_be_judged_is_refused() -> None:
    with pytest.raises(OptionError, match="no metric 'mass'"):
        bench([TASK], {"saliency": Saliency()}, ("mass",))
    with pytest.raises(OptionError, match="needs a task"):
        bench([], {"saliency": Saliency()})


def test_layers_are_randomised_from_the_last_to_the_first() -> None:
    model = wrap(deep_network())
    known = model.parameters()
    steps = list(cascade(model, seed=1))
    assert [name for name, _ in steps] == ["dense", "conv2", "conv1"]
    first = steps[0][1].parameters()
    assert not np.array_equal(first["dense.kernel"], known["dense.kernel"])
    np.testing.assert_array_equal(np.sort(first["dense.kernel"], axis=None), np.sort(known["dense.kernel"], axis=None))
    np.testing.assert_array_equal(first["conv2.kernel"], known["conv2.kernel"])
    last = randomised(model, seed=1).parameters()
    assert all(not np.array_equal(last[name], known[name]) for name in known if "kernel" in name)
    np.testing.assert_array_equal(last["dense.kernel"], first["dense.kernel"])
    x = images(2)
    np.testing.assert_array_equal(Saliency()(model, x).values, Saliency()(wrap(deep_network()), x).values)


def test_every_run_keeps_to_the_batch_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[int] = set()
    plain = type(TASK.model).run

    def run(self: Any, images: Any, *rest: Any, **options: Any) -> Any:
        seen.add(images.shape[0])
        return plain(self, images, *rest, **options)

    monkeypatch.setattr(type(TASK.model), "run", run)
    metrics = ("insertion", "deletion", "max-sensitivity", "randomisation")
    bench([TASK], {"saliency": Saliency()}, metrics, batch_size=1)
    assert seen == {1}
