"""What textures and style transfer share: receptive fields, layers, sizes and colours."""

from typing import Any

import numpy as np
import pytest

import agnoscope as ag
from agnoscope.backends.reference import Conv, GlobalAverage, Network, Relu
from agnoscope.errors import ImageError, LayerError, OptionError
from agnoscope.explainers.synthesis.colours import coloured_noise, palette, recoloured
from agnoscope.explainers.synthesis.receptive_fields import receptive_fields
from agnoscope.explainers.synthesis.style import Style, content_layer, cut, style_layers, weights_of
from tests.explainers.synthesis.frameworks import demo
from tests.networks.wrapped import network

RANDOM = np.random.default_rng(0)


def box(side: int, inputs: int, outputs: int, stride: int = 1) -> Conv:
    """A convolution that adds its window up."""
    return Conv(np.ones((side, side, inputs, outputs)), np.zeros(outputs), stride, side // 2)


def boxes() -> ag.Model:
    layers: dict[str, Any] = {"conv1": box(5, 3, 2), "relu1": Relu(), "conv2": box(3, 2, 4, 2), "relu2": Relu()}
    return ag.wrap(Network({**layers, "conv3": box(3, 4, 4), "relu3": Relu(), "gap": GlobalAverage()}), input_size=48)


def test_receptive_fields_of_boxes_by_hand() -> None:
    fields = receptive_fields(boxes())
    assert [fields[name] for name in ("conv1", "relu1", "relu2", "relu3")] == pytest.approx([5, 5, 7, 11], abs=0.51)


def test_a_trace_of_everything_is_no_receptive_field() -> None:
    centre = np.zeros((47, 47, 1, 1))
    centre[23, 23], centre[0] = 1, 1e-3  # a pixel, and a trace of a whole row
    faint = Network({"conv": Conv(centre, np.zeros(1), 1, 23), "relu": Relu(), "gap": GlobalAverage()})
    assert receptive_fields(ag.wrap(faint, input_size=48, channels="L"))["relu"] == 1


def test_layers_are_relus_of_which_a_unit_sees_half_of_the_photo() -> None:
    assert style_layers(boxes(), (), 48) == ("relu1", "relu2", "relu3")
    assert style_layers(boxes(), (), 18) == ("relu1", "relu2")
    with pytest.raises(ImageError, match="8 pixels on its shorter side is smaller"):
        style_layers(boxes(), (), 8)


@pytest.mark.torch
def test_a_real_network_gives_style_where_its_units_see_parts() -> None:
    model = network("torch", "mobilenet_v2", "float32")
    fields = receptive_fields(model)
    assert [fields[n] for n in ("relu0", "block0.depthwise_relu", "block1.depthwise_relu")] == [3, 7, 11]
    assert fields["relu_last"] == 224
    layers = style_layers(model, (), 224)
    assert (layers[0], layers[-1], len(layers)) == ("relu0", "block11.expand_relu", 8)
    assert content_layer(model, (224, 224)) == "block6.expand_relu"


def test_a_photo_smaller_than_a_receptive_field_is_refused() -> None:
    with pytest.raises(ImageError, match=r"'relu3' sees 11 pixels.*10 on its shorter.*up to 'relu2'"):
        style_layers(boxes(), ("relu1", "relu3"), 10)


def test_layers_without_a_map_are_refused() -> None:
    with pytest.raises(LayerError, match="'gap' has no map"):
        style_layers(boxes(), ("gap",), 48)
    with pytest.raises(LayerError, match="no layer 'relu9'"):
        style_layers(boxes(), ("relu9",), 48)


def test_content_is_what_a_map_of_an_eighth_shows() -> None:
    assert content_layer(boxes(), (48, 48)) == "relu3"
    assert content_layer(demo(), (96, 96)) in demo().layers()


def test_cut_keeps_proportions_and_the_middle() -> None:
    wide = np.broadcast_to(np.arange(8.0)[None, None, :, None], (1, 4, 8, 3))
    np.testing.assert_allclose(cut(wide, (4, 4))[0, 0, :, 0], [2, 3, 4, 5])
    np.testing.assert_allclose(cut(wide, (2, 4))[0, 0, :, 0], [0.75, 2.5, 4.5, 6.25], atol=0.1)


def test_recoloured_photos_have_the_palette() -> None:
    one, other = RANDOM.uniform(0.4, 0.6, (1, 9, 9, 3)), RANDOM.uniform(0.3, 0.7, (1, 5, 5, 3))
    wanted = palette([other], [1.0])
    found = palette([recoloured(one, wanted, (0.0, 1.0))], [1.0])
    np.testing.assert_allclose(found[0], wanted[0], atol=1e-9)
    np.testing.assert_allclose(found[1], wanted[1], atol=1e-9)
    np.testing.assert_allclose(recoloured(one, palette([one], [1.0]), (0.0, 1.0)), one, atol=1e-9)


def test_photos_without_colours_can_be_recoloured() -> None:
    wanted = palette([RANDOM.uniform(size=(1, 5, 5, 3))], [1.0])
    plain, gray = np.full((1, 4, 4, 3), 0.2), np.repeat(RANDOM.uniform(0.4, 0.6, (1, 9, 9, 1)), 3, axis=-1)
    np.testing.assert_allclose(recoloured(plain, wanted, (0.0, 1.0)), np.broadcast_to(wanted[0], plain.shape))
    found = recoloured(gray, wanted, (-9.0, 9.0))
    mean, root = palette([found], [1.0])
    np.testing.assert_allclose(mean, wanted[0])
    assert np.linalg.matrix_rank(root, 1e-6) == 1  # as it was, and within what the palette has
    assert np.trace(root) <= np.trace(wanted[1])


def test_noise_has_a_tenth_of_the_palette() -> None:
    mean, root = palette([RANDOM.uniform(size=(1, 9, 9, 3))], [1.0])
    found = palette([coloured_noise((mean, root), (200, 200), 0)], [1.0])
    np.testing.assert_allclose(found[0], mean, atol=1e-2)
    np.testing.assert_allclose(found[1], 0.1 * root, atol=2e-3)


def test_weights() -> None:
    assert weights_of("w", (), 3) == (1, 1, 1)
    assert weights_of("w", (1, 0), 2) == (1, 0)
    for given in ((1, 2, 3), (0, 0), (-1, 2), "ab"):
        with pytest.raises(OptionError, match="w="):
            weights_of("w", given, 2)  # type: ignore[arg-type]


def test_unknown_statistics_are_refused() -> None:
    with pytest.raises(OptionError, match="'covariance' or 'gram'"):
        Style((), (), "histogram").settled(boxes(), 48)  # type: ignore[arg-type]
