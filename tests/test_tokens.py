"""Token grids: recognised by shapes alone, laid out row by row, and the same in every framework."""

import importlib
from functools import cache
from typing import Any

import numpy as np
import pytest

import agnoscope as ag
from agnoscope.explainers.cams.eigen_cam import EigenCAM
from agnoscope.explainers.cams.score_cam import ScoreCAM
from agnoscope.explainers.cams.several_layers import SeveralLayers
from agnoscope.tokens import as_map
from tests.networks.vit import DEPTH, GRID, LEADING, SIZE
from tests.test_model import Drawn, layers

PACKAGES = {"torch": ("torch",), "linen": ("jax", "flax"), "keras": ("tensorflow", "keras")}
EACH = [pytest.param(name, marks=getattr(pytest.mark, PACKAGES[name][0])) for name in PACKAGES]
OTHERS = EACH[1:]
HEADS = pytest.mark.parametrize("leading", LEADING.values(), ids=LEADING)
X = np.random.default_rng(3).uniform(size=(2, *SIZE, 3))

# -- from shapes alone --------------------------------------------------------------------------------------------

RECOGNISED = {
    "a class token": ("patches conv 6x4x8\nblock norm 25x8", (24, 16), (6, 4, 1)),
    "a class token and registers": ("patches conv 6x4x8\nblock norm 29x8", (24, 16), (6, 4, 5)),
    "no leading token": ("patches conv 6x4x8\nblock norm 24x8", (24, 16), (6, 4, 0)),
    "sixteen leading tokens": ("patches conv 6x4x8\nblock norm 40x8", (24, 16), (6, 4, 16)),
    "the map with the fewest tokens left over": (
        "stem conv 8x8x4\nstage conv 4x4x8\nblock norm 17x8",
        (32, 32),
        (4, 4, 1),
    ),
    "the latest of equal maps": ("tall conv 6x4x4\nwide conv 4x6x4\nblock norm 24x8", (24, 24), (4, 6, 0)),
    "patches cut without a convolution": ("embedding dense 197x64", (224, 224), (14, 14, 1)),
    "patches of an image that is not square": ("embedding dense 97x64", (64, 96), (8, 12, 1)),
    "a grid of merged patches": ("patches conv 8x8x4\nmerged dense 16x8", (32, 32), (4, 4, 0)),
    "too many leading tokens": ("patches conv 6x4x8\nblock norm 41x8", (24, 16), None),
    "fewer tokens than patches": ("patches conv 6x4x8\nblock norm 23x8", (25, 17), None),
    "maps of one pixel": ("se conv 1x1x8\nblock norm 2x8", (25, 17), None),
    "a map that comes later": ("block norm 25x8\nlater conv 6x4x8", (25, 17), None),
    "features without places": ("patches conv 6x4x8\npooled other 25", (24, 16), None),
}


@pytest.mark.parametrize(("drawn", "size", "grid"), RECOGNISED.values(), ids=RECOGNISED)
def test_a_grid_is_recognised_by_the_number_of_tokens(drawn: str, size: tuple[int, int], grid: Any) -> None:
    names = [line.split()[0] for line in drawn.splitlines()]
    found = Drawn(*layers(drawn)).layers(size)
    asked = "block" if "block" in names else names[-1]
    assert found[asked].grid == grid
    assert found[asked].spatial == (grid is not None)


def test_maps_have_no_grid() -> None:
    assert Drawn(*layers("conv conv 8x8x4")).layers()["conv"].grid is None


def test_tokens_are_laid_out_row_by_row_without_the_leading_ones() -> None:
    layer = ag.Layer("block", "norm", (9, 2), grid=(2, 3, 3))
    tokens = np.arange(2 * 9 * 2).reshape(2, 9, 2)
    found = as_map(np, tokens, layer)
    assert found.shape == (2, 2, 3, 2)
    np.testing.assert_array_equal(found[1, 1, 0], tokens[1, 3 + 3])
    np.testing.assert_array_equal(as_map(np, found, ag.Layer("conv", "conv", (2, 3, 2))), found)


def test_a_transformer_of_maps_ends_in_its_last_normalisation() -> None:
    swin = "patches conv 8x8x4\nstage.norm norm 8x8x4\nmerge dense 4x4x8\nblock.norm norm 4x4x8\nblock block 4x4x8\n"
    assert Drawn(*layers(swin + "norm norm 4x4x8\npool pool 8\nhead dense 5")).last_map().name == "norm"


# -- in real networks ---------------------------------------------------------------------------------------------


def x64() -> Any:
    return importlib.import_module("tests.networks.flax").x64("float64")


@cache
def vit(framework: str, leading: int) -> ag.Model:
    """The small vision transformer in float64, wrapped."""
    for package in PACKAGES[framework]:
        pytest.importorskip(package, reason=f"{package} is not installed")
    builder = importlib.import_module(f"tests.networks.vit_{framework}").vit
    if framework != "linen":
        return ag.wrap(builder(leading, "float64"), input_size=SIZE, mean=0.5, std=0.25)
    with x64():
        return ag.wrap(*builder(leading, "float64"), input_size=SIZE, mean=0.5, std=0.25)


