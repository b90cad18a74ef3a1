"""Several images at once: grids, the way from one target to another, and copies."""

from typing import Any

import array_api_compat.numpy as host
import numpy as np
import pytest

import agnoscope as ag
from agnoscope.backends.reference import Conv, Network
from agnoscope.errors import OptionError, TargetError
from agnoscope.explainers.synthesis.feature_visualization import FeatureVisualization
from agnoscope.explainers.synthesis.presets import PRESETS
from agnoscope.explainers.synthesis.series import channels, interpolated
from agnoscope.optimisation.parameterisations.pixels import Pixels
from agnoscope.optimisation.regularisers import Diversity
from agnoscope.targets.features import features_of, gram_matrix
from tests.explainers.synthesis.frameworks import OTHERS, STEPS, assert_frameworks_agree, demo, layer

SHORT = FeatureVisualization(iterations=4)


@pytest.mark.torch
@pytest.mark.parametrize("framework", OTHERS)
def test_frameworks_agree_on_the_way_between_channels_by_the_books_recipe(framework: str) -> None:
    def asked(model: ag.Model) -> tuple[Any, ...]:
        one, other = channels(layer(model, "layer2.1"), 2, start=3)
        return (interpolated(one, other, 3),)

    options = vars(PRESETS["keras-book:filters"]) | {"iterations": STEPS}
    assert_frameworks_agree(FeatureVisualization(**options), asked, framework)


def test_a_grid_is_of_the_channels_in_their_order() -> None:
    made = SHORT(demo(), channels("conv2", 3, start=2))
    assert made.making.targets == tuple(f"mean of conv2[{channel}]" for channel in (2, 3, 4))
    alone = SHORT(demo(), ag.Channel("conv2", 2))
    np.testing.assert_allclose(made.history[:, 0], alone.history[:, 0], rtol=1e-3)


def test_a_dead_channel_in_a_grid_is_a_note_and_stays_noise() -> None:
    kernel = np.random.default_rng(0).normal(size=(3, 3, 3, 3)) * [1, 0, 1]
    model = ag.wrap(Network({"conv": Conv(kernel, np.zeros(3))}), input_size=(12, 12))
    made = FeatureVisualization(iterations=4, parameterisation=Pixels())(model, channels("conv", 3))
    assert len(made.making.warnings) == 1
    assert "mean of conv[1] stayed zero" in made.making.warnings[0]
    moved = np.abs(made.images - 0.5).max(axis=(1, 2, 3))
    assert (moved > 0.1).tolist() == [True, False, True]
    with pytest.raises(TargetError, match="stayed zero"):
        SHORT(model, ag.Channel("conv", 1))


def test_the_way_begins_with_one_target_and_ends_with_the_other() -> None:
    one, other = channels("conv2", 2)
    way = SHORT(demo(), interpolated(one, other, 5))
    ends = SHORT(demo(), [one, *[2 * one] * 3, other])  # five images, for the same noise
    np.testing.assert_allclose(way.images[[0, 4]], ends.images[[0, 4]], atol=1e-4)
    assert way.making.targets[1] == "0.75 × mean of conv2[0] + 0.25 × mean of conv2[1]"
    assert way.making.targets[4] == "mean of conv2[1]"


def test_the_way_between_classes_may_be_asked_for_by_their_labels() -> None:
    names = SHORT(demo(), interpolated("ball", 1, 3)).making.targets
    assert names == ("ball [0]", "0.5 × ball [0] + 0.5 × cone [1]", "cone [1]")


def test_sums_lead_to_sums_and_kinds_may_differ() -> None:
    one, other = ag.Channel("conv2", 0) + 2 * ag.Channel("conv2", 1), ag.Neuron("relu3", 4)
    first, middle, _ = SHORT(demo(), interpolated(one, other, 3)).history[0]
    apart = SHORT(demo(), [one, 0.5 * one + 0.5 * other]).history[0]
    np.testing.assert_allclose([first, middle], apart, rtol=1e-4)


def test_copies_of_one_target_begin_apart_and_diversity_drives_them_further() -> None:
    made = SHORT(demo(), [ag.Channel("conv3", 1)] * 3)
    assert made.making.targets == ("mean of conv3[1]",) * 3
    assert np.abs(made.images[0] - made.images[1]).max() > 0.01
    options = {"iterations": 30, "views": None}
    alike = [
        _alikeness(FeatureVisualization(**options, penalties=penalties)(demo(), [ag.Channel("conv3", 1)] * 3).images)
        for penalties in ((), (Diversity(100.0, layer="relu2"),))
    ]
    assert alike[1] < alike[0] - 0.05


def _alikeness(images: np.ndarray) -> float:
    """The mean cosine between the Gram matrices of a layer for pairs of images."""
    activation = features_of(demo(), images, ("relu2",))["relu2"]
    rows = gram_matrix(host, activation).reshape(len(images), -1)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return float((rows @ rows.T)[np.triu_indices(len(images), 1)].mean())


@pytest.mark.parametrize(("count", "start"), [(0, 0), (2.5, 0), (2, -1)])
def test_bad_grids(count: Any, start: int) -> None:
    with pytest.raises(OptionError):
        channels("conv1", count, start=start)


def test_a_grid_may_not_go_beyond_the_layer() -> None:
    with pytest.raises(TargetError, match=r"Channel \d+ of layer 'conv1' was asked for"):
        SHORT(demo(), channels("conv1", 10_000))


def test_one_image_is_no_way() -> None:
    with pytest.raises(OptionError, match="count=1"):
        interpolated(*channels("conv1", 2), count=1)
