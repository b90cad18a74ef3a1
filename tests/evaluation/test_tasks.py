"""Tasks hold what they say: the gate lets causes through, mosaics one right place, and quarters nothing else."""

import numpy as np
import pytest

from agnoscope import GradCAM, OptionError, Saliency
from agnoscope.demo.models import load
from agnoscope.evaluation.cases import scenes
from agnoscope.evaluation.tasks import disconnected_task, grid_task, object_task
from agnoscope.metrics import mass_accuracy
from tests.evaluation.test_diagnosis import BLUE, GREEN, RED, pictures, reading


def test_the_gate_keeps_what_the_object_causes() -> None:
    task = object_task(reading(RED, 0 * RED), pictures())
    assert (len(task), task.drawn) == (8, 16)  # without the red thing the answer is the other class, as it was
    assert set(task.targets) == {0}
    np.testing.assert_array_equal(task.masks, pictures().masks[:8])
    with pytest.raises(OptionError, match="In none of 16 pictures does the answer depend on the object"):
        object_task(reading(GREEN, BLUE), pictures())


def test_wrong_answers_are_left_out() -> None:
    cases = pictures()
    labels = cases.labels.copy()
    labels[:4] = 1 - labels[:4]
    wrong = type(cases)(cases.names, cases.images, cases.photos, cases.masks, cases.backgrounds, labels)
    assert len(object_task(reading(RED, 0 * RED), wrong)) == 6


def test_the_honest_network_passes_the_gate_on_the_scenes() -> None:
    model = load("honest", "reference")
    task = object_task(model, scenes(model, 12, seed=1))
    assert len(task) >= 10
    np.testing.assert_array_equal(task.targets, scenes(model, 12, seed=1).labels[: len(task.targets)])


@pytest.mark.parametrize("fixed", [False, True], ids=["enlarged", "shrunk"])
def test_a_mosaic_has_one_right_place(fixed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if fixed:
        monkeypatch.setattr("agnoscope.evaluation.tasks._enlarged", lambda *_: None)
    model, cases = reading(GREEN, BLUE), pictures()
    task = grid_task(model, cases, count=12, seed=3)
    side = 8 if fixed else 16
    assert task.images.shape == (12, side, side, 3)
    assert (task.masks.mean(axis=(1, 2)) == 0.25).all()
    assert len({mask.tobytes() for mask in task.masks}) == 4
    wanted = np.stack([GREEN, BLUE])[task.targets]
    for image, mask, colour in zip(task.images, task.masks, wanted, strict=True):
        np.testing.assert_allclose(np.median(image[mask], axis=0), colour, atol=0.2 if fixed else 1e-6)
        assert not (np.abs(image[~mask] - colour).max(axis=1) < 0.2).any()
    found = GradCAM()(task.model, list(task.images), [int(t) for t in task.targets])
    np.testing.assert_allclose(mass_accuracy(found.maps(), task.masks), 1, atol=0.1)


def test_a_grid_needs_two_classes() -> None:
    with pytest.raises(OptionError, match="not of two classes"):
        grid_task(reading(GREEN, BLUE, gain=0.0), pictures())


def test_no_gradient_leaves_its_quarter() -> None:
    task = disconnected_task(12)
    found = Saliency()(task.model, list(task.images), [int(t) for t in task.targets])
    assert not found.values[~task.masks].any()
    mass = mass_accuracy(found.maps(), task.masks)
    np.testing.assert_array_equal(mass[~np.isnan(mass)], 1)
    assert np.isnan(mass).sum() < 3
    # Averaged gradients do leak: that is the point of the task.
    cam = GradCAM()(task.model, list(task.images), [int(t) for t in task.targets])
    assert np.nanmean(mass_accuracy(cam.maps(), task.masks)) < 0.6


def test_the_same_seed_gives_the_same_task() -> None:
    one, same, other = disconnected_task(3, 1), disconnected_task(3, 1), disconnected_task(3, 2)
    np.testing.assert_array_equal(one.images, same.images)
    assert not np.array_equal(one.images, other.images)
