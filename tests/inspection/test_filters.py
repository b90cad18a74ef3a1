"""Filters: weights as colours and in two colours, on the scales that the pictures state."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import agnoscope as ag
from agnoscope.backends.reference import Conv, Dense, GlobalAverage, Network, Relu
from agnoscope.demo import models
from agnoscope.inspection.filters import Filters, filters
from agnoscope.inspection.sheets import EMPTY
from agnoscope.render.colour import table
from tests.frameworks import FRAMEWORKS

RANDOM = np.random.default_rng(0)
COLOURS = table(diverging=True)


def first_tile(picture: Image.Image, side: int) -> np.ndarray:
    """The first tile of a sheet, which begins where a row of it has no white."""
    pixels = np.asarray(picture)
    top = next(y for y in range(40, pixels.shape[0]) if (pixels[y, 12 : 12 + side] != 255).any(axis=1).all())
    return pixels[top : top + side, 12 : 12 + side]


@pytest.mark.parametrize("framework", ["reference", *FRAMEWORKS])
def test_the_first_convolution_looks_at_colours_in_every_framework(framework: str) -> None:
    found = filters(models.load("honest", framework))
    assert (found.layer, found.kernel.shape, found.colours, len(found)) == ("conv1", (4, 4, 3, 16), True, 16)
    assert not filters(models.load("honest", framework), "conv2").colours


def test_the_largest_weight_is_255_its_negative_0_and_zero_gray() -> None:
    kernel = np.zeros((2, 2, 3, 2))
    kernel[0, 0, :, 0] = 4, -4, 0
    kernel[1, 1, :, 0] = 2
    kernel[0, 0, 0, 1] = 0.5
    shared = first_tile(Filters("conv", kernel, True).draw(), 64)
    assert tuple(shared[0, 0]) == (255, 0, 128)
    assert tuple(shared[63, 63]) == (191, 191, 191)
    assert tuple(shared[0, 63]) == (128, 128, 128)
    own = np.asarray(Filters("conv", kernel[..., 1:], True).draw(scale="own"))
    assert (own == (255, 128, 128)).all(axis=2).sum() == 32 * 32


def test_a_filter_of_zeros_is_crossed_out() -> None:
    kernel = np.zeros((3, 3, 1, 2))
    kernel[..., 1] = 1
    for scale in ("shared", "own"):
        drawn = np.asarray(Filters("deep", kernel).draw(scale=scale))
        assert (drawn == EMPTY).all(axis=2).sum() > 64 * 64 * 0.9


def test_depthwise_kernels_are_a_grid_of_slices_around_white() -> None:
    kernel = np.zeros((2, 2, 1, 3))
    kernel[0, 0, 0], kernel[0, 1, 0] = (3, 1, 1), (-3, 1, 1)
    drawn = first_tile(Filters("deep", kernel).draw(), 64)
    assert tuple(drawn[0, 0]) == tuple(COLOURS[-1])
    assert tuple(drawn[0, 40]) == tuple(COLOURS[0])


def test_deeper_layers_show_slices_of_the_filters_with_the_largest_weights() -> None:
    kernel = 0.1 * RANDOM.normal(size=(3, 3, 20, 30))
    kernel[:, :, 7, 11] = 5
    found = Filters("conv", kernel)
    whole = first_tile(found.draw(most=1), 40)
    assert (whole == COLOURS[-1]).all()
    assert found.draw(most=3).height > found.draw(most=1).height


def test_dense_kernels_are_a_matrix_with_a_row_for_each_output() -> None:
    kernel = np.zeros((16, 2))
    kernel[3, 1] = 1
    drawn = np.asarray(Filters("dense", kernel).draw())
    rows, columns = np.where((drawn == COLOURS[-1]).all(axis=2))
    assert columns.min() == 12 + 3 * 8
    one_by_one = Filters("mix", kernel[None, None]).draw()
    np.testing.assert_array_equal(np.asarray(one_by_one)[rows.min() :], drawn[rows.min() :])
    assert Filters("large", RANDOM.normal(size=(1500, 900))).draw().width < 820


def test_bgr_networks_show_red_as_red() -> None:
    kernel = np.zeros((1, 1, 3, 1), np.float32)
    kernel[0, 0, 2] = 1  # the third channel that it receives is red
    network = Network({"conv": Conv(kernel, np.zeros(1, np.float32)), "relu": Relu()})
    found = filters(ag.wrap(network, input_size=(4, 4), channels="BGR"))
    np.testing.assert_array_equal(found.kernel[0, 0, :, 0], [1, 0, 0])


def test_it_is_saved_and_shown_in_a_notebook(tmp_path: Path) -> None:
    found = filters(models.load("honest", "reference"))
    found.save(tmp_path / "filters.png", most=4)
    assert Image.open(tmp_path / "filters.png").width > 200
    assert "<img alt='Filters of conv1'" in found._repr_html_()
    with pytest.raises(ag.FileError, match="must end in"):
        found.save(tmp_path / "filters.npz")


def test_mistakes_are_said() -> None:
    zeros = np.zeros(2, np.float32)
    flat = Network({"pool": GlobalAverage(), "dense": Dense(np.ones((3, 2), np.float32), zeros)})
    with pytest.raises(ag.LayerError, match="no convolution among its layers"):
        filters(ag.wrap(flat, input_size=(4, 4)))
    with pytest.raises(ag.CapabilityError, match="not one convolution"):
        filters(models.load("honest", "reference"), "relu1")
    found = filters(models.load("honest", "reference"))
    for options in ({"scale": "common"}, {"side": 4}, {"most": 0}, {"density": 9}):
        with pytest.raises(ag.OptionError):
            found.draw(**options)
