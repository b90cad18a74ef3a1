"""Feature maps: the right numbers, dead channels found, and pictures that show each value in its place."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import agnoscope as ag
from agnoscope.backends.reference import Conv, GlobalAverage, Network, Relu
from agnoscope.demo import models, scene
from agnoscope.inspection.feature_maps import FeatureMaps, feature_maps
from agnoscope.inspection.sheets import EMPTY
from agnoscope.model import Layer
from agnoscope.render.colour import table
from tests.frameworks import FRAMEWORKS

RAMP = np.linspace(0, 1, 8 * 8 * 3, dtype=np.float32).reshape(8, 8, 3)


def ramp_model() -> ag.Model:
    """Channels: red, green, blue, their negatives, and one that is 0.5 everywhere."""
    kernel = np.zeros((1, 1, 3, 7), np.float32)
    kernel[0, 0, :, :3], kernel[0, 0, :, 3:6] = np.eye(3), -np.eye(3)
    layers = {"conv": Conv(kernel, np.eye(7, dtype=np.float32)[6] / 2), "relu": Relu(), "pool": GlobalAverage()}
    return ag.wrap(Network(layers), input_size=(8, 8))


def made(*maps: np.ndarray, chosen: bool = True) -> FeatureMaps:
    kept = {f"layer{i}": m for i, m in enumerate(maps)}
    layers = {name: Layer(name, "relu", m.shape, "ReLU") for name, m in kept.items()}
    return FeatureMaps(kept, layers, np.zeros((8, 8, 3), np.uint8), "it", chosen)


def test_the_maps_are_what_the_layers_give_in_order() -> None:
    found = feature_maps(ramp_model(), RAMP)
    assert list(found.maps) == ["conv", "relu"]
    np.testing.assert_allclose(found.maps["conv"][..., :3], RAMP)
    np.testing.assert_allclose(found.maps["conv"][..., 3:6], -RAMP)
    np.testing.assert_allclose(found.maps["relu"][..., :3], RAMP)


def test_channels_that_are_the_same_everywhere_are_dead() -> None:
    dead = feature_maps(ramp_model(), RAMP).dead
    assert {name: numbers.tolist() for name, numbers in dead.items()} == {"conv": [6], "relu": [3, 4, 5, 6]}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_every_framework_gives_the_same_maps_and_the_same_dead_channels(framework: str) -> None:
    image = scene(2).image
    found, oracle = (
        feature_maps(models.load("honest", name), image, ["conv2", "relu5"]) for name in (framework, "reference")
    )
    for name, expected in oracle.maps.items():
        np.testing.assert_allclose(found.maps[name], expected, atol=2e-5 * np.abs(expected).max())
        np.testing.assert_array_equal(found.dead[name], oracle.dead[name])


def test_all_layers_take_one_compiled_program_for_all_images(monkeypatch: pytest.MonkeyPatch) -> None:
    model, runs = ramp_model(), []
    inner = model.run
    monkeypatch.setattr(model, "run", lambda *given: runs.append(given[1]) or inner(*given))
    feature_maps(model, RAMP)
    assert runs == [["conv", "relu"]]


def tile(picture: Image.Image, number: int, side: int = 32) -> np.ndarray:
    """One tile of a sheet without a title's second line, cut out by its place."""
    pixels = np.asarray(picture)
    below_labels = next(y for y in range(40, pixels.shape[0]) if (pixels[y, 12 : 12 + side] != 255).any(axis=1).all())
    left = 12 + number * (side + 6)
    return pixels[below_labels : below_labels + side, left : left + side]


def test_every_value_has_its_colour_in_its_place() -> None:
    maps = np.zeros((4, 4, 2))
    maps[1, 2, 0], maps[:, :, 1] = 4, np.arange(16).reshape(4, 4) / 8
    drawn = made(maps).draw("layer0", side=32, percentile=None)
    colours = table()
    first, second = tile(drawn, 0), tile(drawn, 1)
    assert tuple(first[8 + 4, 16 + 4]) == tuple(colours[-1])
    assert tuple(first[0, 0]) == tuple(colours[0])
    assert tuple(second[28, 28]) == tuple(colours[round(15 / 8 / 4 * 256)])
    own = made(maps).draw("layer0", side=32, percentile=None, scale="own")
    assert tuple(tile(own, 1)[28, 28]) == tuple(colours[-1])


