"""A network that looks at the object is cleared, one that looks around it is exposed, and doubt is said."""

import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from agnoscope import GradCAM, Occlusion, OptionError, Saliency, TargetError, wrap
from agnoscope.backends.reference import Conv, Dense, GlobalAverage, Network, Relu
from agnoscope.demo.models import load
from agnoscope.evaluation.cases import Cases, scenes
from agnoscope.evaluation.diagnosis import _others, diagnose, evidence_maps
from agnoscope.evaluation.pictures import worst_pictures
from agnoscope.explainers.controls import ConstantMap
from agnoscope.metrics import mass_accuracy

# Objects are red or black, grounds green or blue: a network that reads one colour reads one of them alone.
RED, BLACK, GREEN, BLUE = np.eye(4, 3, dtype=np.float32)[[0, 3, 1, 2]]
PLACE = np.zeros((8, 8), dtype=bool)
PLACE[2:5, 3:6] = True


def pictures(count: int = 16) -> Cases:
    things, grounds = np.arange(count) % 2, np.arange(count) // 2 % 2
    masks = np.broadcast_to(PLACE, (count, 8, 8))
    backgrounds = np.stack([np.broadcast_to((GREEN, BLUE)[g], (8, 8, 3)) for g in grounds])
    objects = np.stack([(RED, BLACK)[t] for t in things])[:, None, None]
    images = np.where(masks[..., None], objects, backgrounds)
    photos = tuple((image * 255).astype(np.uint8) for image in images)
    return Cases(tuple(f"picture {i}" for i in range(count)), images, photos, masks, backgrounds, things)


def reading(colour: np.ndarray, other: np.ndarray, gain: float = 300.0) -> Any:
    """A network whose class 0 is the amount of one colour, and class 1 the lack of it or another one."""
    kernel = np.stack([colour, other], axis=1)[None, None]
    half = -gain * PLACE.mean() / 2 if not other.any() else 0.0
    head = Dense(np.diag([gain, gain]).astype(np.float32), np.array([half, 0], np.float32))
    layers: dict[str, Any] = {"conv": Conv(kernel, np.zeros(2, np.float32)), "relu": Relu(), "gap": GlobalAverage()}
    return wrap(Network(layers | {"dense": head}), input_size=(8, 8), labels=("first", "second"))


def test_a_network_that_reads_the_object_is_cleared() -> None:
    found = diagnose(reading(RED, 0 * RED), pictures(), GradCAM())
    first = next(finding for finding in found.classes if finding.name == "first [0]")
    assert first.verdict == "looks at the object"
    assert (first.pictures, first.right, first.needs_background, first.needs_object) == (8, 1.0, 0, 8)
    assert first.evidence.mean == pytest.approx(1)
    assert first.area == pytest.approx(9 / 64)
    assert first.without_object.mean > 0.9
    assert first.without_background.mean == pytest.approx(0, abs=1e-6)
    assert first.sure == pytest.approx(1 - 2 * 2 / 2**8)  # the sign test, for two classes
    assert found.suspects == ()


def test_a_network_that_reads_the_ground_is_exposed() -> None:
    found = diagnose(reading(GREEN, BLUE), pictures(), GradCAM())
    assert {finding.name for finding in found.suspects} == {"first [0]", "second [1]"}
    assert found.overall.verdict == "leans on the background"
    assert found.overall.evidence.mean == pytest.approx(0)
    assert found.overall.without_object.mean < 0.01
    assert found.overall.without_background.mean > 0.3
    assert found.overall.right == 0.5
    assert (found.without_background - found.without_object)[found.worst(3)].min() > 0


def test_few_pictures_are_no_proof() -> None:
    found = diagnose(reading(GREEN, BLUE), pictures(4), GradCAM())
    assert found.overall.verdict == "undecided"
    assert found.overall.sure == pytest.approx(1 - 2 / 2**found.overall.needs_background)
    assert found.suspects == ()
    with pytest.raises(OptionError, match="1 picture is not enough"):
        diagnose(reading(GREEN, BLUE), pictures(1), GradCAM())


def test_where_nothing_matters_nothing_is_claimed() -> None:
    found = diagnose(reading(GREEN, BLUE, gain=0.0), pictures(), GradCAM())
    assert (found.overall.verdict, found.overall.sure) == ("undecided", 0.0)
    assert found.overall.evidence.undefined == 16
    assert json.dumps(found.to_dict(), allow_nan=False)
    assert found.to_dict()["overall"]["evidence"]["mean"] is None


def test_a_network_without_classes_is_refused() -> None:
    layers = {"conv": reading(RED, BLUE).network.layers["conv"]}
    with pytest.raises(TargetError, match="scores of shape"):
        diagnose(wrap(Network(layers), input_size=(8, 8)), pictures(), GradCAM())


@pytest.mark.parametrize(
    ("name", "verdict"), [("honest", "looks at the object"), ("cheater", "leans on the background")]
)
def test_the_bundled_networks_are_told_apart(name: str, verdict: str) -> None:
    model = load(name, "reference")
    found = diagnose(model, scenes(model, 40, seed=7), GradCAM())
    assert found.overall.verdict == verdict
    assert {finding.verdict for finding in found.classes} == {verdict}
    assert (found.overall.evidence.mean > 0.4) == (name == "honest")


def test_methods_without_gradients_will_do_and_the_same_seed_gives_the_same() -> None:
    model, cases = reading(GREEN, BLUE), pictures()
    one, same = (diagnose(model, cases, Occlusion(window=3, stride=1), seed=5, batch_size=3) for _ in range(2))
    assert one.to_dict() == same.to_dict()
    assert one.overall.evidence.mean < 0.2
    assert not np.array_equal(_others(one.answers, 5), _others(one.answers, 6))


def test_the_picture_shows_the_most_suspect() -> None:
    found = diagnose(reading(GREEN, BLUE), pictures(), GradCAM())
    few, many = (worst_pictures(found, (0.0, 1.0), count) for count in (2, 4))
    assert isinstance(few, Image.Image)
    assert few.width == many.width
    assert many.height > 1.7 * few.height


def test_a_rare_ground_is_enough_to_expose_a_network() -> None:
    some = pictures(64)
    green = np.flatnonzero(some.backgrounds[:, 0, 0, 1] == 1)[:20]
    blue = np.flatnonzero(some.backgrounds[:, 0, 0, 2] == 1)[:2]
    found = diagnose(reading(GREEN, BLUE), some.take(np.concatenate([green, blue])), ConstantMap())
    common = next(finding for finding in found.classes if finding.name == "first [0]")
    assert (common.pictures, common.needs_background) == (20, 20)
    assert common.without_background.mean == pytest.approx(1, abs=1e-3)


def test_the_drawn_evidence_is_the_counted_one() -> None:
    found = diagnose(reading(GREEN, BLUE), pictures(), Saliency())
    assert np.array_equal(evidence_maps(found.explanation), found.explanation.maps())
    assert np.allclose(mass_accuracy(evidence_maps(found.explanation), found.cases.masks), found.evidence)