def plain(name: str | None) -> str:
    return str(name).replace("/", ".")


@HEADS
@pytest.mark.parametrize("framework", EACH)
def test_every_framework_shows_the_same_grid(framework: str, leading: int) -> None:
    grids = {plain(name): layer.grid for name, layer in vit(framework, leading).layers().items()}
    named = [f"blocks.{i}.{part}" for i in range(DEPTH) for part in ("norm1", "qkv", "proj", "norm2", "fc1", "fc2")]
    assert {grids[name] for name in (*named, "norm")} == {(*GRID, leading)}
    assert grids["patches"] is None
    assert grids["head"] is None


@HEADS
@pytest.mark.parametrize("framework", EACH)
def test_the_last_layer_whose_patches_matter_is_looked_at(framework: str, leading: int) -> None:
    found = vit(framework, leading).last_map()
    assert plain(found.name) == (f"blocks.{DEPTH - 1}.norm1" if leading else "norm")
    assert found.grid == (*GRID, leading)


@pytest.mark.torch
@HEADS
@pytest.mark.parametrize("framework", OTHERS)
@pytest.mark.parametrize("method", [ag.GradCAM(), EigenCAM()], ids=lambda method: method.name)
def test_float64_agrees_to_nine_digits(framework: str, leading: int, method: ag.Explainer) -> None:
    one, other = (method(vit(each, leading), X, 2) for each in ("torch", framework))
    assert one.values.dtype == other.values.dtype == np.float64
    assert one.values.shape == (2, *SIZE)
    assert np.abs(one.values - other.values).max() <= 1e-9 * np.abs(one.values).max()
    assert np.abs(one.values).max() > 1e-3


@pytest.mark.torch
def test_grad_cam_of_tokens_is_that_of_their_grid() -> None:
    model = vit("torch", 5)
    layer = "blocks.1.norm1"
    tokens = model.compile(_capture, layer)(X)["tokens"]
    slopes = ag.Saliency(layer)(model, X, 2)
    assert slopes.values.shape == tokens.shape == (2, 29, 16)  # a gradient at tokens keeps their shape
    maps, g = (given[:, 5:].reshape(2, *GRID, 16) for given in (tokens, slopes.values))
    expected = (g.mean(axis=(1, 2), keepdims=True) * maps).sum(axis=-1)
    np.testing.assert_allclose(ag.GradCAM(layer, upsample=False)(model, X, 2).values, expected, rtol=1e-9, atol=1e-15)


def _capture(model: ag.Model, layer: str, images: Any) -> dict[str, Any]:
    return {"tokens": model.run(images, (layer,))[layer]}


@pytest.mark.torch
def test_a_grid_that_is_given_takes_the_place_of_the_recognised_one() -> None:
    model, layer = vit("torch", 1), "blocks.1.norm1"
    recognised = ag.GradCAM(layer)(model, X, 2)
    given = ag.GradCAM(layer, grid=(*GRID, 1))(model, X, 2)
    np.testing.assert_array_equal(given.values, recognised.values)
    assert (given.provenance.options["grid"], recognised.provenance.options["grid"]) == ((*GRID, 1), None)
    turned = ag.GradCAM(layer, upsample=False, grid=(4, 6, 1))(model, X, 2)
    assert turned.values.shape == (2, 4, 6)
    assert EigenCAM(layer, upsample=False, grid=(4, 6, 1))(model, X, 2).values.shape == (2, 4, 6)
    assert ScoreCAM(layer, upsample=False, grid=(4, 6, 1), channels=2)(model, X, 2).values.shape == (2, 4, 6)
    assert ScoreCAM(layer, upsample=False, channels=2)(model, X, 2).values.shape == (2, 6, 4)


@pytest.mark.torch
@pytest.mark.parametrize("grid", [(6, 4, 0), (5, 5, 1), (0, 4, 25), (-6, -4, 1), (6, 4), (6.0, 4, 1), "auto"])
def test_a_grid_that_does_not_fit_is_refused(grid: Any) -> None:
    with pytest.raises(ag.OptionError, match=r"must be \(height, width, tokens skipped\).* = 25"):
        ag.GradCAM("blocks.1.norm1", grid=grid)(vit("torch", 1), X)


@pytest.mark.torch
def test_several_layers_of_tokens_are_fused() -> None:
    names = ("blocks.0.norm1", "blocks.2.norm1")
    model = vit("torch", 1)
    assert SeveralLayers(layers=names)(model, X, 2).values.max() <= 1
    of_gradients = SeveralLayers(ag.Saliency(), names)(model, X, 2)  # type: ignore[arg-type]
    assert of_gradients.values.shape == (2, *SIZE)
    assert SeveralLayers()(model, X, 2).provenance.options["layers"] == ("blocks.2.norm1",)