def test_signed_maps_have_zero_in_the_middle_of_their_colours() -> None:
    maps = np.zeros((4, 4, 1))
    maps[0, 0], maps[3, 3] = -2, 1
    drawn = tile(made(maps).draw("layer0", side=32), 0)
    colours = table(diverging=True)
    assert tuple(drawn[16, 16]) == tuple(colours[128])
    assert tuple(drawn[2, 2]) == tuple(colours[0])
    assert tuple(drawn[30, 30]) == tuple(colours[192])


def test_dead_channels_are_crossed_out_and_those_that_vary_most_come_first() -> None:
    maps = np.zeros((4, 4, 3))
    maps[0, 0, 1], maps[0, 0, 2] = 1, 9
    drawn = made(maps).draw("layer0", side=32)
    assert tuple(tile(drawn, 1)[0, 0]) != EMPTY
    assert (np.asarray(drawn) == EMPTY).all(axis=2).sum() > 32 * 32 * 0.8
    two = made(maps).draw("layer0", side=32, most=2, percentile=None)
    assert tuple(tile(two, 0)[0, 0]) == tuple(table()[-1])
    assert not (np.asarray(two) == EMPTY).all(axis=2).any()
    first = made(maps).draw("layer0", side=32, most=2, order="number")
    assert tuple(tile(first, 0)[0, 0]) == EMPTY


def test_the_picture_of_all_layers_leaves_some_out_and_says_so() -> None:
    many = made(*[np.random.default_rng(i).uniform(size=(4, 4, 2)) for i in range(30)], chosen=False)
    assert len(many._drawn()) == 24
    assert many._drawn()[0] == "layer0"
    assert many._drawn()[-1] == "layer29"
    chosen = made(*many.maps.values())
    assert chosen.draw(side=16).height > many.draw(side=16).height


def test_pictures_are_saved_as_one_or_into_a_folder(tmp_path: Path) -> None:
    found = feature_maps(ramp_model(), RAMP)
    assert found.save(tmp_path / "all.png", side=16) == tmp_path / "all.png"
    found.save(tmp_path / "each", side=16)
    assert sorted(path.name for path in (tmp_path / "each").iterdir()) == ["000_conv.png", "001_relu.png"]
    with pytest.raises(ag.FileError, match=r"'maps.txt' must end in .png"):
        found.save(tmp_path / "maps.txt")


def test_a_notebook_gets_a_picture_and_no_script() -> None:
    found = feature_maps(ramp_model(), RAMP, "relu")
    shown = found._repr_html_()
    assert "<img alt='Feature maps of image 1: relu'" in shown
    assert "script" not in shown
    assert found._repr_png_().startswith(b"\x89PNG")


def test_mistakes_are_said() -> None:
    model = ramp_model()
    with pytest.raises(ag.LayerError, match="no layer 'rule'"):
        feature_maps(model, RAMP, ["rule"])
    with pytest.raises(ag.LayerError, match="'pool' has activations of shape"):
        feature_maps(model, RAMP, ["pool"])
    with pytest.raises(ag.ImageError, match="2 were given"):
        feature_maps(model, np.stack([RAMP, RAMP]))
    found = feature_maps(model, RAMP, ["relu"])
    with pytest.raises(ag.LayerError, match="No layers that were kept are called 'conv'"):
        found.draw("conv")
    for options in ({"scale": "common"}, {"order": "last"}, {"side": 8}, {"most": 0}, {"density": 9}):
        with pytest.raises(ag.OptionError):
            found.draw("relu", **options)
    model.can = frozenset()
    with pytest.raises(ag.CapabilityError, match="showing feature maps needs 'capture'"):
        feature_maps(model, RAMP)


def test_nan_is_an_error_that_names_the_first_layer() -> None:
    kernel = np.full((1, 1, 3, 2), np.nan, np.float32)
    model = ag.wrap(Network({"conv": Conv(kernel, np.zeros(2, np.float32)), "relu": Relu()}), input_size=(8, 8))
    with pytest.raises(ag.NonFiniteError, match="layer 'conv' for image 1"):
        feature_maps(model, RAMP)
