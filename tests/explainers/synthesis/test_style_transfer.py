"""Style transfer: a photo in its own style stays as it is, weights weigh, colours stay, and frameworks agree."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import agnoscope as ag
from agnoscope.demo.scenes import make_scenes
from agnoscope.errors import ImageError, LayerError, ModelError, OptionError
from agnoscope.explainers.synthesis.colours import palette
from agnoscope.explainers.synthesis.style_transfer import StyleTransfer
from agnoscope.optimisation.lbfgs import LBFGS
from agnoscope.optimisation.optimisers import Adam
from agnoscope.optimisation.parameterisations.fourier import Fourier
from agnoscope.optimisation.parameterisations.pixels import Pixels
from agnoscope.synthesis import Synthesis
from tests.explainers.synthesis.frameworks import OTHERS, STEPS, assert_frameworks_agree, demo, layer
from tests.explainers.synthesis.test_texture import LAYERS, NOISE, STRIPES, little, of_one_size

RAMP = np.broadcast_to(np.linspace(60, 200, 48)[:, None, None] * [1.0, 0.7, 0.4], (48, 40, 3)).astype(np.uint8)
METHOD = StyleTransfer(iterations=6, scales=1)


def named(method: StyleTransfer, model: ag.Model, *photos: Any) -> Synthesis:
    """With layers by the names that each framework gives them."""
    style, content = tuple(layer(model, name) for name in LAYERS), (layer(model, "layer2.1"),)
    return replace(method, style_layers=style, content_layers=content)(model, *photos)


def content_distance(made: Synthesis) -> float:
    return float(next(found for name, found in made.extras.items() if "features" in name)[0])


def style_distance(made: Synthesis) -> float:
    return float(np.mean([found[0] for name, found in made.extras.items() if "covariances" in name]))


@pytest.mark.torch
@pytest.mark.parametrize("framework", OTHERS)
def test_frameworks_agree(framework: str) -> None:
    method = StyleTransfer(iterations=STEPS, scales=1, keep_colours=True, total_variation=0.1)
    photo = np.random.default_rng(1).integers(50, 200, (32, 32, 3)).astype(np.uint8)
    assert_frameworks_agree(partial(named, method), lambda model: (photo, [NOISE, STRIPES]), framework)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("parameterisation", "optimiser"), [(Pixels(), Adam()), (Pixels(), LBFGS()), (Fourier(), LBFGS())]
)
def test_a_photo_in_its_own_style_stays_as_it_is(parameterisation: Any, optimiser: Any) -> None:
    method = StyleTransfer(iterations=5, parameterisation=parameterisation, optimiser=optimiser)
    made = method(little(), NOISE, NOISE)
    assert np.abs(made.history).max() < 1e-4
    np.testing.assert_allclose(made.images[0], NOISE / 255, atol=5e-3)
    assert made.making.finished
    assert not made.making.warnings


@pytest.mark.torch
def test_the_style_comes_and_the_content_stays() -> None:
    photo, manner = (scene.image for scene in make_scenes(2, 0))
    first, made = (StyleTransfer(iterations=n, scales=1)(demo("torch"), photo, manner) for n in (1, 60))
    assert style_distance(made) < 0.5 * style_distance(first)
    assert content_distance(made) < content_distance(first)


def test_weights_weigh() -> None:
    content, style = (
        replace(METHOD, content_weight=1.0, style_weight=weight)(little(), RAMP, STRIPES) for weight in (0.1, 10.0)
    )
    assert content_distance(content) < content_distance(style)
    assert style_distance(content) > style_distance(style)


def test_the_score_is_the_weighted_sum_of_the_distances() -> None:
    made = replace(METHOD, content_weight=2.0, style_weight=5.0)(little(), RAMP, STRIPES)
    assert made.making.scores[0] == pytest.approx(-2 * content_distance(made) - 5 * style_distance(made))


def test_a_picture_has_the_proportions_of_its_content_and_shows_the_photos_it_was_given() -> None:
    made = replace(METHOD, size=24)(little(), RAMP, [STRIPES, NOISE])
    assert made.images.shape == (1, 24, 20, 3)
    assert [photo.shape for photo in made.photos] == [RAMP.shape, STRIPES.shape, NOISE.shape]
    assert made.making.targets == ("the content in the style of style 1, style 2",)


def test_files_give_their_names(tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(RAMP).save(tmp_path / "ramp.png")
    made = replace(METHOD, iterations=1)(little(), tmp_path / "ramp.png", STRIPES)
    assert made.names == ("ramp.png",)
    assert made.making.targets == ("ramp.png in the style of style 1",)


def test_one_style_of_a_blend_is_that_style() -> None:
    alone = METHOD(little(), RAMP, STRIPES)
    blend = replace(METHOD, blend=(1.0, 0.0))(little(), RAMP, [STRIPES, NOISE])
    np.testing.assert_allclose(blend.images, alone.images, atol=1e-6)


def test_half_of_each_style_lies_between_them() -> None:
    found = {
        share: replace(METHOD, blend=(1 - share, share)).plan(little(), RAMP, [STRIPES, NOISE])
        for share in (0.0, 0.5, 1.0)
    }
    covariances = {share: plan.stages[0].target.arrays["0"]["covariance"] for share, plan in found.items()}
    np.testing.assert_allclose(covariances[0.5], (covariances[0.0] + covariances[1.0]) / 2)


def test_kept_colours_are_those_of_the_content() -> None:
    begun = {
        keep: replace(METHOD, keep_colours=keep).plan(little(), RAMP, NOISE).stages[0].begin(None) for keep in (0, 1)
    }
    own = palette([RAMP[None] / 255.0], [1.0])
    assert np.abs(palette([begun[1]], [1.0])[0] - own[0]).max() < 0.02
    assert np.abs(palette([begun[0]], [1.0])[0] - palette([NOISE[None] / 255.0], [1.0])[0]).max() < 0.02


def test_beginnings() -> None:
    noise, photo = (
        replace(METHOD, start=start).plan(little(), RAMP, NOISE).stages[0].begin(None) for start in ("noise", STRIPES)
    )
    assert noise is not None
    assert photo is not None
    assert abs(noise.mean() - NOISE.mean() / 255) < 0.02
    np.testing.assert_allclose(photo[0, :, 20], photo[0, :1, 20].repeat(48, axis=0))


def test_scales_carry_on_and_put_the_detail_back() -> None:
    coarse, fine = StyleTransfer(scales=2).plan(little(), NOISE, NOISE).stages
    assert (coarse.canvas.size, fine.canvas.size) == ((16, 16), (32, 32))
    begun = coarse.begin(None)
    np.testing.assert_allclose(fine.begin(begun)[0], NOISE / 255, atol=1e-6)
    brighter = fine.begin(begun + 0.1)
    np.testing.assert_allclose(brighter[0], NOISE / 255 + 0.1, atol=1e-6)


@pytest.mark.torch
def test_a_network_of_one_size_gets_the_middle_of_the_photos() -> None:
    method = replace(METHOD, style_layers=("1",), content_layers=("1",))
    made = method(of_one_size(), RAMP, STRIPES)
    assert made.images.shape == (1, 32, 32, 3)
    assert made.making.warnings == ("The network takes 32 × 32 pixels only: of the photo's 48 × 40, the middle.",)
    with pytest.raises(ModelError, match="takes 32 × 32"):
        replace(method, size=48)(of_one_size(), RAMP, STRIPES)


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"content_weight": 0.0, "style_weight": 0.0}, OptionError, "nothing is asked"),
        ({"content_weight": -1.0}, OptionError, "content_weight"),
        ({"style_weight": float("nan")}, OptionError, "style_weight"),
        ({"content_layers": ("relu9",)}, LayerError, "relu9"),
        ({"style_layers": ("gap",)}, LayerError, "no map"),
        ({"style_layers": ("relu2",), "style_scale": 0.05}, ImageError, "'relu2' sees 5 pixels"),
        ({"style_scale": 0.0}, OptionError, "style_scale"),
        ({"blend": (1.0, 2.0)}, OptionError, "blend"),
        ({"start": "somewhere.png"}, ImageError, "somewhere.png"),
        ({"size": -3}, OptionError, "size"),
        ({"scales": 0}, OptionError, "scales"),
    ],
)
def test_bad_options(options: dict[str, Any], error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        replace(METHOD, **options)(little(), RAMP, STRIPES)


def test_bad_photos() -> None:
    with pytest.raises(ImageError, match="2 images were given as the content"):
        METHOD(little(), [RAMP, RAMP], STRIPES)
    with pytest.raises(OptionError, match="no style photo"):
        METHOD(little(), RAMP, [])
    with pytest.raises(OptionError, match="content, styles"):
        METHOD(little(), RAMP)
    with pytest.raises(ImageError, match=r"missing\.png"):
        METHOD(little(), RAMP, "missing.png")
