"""Feature inversion: an invertible layer gives the photo back, deeper ones ever less of it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import agnoscope as ag
from agnoscope.backends.reference import Conv, GlobalAverage, Network
from agnoscope.errors import ImageError, LayerError, OptionError
from agnoscope.explainers.synthesis.feature_inversion import FeatureInversion
from agnoscope.explainers.synthesis.layers import fitting_views, layer_at, spread_layers
from agnoscope.optimisation.lbfgs import LBFGS
from agnoscope.optimisation.optimisers import Adam
from agnoscope.optimisation.parameterisations.pixels import Pixels
from agnoscope.optimisation.transformations import Jitter, Scale
from agnoscope.synthesis import Synthesis
from agnoscope.targets.features import features_of
from tests.explainers.synthesis.frameworks import OTHERS, STEPS, assert_frameworks_agree, demo, layer
from tests.explainers.synthesis.test_photos import photo
from tests.networks import MOBILENET_V2
from tests.networks.wrapped import network

PLAIN = FeatureInversion(iterations=100, parameterisation=Pixels(), views=None, optimiser=Adam(0.02), penalties=())
"""Steps on pixels, and nothing else wanted of the image."""


@pytest.mark.torch
@pytest.mark.parametrize("framework", OTHERS)
@pytest.mark.parametrize("name", ["layer1.2", "layer2.1"])
def test_frameworks_agree(name: str, framework: str) -> None:
    def inverted(model: ag.Model, given: Any) -> Synthesis:
        return FeatureInversion(layer(model, name), iterations=STEPS)(model, given)

    assert_frameworks_agree(inverted, lambda _: (photo(32, 32),), framework)


def invertible() -> ag.Model:
    """A convolution whose centre outweighs all the rest, so that nothing is lost."""
    random = np.random.default_rng(0)
    kernel = random.uniform(-0.02, 0.02, (3, 3, 3, 3))
    kernel[1, 1] += np.eye(3)
    return ag.wrap(Network({"mix": Conv(kernel, random.normal(size=3), 1, 1), "gap": GlobalAverage()}), input_size=16)


def test_an_invertible_layer_gives_the_image_back() -> None:
    given = photo(16, 16)[None] / 255.0
    method = FeatureInversion("mix", 40, parameterisation=Pixels(), views=None, optimiser=LBFGS(), penalties=())
    made = method(invertible(), given)
    assert np.linalg.norm(made.images - given) / np.linalg.norm(given) <= 1e-3
    assert made.extras["correlation"][0] >= 0.9999
    assert made.extras["distance"][0] <= 1e-6


@pytest.mark.torch
def test_deeper_layers_of_a_real_network_know_less_and_plain_pixels_find_less() -> None:
    model, given = network("torch", "mobilenet_v2", "float32"), MOBILENET_V2.photo("cat.jpg")
    layers = ("block3", "block10", "conv_last")
    found = FeatureInversion(iterations=PLAIN.iterations).row(model, given, layers).extras["correlation"]
    assert found[0] > found[1] + 0.1 > found[2] + 0.2 > 0.3
    plain = PLAIN.row(model, given, layers).extras["correlation"]
    assert (found > plain + 0.1).all()


def test_the_distance_falls_and_is_told_with_the_correlation() -> None:
    given = photo(96, 96)
    made = FeatureInversion("relu2", iterations=20)(demo(), given)
    assert made.history[-1, 0] > made.history[0, 0]
    assert made.making.targets == ("features of relu2",)
    expected = np.corrcoef(made.images.ravel(), given.ravel() / 255)[0, 1]
    assert made.extras["correlation"][0] == pytest.approx(expected, abs=1e-5)
    assert made.extras["distance"][0] == pytest.approx(-made.making.scores[0])


def test_layers_in_one_run_are_inverted_as_each_alone() -> None:
    method, names = FeatureInversion(iterations=6, views=None), ("relu1", "relu3")
    row = method.row(demo(), photo(96, 96), names)
    for i, order in enumerate((names, names[::-1])):  # the first image of a run begins from the same noise
        together = replace(method, layer=order)(demo(), photo(96, 96))
        assert together.names == order
        np.testing.assert_allclose(together.images[0], row.images[i], atol=1e-4)
        np.testing.assert_allclose(together.history[:, 0], row.history[:, i], rtol=1e-4)


def test_a_row_has_one_image_per_layer_and_can_be_saved(tmp_path: Any) -> None:
    row = FeatureInversion(iterations=2).row(demo(), photo(96, 96))
    assert row.names == ("relu1", "relu2", "relu3", "relu4", "relu5")
    assert row.making.targets == tuple(f"features of {name}" for name in row.names)
    assert row.images.shape == (5, 96, 96, 3)
    assert row.history.shape == (2, 5)
    assert len(row.making.answers) == 5
    assert len(row.photos) == 1
    saved = Synthesis.load(row.save(tmp_path / "row.npz"))
    np.testing.assert_array_equal(saved.images, row.images)
    assert row.captions == ("photo",)
    assert row.draw(columns=5).width > 6 * 96  # the photo comes first


def test_the_photo_is_kept_as_the_network_sees_it() -> None:
    made = FeatureInversion("relu2", iterations=1)(demo(), photo(60, 90))
    assert made.photos[0].shape == (96, 96, 3)


def test_several_photos_are_inverted_each_for_itself() -> None:
    photos = np.stack([photo(96, 96), photo(96, 96)[::-1] // 2])
    made = FeatureInversion("relu2", iterations=4)(demo(), photos)
    found, wanted = (features_of(demo(), each, ("relu2",))["relu2"] for each in (made.images, photos / np.float32(255)))
    squared = [np.square(each).sum(axis=(1, 2, 3)) for each in (found - wanted, wanted)]
    np.testing.assert_allclose(made.extras["distance"], squared[0] / squared[1], rtol=1e-4)


def test_views_move_by_a_quarter_of_the_grid() -> None:
    assert fitting_views(demo(), ("relu5",), (96, 96)).transformations == (Jitter(4), Scale(1 - 1 / 24, 1 + 1 / 24))
    assert fitting_views(demo(), ("relu5", "relu3"), (96, 96)).transformations[0] == Jitter(2)
    assert fitting_views(demo(), ("scores",), (96, 96)).transformations[0] == Jitter(6)
    # The outermost pixels of the longer side, 192 from the middle, move by two, a quarter of eight.
    wide = fitting_views(demo(), ("relu5",), (96, 384))
    assert wide.transformations == (Jitter(4), Scale(1 - 2 / 192, 1 + 2 / 192))


def test_layers_are_chosen_from_the_first_to_the_last_map() -> None:
    assert spread_layers(demo(), (96, 96), 3) == ("relu1", "relu3", "relu5")
    assert layer_at(demo(), (96, 96), 0.25) == "relu2"
    assert FeatureInversion(iterations=1)(demo(), photo(96, 96)).making.targets == ("features of relu5",)


def test_bad_questions_are_refused() -> None:
    with pytest.raises(LayerError, match="relu9"):
        FeatureInversion("relu9")(demo(), photo(96, 96))
    with pytest.raises(ImageError, match="no image file"):
        FeatureInversion("relu2")(demo(), "missing.jpg")
    with pytest.raises(OptionError, match="one photo with several layers"):
        FeatureInversion(("relu1", "relu2"))(demo(), [photo(96, 96)] * 2)
    with pytest.raises(OptionError, match="about one photo"):
        FeatureInversion().row(demo(), [photo(96, 96)] * 2)
    with pytest.raises(OptionError, match="layers is empty"):
        FeatureInversion().row(demo(), photo(96, 96), ())
    with pytest.raises(LayerError, match="by its name, not by 3"):
        FeatureInversion(3)(demo(), photo(96, 96))  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="views"):
        FeatureInversion("relu2", views="wild")(demo(), photo(96, 96))  # type: ignore[arg-type]
